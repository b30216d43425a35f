/* Ids, anonymous memory, futexes, sched_yield. */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    static volatile int word = 3;
    long area;

    (void)argc, (void)argv;
    CHECK(SYS(500, 0) == 0); /* the kernel sets the ids */
    CHECK(SYS(__NR_getpid, 0) == 42);
    CHECK(SYS(__NR_gettid, 0) == 42);
    CHECK(SYS(__NR_getuid, 0) == 1000);
    CHECK(SYS(__NR_geteuid, 0) == 1001);
    CHECK(SYS(__NR_getgid, 0) == 1002);
    CHECK(SYS(__NR_getegid, 0) == 1003);
    area = SYS(__NR_mmap, 0, 0x4000, 3, 0x22, -1, 0);
    CHECK(area > 0x400000);
    *(volatile int *)area = 1;
    CHECK(SYS(__NR_madvise, area, 0x4000, 4) == 0);
    CHECK(*(volatile int *)area == 0);
    CHECK(SYS(__NR_mprotect, area, 0x4000, 1) == 0);
    area = SYS(__NR_mremap, area, 0x4000, 0x8000, 1, 5); /* the fifth argument means nothing here */
    CHECK(area > 0x400000);
    CHECK(SYS(__NR_munmap, area, 0x8000) == 0);
    CHECK(SYS(__NR_futex, &word, 0, 4, 0) == -11);
    CHECK(SYS(__NR_futex, &word, 1 | 128, 1) == 0);
    CHECK(SYS(__NR_futex, 8, 1, 1) == -14);
    CHECK(SYS(__NR_sched_yield, 0) == 0);
    CHECK(SYS(__NR_munmap, 0x30000, 4096) < 0); /* the guest half stays */
    CHECK(SYS(__NR_mmap, 0x30000, 4096, 3, 0x32, -1, 0) < 0);
    return 0;
}
