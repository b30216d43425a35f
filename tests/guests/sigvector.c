/* Signals that come with the result of a call, made at one place so often that it is patched: vector registers and the
 * rounding mode are what they were, unless the handler has changed them where they are kept. */
#include "guest.h"

#include <ucontext.h>

enum { TIMES = 40, ROUND_UP = 0x5f80, FRESH = 0x1f80 };
static int seen, good;

static uint32_t control(void)
{
    uint32_t mxcsr;

    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    return mxcsr;
}

static void note(int signal UNUSED, siginfo_t *info UNUSED, void *context)
{
    struct _libc_fpstate *kept = ((ucontext_t *)context)->uc_mcontext.fpregs;
    const uint64_t other[2] = {7, 7};

    seen++;
    good += kept->_xmm[6].element[0] == (uint32_t)seen && kept->mxcsr == ROUND_UP && control() == FRESH;
    kept->_xmm[7].element[0] = (uint32_t)-seen;
    __asm__ volatile("movups %0, %%xmm6\n movups %0, %%xmm7\n movups %0, %%xmm8" ::"m"(other) : "xmm6", "xmm7", "xmm8");
}

int main(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO, .sa_sigaction = note};
    const uint32_t up = ROUND_UP, usual = FRESH;
    const pid_t pid = getpid();
    int right = 0;

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 1; i <= TIMES; i++) {
        uint64_t in[2] = {(uint64_t)i, ~(uint64_t)i}, six[2], seven[2], eight[2];
        uint32_t after;
        long result;

        __asm__ volatile("movups %5, %%xmm6\n movups %5, %%xmm7\n movups %5, %%xmm8\n ldmxcsr %6\n"
                         "mov $62, %%eax\n syscall\n"
                         "movups %%xmm6, %1\n movups %%xmm7, %2\n movups %%xmm8, %3\n stmxcsr %4\n ldmxcsr %7"
                         : "=&a"(result), "=m"(six), "=m"(seven), "=m"(eight), "=m"(after)
                         : "m"(in), "m"(up), "m"(usual), "D"(pid), "S"(SIGUSR1)
                         : "rcx", "r11", "xmm6", "xmm7", "xmm8", "memory");
        right += result == 0 && after == up && memcmp(six, in, sizeof in) == 0 && memcmp(eight, in, sizeof in) == 0 &&
                 (uint32_t)seven[0] == (uint32_t)-i && seven[1] == in[1];
    }
    say("handlers that saw it: %d of %d, calls that kept it: %d\n", good, seen, right);
    return done();
}
