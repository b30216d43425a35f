/* `mov %r11,8(%rsp); syscall` with a stack pointer that nothing can be stored by, before and after many calls from there:
 * the fault is the store's, with its own address. */
#include "guest.h"

#include <signal.h>
#include <ucontext.h>

extern char store[], behind[];
static volatile int faults, elsewhere;

static void
on_fault(int signo, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)signo;
    faults++;
    elsewhere += uc->uc_mcontext.gregs[REG_RIP] != (greg_t)store || info->si_addr != (void *)0x1008;
    uc->uc_mcontext.gregs[REG_RSP] = uc->uc_mcontext.gregs[REG_RBX];
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)behind;
    uc->uc_mcontext.gregs[REG_RAX] = -1;
}

/* getpid, from the same place each time, by this stack pointer; 0: below our own. */
static __attribute__((noinline)) long
call(long stack)
{
    long result;

    __asm__ volatile("mov %%rsp,%%rbx\n"
                     "lea -256(%%rsp),%%rsp\n"
                     "test %1,%1\n"
                     "cmovnz %1,%%rsp\n"
                     "mov $39,%%eax\n"
                     ".globl store\n"
                     "store: mov %%r11,8(%%rsp)\n"
                     "syscall\n"
                     "mov %%rbx,%%rsp\n"
                     ".globl behind\n"
                     "behind: nop\n"
                     : "=&a"(result)
                     : "r"(stack)
                     : "rbx", "rcx", "r11", "memory", "cc");
    return result;
}

int
main(void)
{
    static char stack[65536];
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int right = 0;

    CHECK(sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL) == 0);
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    CHECK(call(0x1000) == -1);
    for (int i = 0; i < 50; i++)
        right += call(0) == getpid();
    for (int i = 0; i < 10; i++)
        CHECK(call(0x1000) == -1);
    printf("%d right, %d faults, %d elsewhere\n", right, faults, elsewhere);
    puts("EXIT-SUCCESS");
    return 0;
}
