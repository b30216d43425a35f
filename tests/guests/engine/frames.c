/* Hostile signal frames: each mode returns from a handler with one thing spoilt; SIGSEGV is caught, or nothing happens. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("failed: %s in mode %d\n", #x, mode); exit(1); } } while (0)

static volatile int mode, caught;
static sigjmp_buf back;
static char alternate[65536];

static void
spoil(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    uint8_t *fpu = (uint8_t *)uc->uc_mcontext.fpregs;

    (void)signo, (void)info;
    switch (mode) {
    case 0: /* reserved MXCSR bits */
        *(uint32_t *)(fpu + 24) = 0xffffffff;
        break;
    case 1: /* components that there are not */
        *(uint64_t *)(fpu + 512) = ~0UL;
        break;
    case 2: /* compaction */
        *(uint64_t *)(fpu + 520) = 1UL << 63;
        break;
    case 3: /* FPU state at an address that is not there */
        uc->uc_mcontext.fpregs = (void *)64;
        break;
    case 4: /* unaligned */
        uc->uc_mcontext.fpregs = (void *)(fpu + 8);
        break;
    case 5:
        g[REG_RIP] = (greg_t)0xffff800000000000;
        break;
    case 6: /* a null pointer called */
        g[REG_RIP] = 0;
        break;
    case 11: /* a hole of the guest half */
        g[REG_RIP] = 0x10000;
        break;
    case 7: /* segments are not the guest's to choose: no effect */
        g[REG_CSGSFS] = 0x23 | 0x10L << 48;
        break;
    case 8: /* nor are system flags */
        g[REG_EFL] |= 0x3000 | 0x4000 | 0x20000;
        break;
    case 9: /* magic of the extended part: only the legacy state is taken */
        *(uint32_t *)(fpu + 464) = 0;
        break;
    case 10: /* no FPU state at all: a fresh one */
        uc->uc_mcontext.fpregs = NULL;
        break;
    }
}

static void
segv(int signo)
{
    (void)signo;
    caught = 1;
    siglongjmp(back, 1);
}

int
main(void)
{
    static const int wanted[] = {1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1};
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER};

    sigaltstack(&stack, NULL);
    action.sa_sigaction = spoil;
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = segv;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
    for (mode = 0; mode < (int)(sizeof wanted / sizeof *wanted); mode++) {
        caught = 0;
        if (sigsetjmp(back, 1) == 0)
            syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
        CHECK(caught == wanted[mode]);
    }
    puts("EXIT-SUCCESS");
    return 0;
}
