/* Hand-written calls in every register state: all registers but rax, rcx, r11 and all flags survive, from any state. */
#include "guest.h"

struct state {
    uint64_t rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15, flags, rax;
};

/* Load everything from in, with these flags, make the call rax names, store everything to out. */
void raw_call(const struct state *in, struct state *out);
__asm__(".globl raw_call; raw_call: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"
        "mov 8(%rdi),%rdx; mov 16(%rdi),%rsi; mov 32(%rdi),%rbp; mov 40(%rdi),%r8; mov 48(%rdi),%r9; mov 56(%rdi),%r10\n"
        "mov 64(%rdi),%r12; mov 72(%rdi),%r13; mov 80(%rdi),%r14; mov 88(%rdi),%r15; mov (%rdi),%rbx; mov 104(%rdi),%rax\n"
        "push 96(%rdi); mov 24(%rdi),%rdi; popf; syscall; pushf; push %rbp; mov 16(%rsp),%rbp\n"
        "mov %rbx,(%rbp); mov %rdx,8(%rbp); mov %rsi,16(%rbp); mov %rdi,24(%rbp); pop 32(%rbp); mov %r8,40(%rbp)\n"
        "mov %r9,48(%rbp); mov %r10,56(%rbp); mov %r12,64(%rbp); mov %r13,72(%rbp); mov %r14,80(%rbp); mov %r15,88(%rbp)\n"
        "pop 96(%rbp); mov %rax,104(%rbp); push $0x202; popf\n"
        "pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret");

static const uint64_t flag_sets[] = {0x202, 0x202 | 1 << 10, 0x202 | 1 << 18, 0x202 | 0x8d5, 0x202 | 0x8d5 | 1 << 10 | 1 << 18,
                                     0x202 | 1 << 14, 0x202 | 1 << 21};

int main(void)
{
    long numbers[] = {SYS_getpid, SYS_getppid, SYS_sched_yield, SYS_lseek, SYS_read, 9999, -1, SYS_clock_gettime, SYS_madvise};
    const char *names[] = {"plain", "DF", "AC", "arithmetic", "arithmetic+DF+AC", "NT", "ID"};
    for (int f = 0; f < COUNT(flag_sets); f++) {
        for (int n = 0; n < COUNT(numbers); n++)
            for (int round = 0; round < 20; round++) {
                struct state in, out;
                for (int i = 0; i < 14; i++)
                    ((uint64_t *)&in)[i] = 0xa5a5000000000000u + 0x1111u * (i + 1) + round;
                in.flags = flag_sets[f];
                in.rax = numbers[n];
                raw_call(&in, &out);
                uint64_t rax = out.rax;
                out.rax = in.rax;
                CHECK(memcmp(&in, &out, sizeof in) == 0);
                if (round == 0 && f == 0)
                    say("call %ld: %ld\n", numbers[n], numbers[n] == SYS_getpid || numbers[n] == SYS_getppid ? 0 : (long)rax);
            }
        say("%s survives\n", names[f]);
    }
    return done();
}
