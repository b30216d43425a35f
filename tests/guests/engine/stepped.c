/* A signal at one instruction of a call's way in or out, each round at another: the call does what it does, and the handler
 * runs before anything else happens.  Call 600 says which call is made next, 601 whether the signal was sent. */
#include "nolibc.h"

__asm__(".text\n"
        ".balign 64\n by_mov: nop\n mov $39, %eax\n syscall\n ret\n"
        ".balign 64\n by_cmp: mov $39, %eax\n xchg %ax, %ax\n syscall\n by_behind: cmp $-4096, %rax\n ja 1f\n ret\n1: mov $-1, %rax\n ret\n"
        ".balign 64\n by_cmp1: mov $39, %eax\n xchg %ax, %ax\n syscall\n by_behind1: cmp $-4095, %rax\n jae 1f\n ret\n1: mov $-1, %rax\n ret\n"
        ".balign 64\n trapping: mov $39, %eax\n nop\n syscall\n nop\n nop\n ret\n"
        ".balign 64\n restorer: mov $15, %eax\n syscall\n");
long by_mov(void), by_cmp(void), by_cmp1(void), trapping(void);
void restorer(void);

extern char by_behind[], by_behind1[];

static volatile long signals, hidden; /* those that came at a place that is none of ours */
static const long very_long[2] = {1000, 0}; /* nothing but the signal ends it */

static void
note(int signo, const void *info, const unsigned long *context)
{
    (void)info;
    signals += signo == 10;
    hidden += context[21] < 0x400000; /* uc_mcontext.gregs[REG_RIP] */
}

/* With AC and DF set, and kept. */
static int
with_flags(long (*function)(void))
{
    unsigned long after;
    long result;

    __asm__ volatile("sub $128, %%rsp\n pushf\n orq $0x40400, (%%rsp)\n popf\n call *%2\n pushf\n mov (%%rsp), %1\n"
                     "andq $~0x40400, (%%rsp)\n popf\n add $128, %%rsp"
                     : "=a"(result), "=&b"(after)
                     : "r"(function)
                     : "rcx", "r11", "memory", "cc");
    return result == 42 && (after & 0x40400) == 0x40400;
}

/* Come to the second instruction of a patched site, as who returns from a handler does. */
static long
enter(const char *behind)
{
    long result;

    __asm__ volatile("sub $128, %%rsp\n call *%1\n add $128, %%rsp"
                     : "=a"(result)
                     : "r"(behind), "a"(42L)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

static const struct {
    void (*handler)(int, const void *, const unsigned long *);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
} action = {note, 0x04000004, restorer, 0};

/* Returns whether it returned what it should. */
static int
call(long which)
{
    switch (which) {
    case 1:
    case 6:
        return trapping() == 42;
    case 2:
        return with_flags(by_mov);
    case 3:
        return with_flags(by_cmp);
    case 4:
        return with_flags(by_cmp1);
    case 7:
        return enter(by_behind) == 42;
    case 8:
        return enter(by_behind1) == 42;
    default:
        return SYS(__NR_clock_nanosleep, 1, 0, very_long, 0) == -4;
    }
}

int
guest(long argc, char **argv)
{
    long which, before = 0, sent;

    (void)argc, (void)argv;
    CHECK(SYS(__NR_rt_sigaction, 10, &action, 0, 8) == 0);
    for (int i = 0; i < 5; i++) {
        for (which = 1; which < 5; which++)
            CHECK(call(which));
    }
    while ((which = SYS(600, 0)) > 0) { /* the way out of this one may be where it is, but in the last case */
        CHECK(call(which));
        for (volatile int i = 0; i < 3000000 && signals == before; i++)
            ;
        before = signals - before;
        sent = SYS(601, 0);
        CHECK(before == sent);
        CHECK(!hidden);
        before = signals;
    }
    return 0;
}
