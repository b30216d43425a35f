/* Masks: blocked signals stay pending, come lowest number first, and collapse; a handler's mask ends with it. */
#include "guest.h"

static int order[8], count;
static void note(int signal) { order[count++] = signal; }

int main(void)
{
    sigset_t all, old, pending;
    int wanted[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTERM};
    for (int i = 0; i < COUNT(wanted); i++)
        handle(wanted[i], 0, note);
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, &old) == 0);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &all) == 0);
    CHECK(!sigismember(&all, SIGKILL) && !sigismember(&all, SIGSTOP) && sigismember(&all, SIGUSR1));
    for (int i = COUNT(wanted) - 1; i >= 0; i--)
        for (int twice = 0; twice < 2; twice++)
            CHECK(raise(wanted[i]) == 0);
    CHECK(count == 0 && sigpending(&pending) == 0);
    for (int signal = 1; signal < 32; signal++)
        if (sigismember(&pending, signal))
            say("pending %s\n", sigabbrev_np(signal));
    CHECK(sigprocmask(SIG_SETMASK, NULL, &all) == 0);
    CHECK(!sigismember(&all, SIGKILL) && !sigismember(&all, SIGSTOP) && sigismember(&all, SIGUSR1));
    sigset_t one = set_of(SIGUSR1);
    CHECK(sigprocmask(SIG_UNBLOCK, &one, NULL) == 0 && count == 1 && order[0] == SIGUSR1);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    say("%d delivered\n", count);
    sigpending(&pending);
    CHECK(sigisemptyset(&pending));
    handle(SIGUSR1, 0, SIG_IGN);
    raise(SIGUSR1);
    CHECK(count == 4);
    TRY(syscall(SYS_rt_sigprocmask, 99, &all, NULL, 8));
    TRY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 4));
    TRY(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 1, NULL, 8));
    TRY(syscall(SYS_rt_sigprocmask, 99, NULL, &old, 8));
    TRY(syscall(SYS_rt_sigaction, SIGKILL, &(char[152]){0}, NULL, 8));
    TRY(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8));
    TRY(kill(getpid(), 65));
    TRY(kill(getpid(), 0));
    return done();
}
