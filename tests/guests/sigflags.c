/* SA_RESETHAND, SA_SIGINFO off, and handlers that stay or go over fork and exec. */
#include "guest.h"

static volatile int count;
static void note(int signal UNUSED) { count++; }

int main(int argc, char **argv)
{
    struct sigaction now;
    if (argc > 1) { /* the second life: ignored stays ignored, handled is default, mask and pending survive */
        sigset_t set;
        sigaction(SIGUSR1, NULL, &now);
        say("after exec: ignored %d", now.sa_handler == SIG_IGN);
        sigaction(SIGUSR2, NULL, &now);
        say(", handled %d", now.sa_handler == SIG_DFL);
        sigprocmask(SIG_BLOCK, NULL, &set);
        say(", blocked %d", sigismember(&set, SIGTERM));
        sigpending(&set);
        say(", pending %d\n", sigismember(&set, SIGTERM));
        return done();
    }
    handle(SIGUSR1, SA_RESETHAND | SA_SIGINFO | SA_NODEFER, note);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &now);
    say("after one run: default %d, flags %x, count %d\n", now.sa_handler == SIG_DFL, now.sa_flags, count);
    pid_t child = CHILD(raise(SIGUSR1));
    say("the next one ends the process: %d\n", reap(child));

    handle(SIGUSR2, 0, note);
    child = CHILD(raise(SIGUSR2); _exit(count));
    say("handlers survive fork: %d\n", reap(child));
    sigset_t term = set_of(SIGTERM), pending;
    sigprocmask(SIG_BLOCK, &term, NULL);
    raise(SIGTERM);
    child = CHILD(sigpending(&pending); _exit(sigismember(&pending, SIGTERM)));
    say("pending signals are not inherited: %d\n", reap(child));
    handle(SIGUSR1, 0, SIG_IGN);
    execl("/proc/self/exe", argv[0], "again", NULL);
    CHECK(!"exec");
}
