/* Do what the test says: call 600 tells it what the last call has returned, and brings the next one. */
#include "nolibc.h"

static volatile long call[7];

int
guest(long argc, char **argv)
{
    long result = 0;

    (void)argc, (void)argv;
    for (;;) {
        SYS(600, call, result);
        result = sys6(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
    }
}
