/* A fork bomb that stops at the first refusal: EAGAIN, and all is well after it. */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    long children = 0, pid;

    (void)argc, (void)argv;
    while ((pid = SYS(__NR_fork, 0)) > 0)
        children++;
    if (pid == 0) {
        for (;;)
            SYS(600, 0);
    }
    CHECK(pid == -11);
    CHECK(children > 3 && children < 100);
    CHECK(SYS(__NR_getpid, 0) == 42);
    say("EXIT-SUCCESS\n");
    return 0;
}
