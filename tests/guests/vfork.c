/* vfork: the child borrows the memory, and the parent waits until it execs or exits. */
#include "guest.h"

static volatile int shared = 1;
static volatile pid_t child;

int main(int argc, char **argv)
{
    if (argc > 1) {
        nap(20);
        return atoi(argv[1]);
    }
    child = vfork();
    if (child == 0) {
        nap(30);
        shared = 2;
        _exit(5);
    }
    say("memory is shared: %d\n", shared);
    say("exit status %d\n", reap(child));
    char *args[] = {argv[0], "9", NULL};
    child = vfork();
    if (child == 0) {
        execv("/proc/self/exe", args);
        _exit(1);
    }
    say("the parent goes on at exec: %d\n", waitpid(child, NULL, WNOHANG) == 0);
    say("status %d\n", reap(child));
    child = vfork();
    if (child == 0) {
        execv("/nowhere", args);
        shared = errno;
        _exit(1);
    }
    say("failed exec left %s, status %d\n", strerrorname_np(shared), reap(child));
    handle(SIGCHLD, 0, SIG_DFL);
    for (volatile int i = 0; i < 50; i++) {
        child = vfork();
        if (child == 0)
            _exit(i);
        CHECK(reap(child) == i);
    }
    child = vfork();
    if (child == 0) {
        kill(getpid(), SIGKILL);
        _exit(0);
    }
    say("killed: %d\n", reap(child));
    return done();
}
