/* Queueing: real-time signals keep every instance, its value and their order; lower numbers come first. */
#include "guest.h"
#include <sys/resource.h>

static int seen[64], values[64], count;

static void note(int signal, siginfo_t *info, void *context UNUSED)
{
    CHECK(info->si_code == SI_QUEUE && info->si_pid == getpid() && info->si_uid == getuid());
    seen[count] = signal - SIGRTMIN;
    values[count++] = info->si_value.sival_int;
}

/* kill(2) does not fail, and each signal comes once at least. */
static void beyond_the_limit(const sigset_t *set)
{
    struct rlimit five = {5, 5};
    struct timespec none = {0, 0};
    sigset_t first = set_of(SIGRTMIN);
    int got = 0;
    sigprocmask(SIG_BLOCK, set, NULL);
    CHECK(setrlimit(RLIMIT_SIGPENDING, &five) == 0);
    for (int i = 0; i < 20; i++)
        CHECK(kill(getpid(), SIGRTMIN) == 0);
    TRY(sigqueue(getpid(), SIGRTMIN, (union sigval){0}));
    CHECK(kill(getpid(), SIGRTMIN + 1) == 0);
    while (sigtimedwait(&first, NULL, &none) > 0)
        got++;
    say("queued: %d\n", 1 <= got && got <= 5);
    TRY(sigtimedwait(set, NULL, &none) == SIGRTMIN + 1);
}

int main(void)
{
    sigset_t set, old;
    sigemptyset(&set);
    for (int i = 0; i < 3; i++) {
        handle(SIGRTMIN + i, SA_SIGINFO, note);
        sigaddset(&set, SIGRTMIN + i);
    }
    sigprocmask(SIG_BLOCK, &set, &old);
    for (int i = 0; i < 12; i++)
        CHECK(sigqueue(getpid(), SIGRTMIN + 2 - i % 3, (union sigval){.sival_int = i}) == 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK(count == 12);
    /* Several frames are stacked before the first handler runs, so the last dequeued runs first. */
    for (int i = 0; i < count; i++)
        say("RTMIN+%d value %d\n", seen[i], values[i]);
    TRY(sigqueue(getpid(), 0, (union sigval){0}));
    TRY(sigqueue(getpid(), 65, (union sigval){0}));
    pid_t child = CHILD(beyond_the_limit(&set));
    CHECK(reap(child) == 0);
    siginfo_t info = {.si_code = SI_USER};
    child = CHILD(pause());
    TRY(syscall(SYS_rt_sigqueueinfo, child, SIGTERM, &info));
    info.si_code = -60;
    TRY(syscall(SYS_rt_sigqueueinfo, child, SIGTERM, &info));
    say("child ended by %d\n", -reap(child));
    return done();
}
