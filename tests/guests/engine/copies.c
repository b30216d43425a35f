/* An area of 1 MiB with a hole behind it, handed to the kernel (500); results of puts that fail (501). */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    long area = SYS(__NR_mmap, 0, 0x101000, 3, 0x22, -1, 0);
    long hole = area + 0x100000;

    (void)argc, (void)argv;
    CHECK(SYS(__NR_mprotect, hole, 4096, 0) == 0);
    CHECK(SYS(500, area, hole) == 0);
    CHECK(*(char *)area == 'f');
    CHECK(*(char *)(area + 64) == 's');
    CHECK(SYS(501, area, 0) == 5);
    CHECK(*(char *)area == 'x');
    CHECK(SYS(501, hole, 0) == -14);
    CHECK(SYS(501, hole, area) == -14);
    return 0;
}
