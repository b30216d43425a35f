/* Signals under load: two senders flood a process that computes, calls and copies; nothing is lost or disturbed. */
#include "guest.h"

enum { ROUNDS = 1500 };
static volatile int rt_seen, last_value = -1, usr_seen;

static void rt(int signal UNUSED, siginfo_t *info, void *context UNUSED)
{
    CHECK(info->si_value.sival_int == last_value + 1);
    last_value = info->si_value.sival_int;
    rt_seen++;
}

static void usr(int signal UNUSED)
{
    usr_seen++;
    errno = 0;
}

static uint64_t mix(uint64_t state)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^ state << 17;
}

int main(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART, .sa_sigaction = rt};
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGRTMIN, &action, NULL) == 0);
    handle(SIGUSR1, SA_RESTART, usr);
    pid_t parent = getpid();
    pid_t queue = CHILD(for (int i = 0; i < ROUNDS; i++) while (
        sigqueue(parent, SIGRTMIN, (union sigval){.sival_int = i}) < 0) { CHECK(errno == EAGAIN); nap(1); });
    pid_t flood = CHILD(for (int i = 0; i < ROUNDS; i++) kill(parent, SIGUSR1));
    int ends[2];
    CHECK(pipe(ends) == 0);
    uint64_t state = 88172645463325252u, sum = 0;
    for (int i = 0; rt_seen < ROUNDS || !usr_seen || i < 2000; i++) {
        char out[64], in[64];
        memset(out, i, sizeof out);
        CHECK(write(ends[1], out, sizeof out) == sizeof out);
        CHECK(read(ends[0], in, sizeof in) == sizeof in && memcmp(in, out, sizeof in) == 0);
        for (int k = 0; k < 200; k++)
            state = mix(state);
        if (i == 1999)
            sum = state;
        CHECK(i < 10000000);
    }
    say("sum after 400,000 steps: %016lx\n", sum);
    say("%d queued signals in order, usr1 seen: %d\n", rt_seen, usr_seen > 0);
    CHECK(reap(queue) == 0 && reap(flood) == 0);
    return done();
}
