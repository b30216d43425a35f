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

/* What says that there is more than the legacy state is damaged, or left alone. */
static int damages;

static void damage(int signal UNUSED, siginfo_t *info UNUSED, void *context)
{
    uint8_t *kept = (uint8_t *)((ucontext_t *)context)->uc_mcontext.fpregs;
    uint32_t words[7]; /* struct _fpx_sw_bytes: magic1, extended_size, xfeatures, xstate_size */

    memcpy(words, kept + 464, sizeof words);
    CHECK(words[0] == 0x46505853 && words[1] == words[4] + 4);
    if (damages == 1)
        memset(kept + words[4], 0, 4); /* magic2, behind the state */
    if (damages == 2)
        memset(kept + 464, 0, 4);
}

/* Linux takes the legacy state then: the lower halves are what they were, the upper ones are empty. */
static void upper_halves(void)
{
    const uint64_t in[4] = {1, 2, 3, 4};
    uint64_t out[4];
    long result;

    if (!__builtin_cpu_supports("avx")) {
        say("without AVX there is nothing to see\n");
        return;
    }
    CHECK(sigaction(SIGUSR2, &(struct sigaction){.sa_flags = SA_SIGINFO, .sa_sigaction = damage}, NULL) == 0);
    for (damages = 0; damages < 3; damages++) {
        __asm__ volatile("vmovups %2, %%ymm9\n mov $62, %%eax\n syscall\n vmovups %%ymm9, %1\n vzeroupper"
                         : "=&a"(result), "=m"(out)
                         : "m"(in), "D"(getpid()), "S"(SIGUSR2)
                         : "rcx", "r11", "xmm9", "memory");
        say("damage %d: %ld, %ld %ld %ld %ld\n", damages, result, (long)out[0], (long)out[1], (long)out[2], (long)out[3]);
    }
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
    upper_halves();
    return done();
}
