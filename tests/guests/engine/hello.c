/* The smallest guest: write, getpid, exit_group. */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    CHECK(argc == 2);
    CHECK(SYS(__NR_getpid, 0) == 42);
    CHECK(SYS(__NR_write, 1, 8, 5) == -14);      /* EFAULT */
    CHECK(SYS(__NR_write, 1, 0x30000, 5) == -14); /* the guest half is not readable through it */
    say(argv[1]);
    return 7;
}
