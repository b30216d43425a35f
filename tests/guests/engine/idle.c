/* Sleep natively for a second between two calls 600. */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    long sleep[2] = {1, 0};

    (void)argc, (void)argv;
    for (int i = 0; i < 100; i++)
        SYS(__NR_getpid, 0);
    SYS(600, 0);
    CHECK(SYS(__NR_clock_nanosleep, 1, 0, sleep, 0) == 0);
    SYS(600, 0);
    return 0;
}
