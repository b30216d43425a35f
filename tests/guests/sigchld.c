/* SIGCHLD: its siginfo for exit, death, stop and continuation; SA_NOCLDSTOP, SA_NOCLDWAIT and SIG_IGN. */
#include "guest.h"

static volatile int count;
static siginfo_t last;

static void note(int signal UNUSED, siginfo_t *info, void *context UNUSED)
{
    last = *info;
    count++;
}

static void expect(const char *what, pid_t pid, int seen)
{
    sigset_t none;
    sigemptyset(&none);
    while (count < seen)
        sigsuspend(&none);
    CHECK(last.si_pid == pid && last.si_uid == getuid());
    say("%s: code %d status %d\n", what, last.si_code, last.si_status);
}

int main(void)
{
    sigset_t chld = set_of(SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    handle(SIGCHLD, SA_SIGINFO, note);
    pid_t child = CHILD(_exit(42));
    expect("exit", child, 1);
    CHECK(reap(child) == 42);
    child = CHILD(for (;;) pause());
    kill(child, SIGSTOP);
    expect("stop", child, 2);
    kill(child, SIGCONT);
    expect("continue", child, 3);
    kill(child, SIGKILL);
    expect("kill", child, 4);
    CHECK(reap(child) == -SIGKILL);

    count = 0;
    child = CHILD(while (clock() < CLOCKS_PER_SEC / 5) ; raise(SIGSTOP));
    expect("stop after work", child, 1);
    say("which was told of: %d\n", last.si_utime + last.si_stime >= 10);
    kill(child, SIGKILL);
    expect("its end", child, 2);
    CHECK(reap(child) == -SIGKILL);

    count = 4;
    handle(SIGCHLD, SA_SIGINFO | SA_NOCLDSTOP, note);
    child = CHILD(for (;;) pause());
    int status;
    kill(child, SIGSTOP);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    kill(child, SIGTERM);
    kill(child, SIGCONT);
    expect("no stop was told, the end", child, 5);
    CHECK(reap(child) == -SIGTERM);

    sigprocmask(SIG_UNBLOCK, &chld, NULL); /* the signal does not hide from a wait what it is about */
    for (int i = 0; i < 20; i++) {
        child = CHILD(if (i % 2) usleep(2000); _exit(i));
        CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == i);
    }
    sigprocmask(SIG_BLOCK, &chld, NULL);

    handle(SIGCHLD, SA_SIGINFO | SA_NOCLDWAIT, note);
    child = CHILD(_exit(1));
    TRY(waitpid(child, &status, 0));
    handle(SIGCHLD, 0, SIG_IGN);
    child = CHILD(_exit(1));
    TRY(waitpid(-1, &status, 0));
    return done();
}
