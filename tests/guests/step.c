/* A program that steps through its own calls with the trap flag: it sees its own code only, and calls do what they do. */
#include "guest.h"

#include <ucontext.h>

static char *begin, *end;
static volatile int steps, outside;

static void trap(int signal UNUSED, siginfo_t *info UNUSED, void *context)
{
    char *rip = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    steps++;
    outside += rip < begin || rip > end;
}

/* From the same places each time: a call of each kind of site, and what it returned. */
static __attribute__((noinline)) void step(long *results)
{
    register char *from __asm__("r8"), *to __asm__("r9");
    steps = outside = 0;
    __asm__ volatile("lea 8f(%%rip),%0; lea 9f(%%rip),%1" : "=r"(from), "=r"(to));
    begin = from;
    end = to;
    __asm__ volatile("jmp 1f; .balign 64; 1: sub $256,%%rsp; pushf; orl $0x100,(%%rsp); popf\n"
                     "8: nop; mov $39,%%eax; syscall; mov %%rax,(%0)\n"
                     "mov $39,%%eax; jmp 2f; .balign 64; 2: nop; syscall; cmp $-4096,%%rax; mov %%rax,8(%0)\n"
                     "mov $39,%%eax; jmp 3f; .balign 64; 3: mov %%r11,8(%%rsp); syscall; mov %%rax,16(%0)\n"
                     "mov $39,%%eax; nop; syscall; nop; mov %%rax,24(%0)\n"
                     "pushf; andl $~0x100,(%%rsp); popf\n"
                     "9: nop; add $256,%%rsp"
                     :
                     : "r"(results)
                     : "rax", "rcx", "r11", "memory", "cc");
}

int main(void)
{
    long pid = getpid();
    handle(SIGTRAP, SA_SIGINFO, trap);
    for (int round = 0; round < 20; round++) {
        long results[4] = {0};
        step(results);
        for (int i = 0; i < COUNT(results); i++)
            CHECK(results[i] == pid);
        CHECK(outside == 0);
        CHECK(steps >= 12);
        int before = steps;
        getppid();
        CHECK(steps == before);
    }
    say("stepped through 20 rounds\n");
    return done();
}
