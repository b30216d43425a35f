/* The vsyscall page; signals that stop and continue the host process during a native sleep (call 600 does that). */
#include "nolibc.h"

int
guest(long argc, char **argv)
{
    long (*time_of_page)(long *) = (long (*)(long *))0xffffffffff600400;
    long sleep[2] = {0, 300000000}, page;

    (void)argc, (void)argv;
    __asm__ volatile("call *%1" : "=a"(page) : "r"(time_of_page), "D"(0L) : "rcx", "r11", "memory");
    CHECK(page == 1234567890);
    SYS(600, 0);
    CHECK(SYS(__NR_clock_nanosleep, 1, 0, sleep, 0) == 0);
    return 0;
}
