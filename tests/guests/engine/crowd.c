/* Twelve processes call at once, more than the sentry polls. */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    (void)argc, (void)argv;
    for (int i = 0; i < 12; i++) {
        if (SYS(__NR_fork, 0) == 0) {
            for (int n = 0; n < 300; n++) {
                CHECK(SYS(__NR_getpid, 0) > 42);
                for (volatile int k = 0; k < n % 7 * 500; k++)
                    ;
            }
            say(".");
            quit(0);
        }
    }
    SYS(602, 0); /* wait for all */
    return 0;
}
