/* Clocks and sleeps: each clock moves as it should, by the vDSO and by system call; sleeps end in time. */
#include "guest.h"
#include <sys/times.h>
#include <sys/timex.h>

static volatile int ticks;
static void tick(int signal UNUSED) { ticks++; }
static long now_of_time(void) { return time(NULL); }
static double value(struct timespec time) { return time.tv_sec + time.tv_nsec / 1e9; }

int main(void)
{
    int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE,
                    CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_TAI};
    for (int i = 0; i < COUNT(clocks); i++) {
        struct timespec before, raw, after, resolution;
        CHECK(clock_gettime(clocks[i], &before) == 0);
        CHECK(syscall(SYS_clock_gettime, clocks[i], &raw) == 0);
        CHECK(clock_gettime(clocks[i], &after) == 0);
        CHECK(value(before) <= value(raw) && value(raw) <= value(after) && value(after) - value(before) < 1);
        CHECK(clock_getres(clocks[i], &resolution) == 0 && resolution.tv_sec == 0 && resolution.tv_nsec > 0);
        say("clock %d\n", clocks[i]);
    }
    double last = seconds();
    for (int i = 0; i < 100000; i++) {
        double now = seconds();
        CHECK(now >= last);
        last = now;
    }
    struct timespec time, left = {9, 9};
    struct timeval day;
    CHECK(gettimeofday(&day, NULL) == 0 && labs(day.tv_sec - now_of_time()) <= 1 && day.tv_sec > 1700000000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    double cpu = value(time), start = seconds();
    nap(50);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    CHECK(seconds() - start >= 0.05 && value(time) - cpu < 0.04);
    while (value(time) - cpu < 0.05)
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    struct tms tms;
    CHECK(times(&tms) > 0 && tms.tms_utime + tms.tms_stime >= 3 && clock() >= 40000);
    clock_gettime(CLOCK_MONOTONIC, &time);
    start = value(time);
    time.tv_nsec += 40000000;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == 0 && seconds() - start >= 0.04);
    CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &(struct timespec){1, 0}, NULL) == 0);
    TRY(syscall(SYS_nanosleep, &(struct timespec){0, 1000000000}, NULL));
    TRY(syscall(SYS_nanosleep, &(struct timespec){-1, 0}, NULL));
    TRY(syscall(SYS_nanosleep, 8, NULL));
    TRY(syscall(SYS_clock_gettime, 99, &time));
    TRY(syscall(SYS_clock_gettime, 1, 8));
    TRY(syscall(SYS_clock_getres, -1, &time));
    TRY(syscall(SYS_clock_getres, -1, NULL));
    TRY(syscall(SYS_clock_getres, ~getpid() * 8 | 2, &time));
    TRY(syscall(SYS_clock_gettime, -12345679 * 8 | 2, &time));
    reap(CHILD(TRY(syscall(SYS_clock_gettime, ~getppid() * 8 | 6, &time)); /* a thread of another process */
               TRY(syscall(SYS_clock_gettime, ~getppid() * 8 | 2, &time))));
    TRY(syscall(SYS_clock_settime, CLOCK_MONOTONIC, NULL));
    TRY(syscall(SYS_clock_settime, CLOCK_PROCESS_CPUTIME_ID, &time));
    TRY(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &time, NULL));
    TRY(syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, NULL, &time));
    struct timex timex = {.modes = 0};
    CHECK(adjtimex(&timex) >= 0 && labs(timex.time.tv_sec - now_of_time()) <= 1 && timex.tick > 0);
    timex.modes = 0x8000;
    TRY(adjtimex(&timex));
    timex.modes = 0;
    TRY(clock_adjtime(CLOCK_MONOTONIC, &timex));
    TRY(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &time, NULL));
    handle(SIGALRM, SA_RESTART, tick);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL);
    TRY(nanosleep(&(struct timespec){2, 0}, &left));
    CHECK(left.tv_sec == 1 && ticks == 1);
    TRY(nanosleep(&(struct timespec){0, 0}, NULL));
    pid_t child = CHILD(nap(60));
    start = seconds();
    for (int i = 0; i < 3; i++) { /* stopped and continued sleeps end in time */
        nap(5);
        kill(child, SIGSTOP);
        nap(5);
        kill(child, SIGCONT);
    }
    say("stopped and continued: %d\n", reap(child));
    return done();
}
