/* Host calls from the guest half's own text, where the filter trusts the instruction pointer. */
#ifndef GADGET_H
#define GADGET_H
#include "nolibc.h"

/* Enter the guest half at its `cmpl $0,(%rbx); jne; syscall; pop %rbx; ret`: a host call with any registers. */
static long
gadget(const char *at, long nr, long a, long b, long c, long d, long e, long f)
{
    static const int zero;
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;

    __asm__ volatile("mov %7, %%rbx\n sub $8, %%rsp\n lea 1f(%%rip), %%rcx\n push %%rcx\n sub $8, %%rsp\n jmp *%8\n"
                     "1: add $8, %%rsp"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"((long)&zero), "r"(at), "r"(r9)
                     : "rcx", "r11", "rbx", "memory");
    return result;
}
#define HOST(nr, ...) HOST_(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define HOST_(nr, a, b, c, d, e, f, ...) \
    gadget(at, nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* The gadget's address, which stands in an argument. */
static inline const char *
gadget_at(const char *text)
{
    long at = 0;

    for (; *text; text++)
        at = at * 10 + *text - '0';
    return (const char *)at;
}

/* Start the only other thread, which never returns. */
static inline void
start_thread(void (*function)(void))
{
    static char stack[16384] __attribute__((aligned(16)));
    const long flags = 0x50f00; /* VM FS FILES SIGHAND THREAD SYSVSEM */
    long tid;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;

    __asm__ volatile("syscall\n test %%eax, %%eax\n jnz 1f\n xor %%ebp, %%ebp\n call *%%rbx\n ud2\n1:"
                     : "=a"(tid)
                     : "a"(__NR_clone), "D"(flags), "S"(stack + sizeof stack), "d"(0L), "r"(r10), "r"(r8), "b"(function)
                     : "rcx", "r11", "memory");
    CHECK(tid > 0);
}
#endif
