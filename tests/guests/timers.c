/* Timers that signal: alarm, setitimer of all kinds, timer_create with overruns and a thread as its target. */
#include "guest.h"
#include <sys/resource.h>

static volatile int alarms, virtuals, profs, timer_hits, overruns;
static timer_t timer;

static void on_alarm(int signal UNUSED) { alarms++; }
static void on_virtual(int signal UNUSED) { virtuals++; }
static void on_prof(int signal UNUSED) { profs++; }
static void on_timer(int signal UNUSED, siginfo_t *info, void *context UNUSED)
{
    CHECK(info->si_code == SI_TIMER && info->si_value.sival_int == 77);
    timer_hits++;
    overruns += timer_getoverrun(timer);
}

int main(void)
{
    handle(SIGALRM, 0, on_alarm);
    TRY(alarm(100));
    TRY(alarm(0));
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 10000}, {0, 10000}}, NULL);
    while (alarms < 3)
        pause();
    struct itimerval old;
    CHECK(setitimer(ITIMER_REAL, &(struct itimerval){0}, &old) == 0 && old.it_interval.tv_usec == 10000);
    handle(SIGVTALRM, 0, on_virtual);
    handle(SIGPROF, 0, on_prof);
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){{0, 10000}, {0, 10000}}, NULL);
    setitimer(ITIMER_PROF, &(struct itimerval){{0, 10000}, {0, 10000}}, NULL);
    while (virtuals < 2 || profs < 2)
        ;
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){0}, NULL);
    setitimer(ITIMER_PROF, &(struct itimerval){0}, NULL);
    TRY(setitimer(7, &old, NULL));
    TRY(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 1000000}}, NULL));

    handle(SIGRTMIN, SA_SIGINFO, on_timer);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec every = {{0, 2000000}, {0, 2000000}}, left;
    sigset_t block = set_of(SIGRTMIN);
    sigprocmask(SIG_BLOCK, &block, NULL);
    timer_settime(timer, 0, &every, NULL);
    nap(60);
    sigprocmask(SIG_UNBLOCK, &block, NULL);
    while (timer_hits < 3)
        pause();
    CHECK(timer_gettime(timer, &left) == 0 && left.it_interval.tv_nsec == 2000000);
    CHECK(timer_delete(timer) == 0 && overruns >= 10);
    TRY(syscall(SYS_timer_delete, 12345));
    TRY(syscall(SYS_timer_create, 99, NULL, &timer));
    return done();
}
