/* Compute for ever after call 500. */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    (void)argc, (void)argv;
    SYS(500, 0);
    for (;;)
        __asm__ volatile("pause");
}
