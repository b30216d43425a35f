/* A flood of signals at calls that are answered without the kernel, clocks among them: each handler runs on the program's
 * own stack, and is shown a place in the program's own code. */
#include "guest.h"

#include <ucontext.h>

enum { WANTED = 300, NEAR = 1 << 20 };
static volatile int seen, elsewhere;
static char *frame;

static void note(int signal UNUSED, siginfo_t *info UNUSED, void *context)
{
    const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uintptr_t lowest = 0x400000; /* no program is mapped below */
    long here = (char *)&registers - frame, there = (char *)registers[REG_RSP] - frame;

    if (here > NEAR || here < -NEAR || there > NEAR || there < -NEAR || (uintptr_t)registers[REG_RIP] < lowest)
        elsewhere++;
    seen++;
}

int main(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO, .sa_sigaction = note};
    struct timespec time;
    pid_t parent = getpid();

    frame = (char *)&time;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pid_t flood = CHILD(while (kill(parent, SIGUSR1) == 0));
    while (seen < WANTED) {
        CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time) == 0);
        CHECK(syscall(SYS_getpid) == parent);
    }
    CHECK(kill(flood, SIGKILL) == 0);
    CHECK(reap(flood) == -SIGKILL);
    say("handlers elsewhere: %d\n", elsewhere);
    return done();
}
