/* Nested handlers: SA_NODEFER, sa_mask, and a signal that its own handler must not interrupt. */
#include "guest.h"

static volatile int depth, deepest; /* raise() is a leaf to the compiler */
static char trace[64];

static void recurse(int signal)
{
    depth++;
    deepest = depth > deepest ? depth : deepest;
    if (depth < 5)
        raise(signal);
    depth--;
}

static volatile int runs;
static void deferred(int signal)
{
    int mine = ++runs;
    if (mine == 1) {
        raise(signal);
        CHECK(runs == 1);
    }
}

static void inner(int signal UNUSED) { strcat(trace, "inner "); }
static void outer(int signal UNUSED)
{
    strcat(trace, "outer( ");
    raise(SIGUSR2);
    strcat(trace, ") ");
}

int main(void)
{
    handle(SIGUSR1, SA_NODEFER, recurse);
    raise(SIGUSR1);
    say("deepest with SA_NODEFER: %d\n", deepest);
    handle(SIGUSR1, 0, deferred);
    raise(SIGUSR1);
    say("runs without: %d\n", runs);

    handle(SIGUSR1, 0, outer);
    handle(SIGUSR2, 0, inner);
    raise(SIGUSR1);
    say("no mask: %s\n", trace);
    *trace = 0;
    struct sigaction action = {.sa_handler = outer};
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    say("masked: %s\n", trace);
    struct sigaction read_back;
    sigaction(SIGUSR1, NULL, &read_back);
    CHECK(read_back.sa_handler == outer && sigismember(&read_back.sa_mask, SIGUSR2));
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigisemptyset(&now));
    return done();
}
