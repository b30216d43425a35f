/* Signal frames: a fault that is mended, siginfo and ucontext, alternate stack, FPU and AVX state, nesting, siglongjmp. */
#define _GNU_SOURCE
#include <fenv.h>
#include <immintrin.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("failed: %s\n", #x); exit(1); } } while (0)

static char *page;
static volatile int faults, users, depth, deepest;
static char alternate[65536];
static sigjmp_buf back;

static void
mend(int signo, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    char here;

    CHECK(signo == SIGSEGV);
    CHECK(info->si_addr == page + 16);
    CHECK(regs[REG_TRAPNO] == 14 && (regs[REG_ERR] & 2));
    CHECK((char *)regs[REG_CR2] == page + 16);
    CHECK(&here >= alternate && &here < alternate + sizeof alternate);
    CHECK(((ucontext_t *)context)->uc_stack.ss_sp == alternate);
    CHECK(((uintptr_t)__builtin_frame_address(0) & 15) == 0);
    faults++;
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void
user(int signo, siginfo_t *info, void *context)
{
    (void)info, (void)context;
    CHECK(signo == SIGUSR1);
    CHECK(fegetround() == FE_TONEAREST); /* a fresh FPU */
    __asm__ volatile("vpxor %%ymm7, %%ymm7, %%ymm7\n pxor %%xmm1, %%xmm1" ::: "xmm1", "xmm7");
    fesetround(FE_UPWARD);
    users++;
    if (++depth > deepest)
        deepest = depth;
    if (users < 4)
        syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
    depth--;
}

static void
jump(int signo)
{
    (void)signo;
    siglongjmp(back, 5);
}

static void
change(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)signo, (void)info;
    uc->uc_mcontext.gregs[REG_RBX] = 0x1234;
    uc->uc_mcontext.fpregs->_xmm[3].element[0] = 77;
}

static void
on(int signo, void *handler, int flags)
{
    struct sigaction action = {.sa_sigaction = (void (*)(int, siginfo_t *, void *))handler, .sa_flags = SA_SIGINFO | flags};

    CHECK(sigaction(signo, &action, NULL) == 0);
}

int
main(void)
{
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    uint64_t avx[4] = {1, 2, 3, 4}, seen[4];
    uint64_t rbx;
    uint32_t xmm3;

    page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigaltstack(&stack, NULL);
    on(SIGSEGV, mend, SA_ONSTACK);
    page[16] = 5;
    CHECK(faults == 1 && page[16] == 5);

    on(SIGUSR1, user, SA_NODEFER);
    fesetround(FE_DOWNWARD);
    if (__builtin_cpu_supports("avx")) {
        long result;
        __asm__ volatile("vmovdqu %2, %%ymm7\n syscall\n vmovdqu %%ymm7, %1"
                         : "=a"(result), "=m"(seen)
                         : "m"(avx), "a"(SYS_tgkill), "D"(getpid()), "S"(getpid()), "d"(SIGUSR1)
                         : "rcx", "r11", "memory", "xmm7");
        CHECK(result == 0);
        CHECK(memcmp(avx, seen, 32) == 0);
    } else {
        syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
    }
    CHECK(users == 4 && deepest == 4);
    CHECK(fegetround() == FE_DOWNWARD);
    fesetround(FE_TONEAREST);

    on(SIGUSR2, jump, 0);
    if (sigsetjmp(back, 1) == 0) {
        raise(SIGUSR2);
        CHECK(!"reached");
    }

    on(SIGTERM, change, 0);
    {
        long pid = getpid();
        __asm__ volatile("syscall\n mov %%rbx, %0\n movd %%xmm3, %1"
                         : "=r"(rbx), "=r"(xmm3)
                         : "a"(SYS_tgkill), "D"(pid), "S"(pid), "d"(SIGTERM)
                         : "rcx", "r11", "rbx", "xmm3", "memory");
    }
    CHECK(rbx == 0x1234 && xmm3 == 77);
    puts("EXIT-SUCCESS");
    return 0;
}
