/* clock_gettime, gettimeofday, time: through the C library (the vDSO if there is one) and as calls; they agree and go on. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("failed: %s\n", #x); exit(1); } } while (0)

static long long
ns(struct timespec t)
{
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int
main(void)
{
    struct timespec a, b, c;
    struct timeval v;
    int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};

    for (int i = 0; i < 3; i++) {
        CHECK(clock_gettime(clocks[i], &a) == 0);
        CHECK(syscall(SYS_clock_gettime, clocks[i], &b) == 0);
        CHECK(clock_gettime(clocks[i], &c) == 0);
        CHECK(ns(a) <= ns(b) && ns(b) <= ns(c) && ns(c) - ns(a) < 1000000000LL);
    }
    CHECK(gettimeofday(&v, NULL) == 0);
    clock_gettime(CLOCK_REALTIME, &a);
    CHECK(llabs(a.tv_sec - v.tv_sec) <= 1);
    CHECK(llabs(time(NULL) - a.tv_sec) <= 1);
    CHECK(syscall(SYS_clock_gettime, CLOCK_REALTIME, 8) == -1 && errno == EFAULT);
    return 0;
}
