/* siglongjmp out of handlers, thousands of times, restores the mask each time. */
#include "guest.h"
#include <setjmp.h>

static sigjmp_buf back;
static int faults;

static void leave(int signal UNUSED)
{
    faults++;
    siglongjmp(back, faults);
}

int main(void)
{
    sigset_t mask;
    handle(SIGSEGV, 0, leave);
    handle(SIGUSR1, 0, leave);
    for (volatile int i = 0; i < 2000; i++) {
        if (sigsetjmp(back, 1) == 0)
            *(volatile int *)(uintptr_t)(i % 4096) = 1;
        sigprocmask(SIG_BLOCK, NULL, &mask);
        CHECK(sigisemptyset(&mask));
    }
    say("%d faults left by a jump\n", faults);
    for (volatile int i = 0; i < 2000; i++)
        if (sigsetjmp(back, 1) == 0)
            raise(SIGUSR1);
    say("%d with raised ones\n", faults);
    if (sigsetjmp(back, 0) == 0)
        raise(SIGUSR1);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    say("the mask stays where it was not saved: %d\n", sigismember(&mask, SIGUSR1));
    return done();
}
