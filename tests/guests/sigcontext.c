/* The frame: a handler reads and edits registers, skips an instruction, and leaves the red zone alone; flags. */
#include "guest.h"
#include <sys/ucontext.h>

static volatile int ticks;

static void skip_ud2(int signal UNUSED, siginfo_t *info, void *context)
{
    ucontext_t *where = context;
    CHECK(info->si_addr == (void *)where->uc_mcontext.gregs[REG_RIP]);
    where->uc_mcontext.gregs[REG_RIP] += 2;
    where->uc_mcontext.gregs[REG_RAX] = where->uc_mcontext.gregs[REG_RBX] + 1;
    where->uc_mcontext.gregs[REG_R12] = 0x1122334455667788;
    where->uc_mcontext.gregs[REG_EFL] |= 1; /* carry */
}

static void mask_more(int signal UNUSED, siginfo_t *info UNUSED, void *context)
{
    sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGUSR2);
}

static void tick(int signal UNUSED)
{
    char noise[512];
    memset(noise, 0xee, sizeof noise);
    __asm__ volatile("" ::"r"(noise) : "memory");
    ticks++;
}

static void look_at_flags(int signal UNUSED, siginfo_t *info UNUSED, void *context)
{
    uint64_t flags = __builtin_ia32_readeflags_u64();
    say("DF in the handler %d, in its frame %d\n", (flags & 1 << 10) != 0,
        (((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] & 1 << 10) != 0);
}

/* A signal to itself with DF set; returns the flags behind the call. */
static uint64_t signal_with_df(void)
{
    uint64_t flags;
    long result, pid = getpid();
    __asm__ volatile("sub $128,%%rsp; std; syscall; pushf; pop %1; cld; add $128,%%rsp"
                     : "=a"(result), "=r"(flags)
                     : "a"((long)SYS_tgkill), "D"(pid), "S"(pid), "d"((long)SIGUSR2)
                     : "rcx", "r11", "cc", "memory");
    CHECK(result == 0);
    return flags;
}

int main(void)
{
    handle(SIGUSR2, SA_SIGINFO, look_at_flags);
    say("DF after it %d\n", (signal_with_df() & 1 << 10) != 0);
    handle(SIGILL, SA_SIGINFO, skip_ud2);
    uint64_t rax, r12;
    uint8_t carry;
    __asm__ volatile("mov $41,%%rbx; xor %%eax,%%eax; clc; ud2; setc %2; mov %%rax,%0; mov %%r12,%1"
                     : "=m"(rax), "=m"(r12), "=m"(carry)
                     :
                     : "rax", "rbx", "r12", "cc", "memory");
    say("rax %lu r12 %lx carry %d\n", rax, r12, carry);

    handle(SIGUSR1, SA_SIGINFO, mask_more);
    raise(SIGUSR1);
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    say("a mask edited in the frame holds: %d\n", sigismember(&now, SIGUSR2));

    handle(SIGALRM, 0, tick);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 2000}, {0, 2000}}, NULL);
    uint64_t bad = 0;
    __asm__ volatile("mov $0x5a5a5a5a5a5a5a5a,%%rax; mov %%rax,-8(%%rsp); mov %%rax,-120(%%rsp)\n"
                     "1: cmp %%rax,-8(%%rsp); jne 2f; cmp %%rax,-120(%%rsp); jne 2f; cmpl $25,%1; jl 1b; jmp 3f\n"
                     "2: movq $1,%0\n3:"
                     : "+m"(bad)
                     : "m"(ticks)
                     : "rax", "cc", "memory");
    CHECK(!bad && ticks >= 25);
    say("red zone whole\n");
    return done();
}
