/* The default action of every signal, and of SIGKILL on a process that blocks everything. */
#include "guest.h"
#include <sys/resource.h>

int main(void)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    setsid();
    for (int signal = 1; signal <= 64; signal++) {
        if (signal == 32 || signal == 33) /* the C library's own */
            continue;
        pid_t child = CHILD(syscall(SYS_tgkill, getpid(), gettid(), signal));
        int status;
        CHECK(waitpid(child, &status, WUNTRACED) == child);
        if (WIFSTOPPED(status)) {
            say("%d stops with %d\n", signal, WSTOPSIG(status));
            kill(child, SIGKILL);
            CHECK(reap(child) == -SIGKILL);
        } else if (WIFSIGNALED(status))
            say("%d ends, signal %d\n", signal, WTERMSIG(status));
        else
            say("%d exit %d\n", signal, WEXITSTATUS(status));
    }
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    pid_t child = CHILD(for (;;) pause());
    sigprocmask(SIG_SETMASK, &old, NULL);
    kill(child, SIGTERM);
    kill(child, SIGKILL);
    say("all blocked, killed by %d\n", -reap(child));
    child = CHILD(for (;;));
    kill(child, SIGTERM);
    say("busy, ended by %d\n", -reap(child));
    return done();
}
