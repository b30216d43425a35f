/* fork: the child has its own memory, the parent's registers and FPU state; many in a row; both go on. */
#include "nolibc.h"

static volatile int value = 1;

static long
fork_with_xmm(double *kept)
{
    long pid;
    double one = 1.5, other = 0;

    __asm__ volatile("movsd %2, %%xmm9\n syscall\n movsd %%xmm9, %1"
                     : "=a"(pid), "=m"(other)
                     : "m"(one), "a"(__NR_fork)
                     : "rcx", "r11", "memory", "xmm9");
    *kept = other;
    return pid;
}

int
guest(long argc, char **argv)
{
    (void)argc, (void)argv;
    for (int i = 0; i < 50; i++) {
        double kept;
        long pid = fork_with_xmm(&kept);

        CHECK(pid >= 0);
        CHECK(kept == 1.5);
        if (pid == 0) {
            CHECK(value == 1);
            value = 2;
            if (i == 0)
                say("child ");
            if (i == 1)
                CHECK(SYS(603, 0) == 0); /* the kernel looks at what it has */
            quit(0);
        }
        CHECK(value == 1);
    }
    /* a grandchild */
    if (SYS(__NR_fork, 0) == 0) {
        if (SYS(__NR_fork, 0) == 0) {
            CHECK(SYS(603, 0) == 0);
            say("grandchild ");
            quit(0);
        }
        quit(0);
    }
    say("parent ");
    SYS(602, 0); /* wait for all */
    return 0;
}
