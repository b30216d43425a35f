/* FP, SSE and AVX state across handlers that use them: caller's registers, MXCSR and x87 control word come back. */
#include "guest.h"

static volatile int ticks;

static void clobber(int signal UNUSED)
{
    ticks++;
    unsigned mxcsr = 0x1f80 | 0x6000;
    unsigned short control = 0x0f7f;
    __asm__ volatile("ldmxcsr %0; fldcw %1; pxor %%xmm0,%%xmm0; pxor %%xmm7,%%xmm7; pxor %%xmm15,%%xmm15; fninit" ::"m"(mxcsr),
                     "m"(control)
                     : "xmm0", "xmm7", "xmm15");
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vxorps %%ymm1,%%ymm1,%%ymm1; vxorps %%ymm14,%%ymm14,%%ymm14" ::: "xmm1", "xmm14");
}

static __attribute__((noinline)) void hold(const uint64_t *in, uint64_t *out, int avx)
{
    int until = ticks + 2, start = ticks;
    if (avx)
        __asm__ volatile("vmovdqu (%0),%%ymm1; vmovdqu 32(%0),%%ymm14; 1: pause; mov %2,%%eax; cmp %3,%%eax; jl 1b;"
                         "vmovdqu %%ymm1,(%1); vmovdqu %%ymm14,32(%1)" ::"r"(in), "r"(out), "m"(ticks), "r"(until)
                         : "rax", "xmm1", "xmm14", "memory");
    else
        __asm__ volatile("movdqu (%0),%%xmm0; movdqu 16(%0),%%xmm15; 1: pause; mov %2,%%eax; cmp %3,%%eax; jl 1b;"
                         "movdqu %%xmm0,(%1); movdqu %%xmm15,16(%1)" ::"r"(in), "r"(out), "m"(ticks), "r"(until)
                         : "rax", "xmm0", "xmm15", "memory");
    CHECK(ticks - start >= 2);
}

int main(void)
{
    uint64_t in[8], out[8];
    unsigned mxcsr = 0x1f80 | 0x2000, mxcsr_now;
    unsigned short control = 0x0a7f, control_now;
    handle(SIGALRM, SA_RESTART, clobber);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 4000}, {0, 4000}}, NULL);
    double third = 1;
    for (int round = 0; round < 15; round++) {
        for (int i = 0; i < 8; i++)
            in[i] = 0x0101010101010101u * (round + i + 1);
        __asm__ volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(control));
        hold(in, out, 0);
        CHECK(memcmp(in, out, 32) == 0);
        if (__builtin_cpu_supports("avx")) {
            hold(in, out, 1);
            CHECK(memcmp(in, out, 64) == 0);
        }
        getppid();
        __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr_now), "=m"(control_now));
        CHECK((mxcsr_now & 0xffc0) == mxcsr && control_now == control);
        third /= 3;
    }
    CHECK(third > 0);
    say("registers, MXCSR and control word held\n");
    return done();
}
