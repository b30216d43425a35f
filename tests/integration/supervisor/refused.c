/* Forks that the host refuses, since the sandbox has all the processes that it may have: there never was a child, whether
 * children are waited for or not. */
#include "../../guests/guest.h"

enum { MOST = 200, TRIES = 300 };
static volatile int told;

static void note(int signal UNUSED)
{
    told++;
}

/* Returns how many of the tries are refused as they should be. */
static int refused(void)
{
    int count = 0;

    for (int i = 0; i < TRIES; i++) {
        pid_t child = fork();

        if (child == 0)
            _exit(0);
        count += child < 0 && errno == EAGAIN;
    }
    return count;
}

int main(void)
{
    pid_t children[MOST];
    int n = 0;

    while (n < MOST && (children[n] = fork()) >= 0) {
        if (children[n] == 0)
            for (;;)
                pause();
        n++;
    }
    CHECK(n > 0 && n < MOST && errno == EAGAIN);
    handle(SIGCHLD, 0, note);
    CHECK(refused() == TRIES);
    CHECK(told == 0 && waitpid(-1, NULL, WNOHANG) == 0);
    handle(SIGCHLD, 0, SIG_IGN);
    CHECK(refused() == TRIES);
    handle(SIGCHLD, 0, SIG_DFL);
    for (int i = 0; i < n; i++) {
        CHECK(kill(children[i], SIGKILL) == 0);
        CHECK(reap(children[i]) == -SIGKILL);
    }
    CHECK(reap(CHILD(;)) == 0);
    return done();
}
