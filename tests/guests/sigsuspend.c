/* sigsuspend and sigtimedwait: waiting for a signal without a gap. */
#include "guest.h"

static volatile int count;
static void note(int signal UNUSED) { count++; }

int main(void)
{
    sigset_t none, block, now;
    siginfo_t info;
    sigemptyset(&none);
    block = set_of(SIGUSR1);
    sigaddset(&block, SIGUSR2);
    handle(SIGUSR1, 0, note);
    sigprocmask(SIG_BLOCK, &block, NULL);
    raise(SIGUSR1);
    CHECK(count == 0);
    TRY(sigsuspend(&none));
    CHECK(count == 1);
    pid_t parent = getpid(), child = CHILD(for (int i = 0; i < 200; i++) { kill(parent, SIGUSR1); nap(1); });
    for (int seen = 0; seen < 20; seen++) {
        int before = count;
        CHECK(sigsuspend(&none) == -1 && errno == EINTR && count > before);
    }
    CHECK(reap(child) == 0);
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1) && sigismember(&now, SIGUSR2));
    CHECK(sigtimedwait(&block, &info, &(struct timespec){0}) == SIGUSR1 || errno == EAGAIN);

    TRY(sigtimedwait(&block, &info, &(struct timespec){0}));
    double start = seconds();
    TRY(sigtimedwait(&block, &info, &(struct timespec){0, 50000000}));
    CHECK(seconds() - start >= 0.05);
    TRY(sigtimedwait(&block, &info, &(struct timespec){0, -1}));
    sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 1234});
    CHECK(TRY(sigwaitinfo(&block, &info)) == SIGUSR2);
    CHECK(info.si_code == SI_QUEUE && info.si_value.sival_int == 1234 && info.si_pid == getpid());
    child = CHILD(nap(50); kill(parent, SIGUSR2));
    TRY(sigwaitinfo(&block, &info));
    CHECK(info.si_pid == child);
    CHECK(reap(child) == 0);
    handle(SIGALRM, 0, note);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 20000}, {0, 20000}}, NULL);
    TRY(sigwaitinfo(&block, &info));
    return done();
}
