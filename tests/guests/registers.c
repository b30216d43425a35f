/* Hand-written calls in every register state: all registers but rax, rcx, r11 and all flags survive, from any state. */
#include "guest.h"

struct state {
    uint64_t rbx, rdx, rsi, rdi, rbp, r8, r9, r10, r12, r13, r14, r15, flags, rax;
};

/* Load everything from in, with these flags, make the call rax names, store everything to out.  Three of them are of the
 * kinds that can be patched: getpid by a mov before it, a comparison after it, and with what musl stores before it. */
void raw_call(const struct state *in, struct state *out), call_by_mov(const struct state *in, struct state *out),
    call_and_compare(const struct state *in, struct state *out), call_as_musl(const struct state *in, struct state *out);
#define RAW_CALL(name, call)                                                                                             \
    __asm__(".globl " name "; .balign 256; " name ": push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"   \
            "push %rsi; mov 8(%rdi),%rdx; mov 16(%rdi),%rsi; mov 32(%rdi),%rbp; mov 40(%rdi),%r8; mov 48(%rdi),%r9\n"     \
            "mov 56(%rdi),%r10; mov 64(%rdi),%r12; mov 72(%rdi),%r13; mov 80(%rdi),%r14; mov 88(%rdi),%r15; mov (%rdi),%rbx\n" \
            "mov 104(%rdi),%rax; push 96(%rdi); mov 24(%rdi),%rdi; popf; " call "; pushf; push %rbp; mov 16(%rsp),%rbp\n"  \
            "mov %rbx,(%rbp); mov %rdx,8(%rbp); mov %rsi,16(%rbp); mov %rdi,24(%rbp); pop 32(%rbp); mov %r8,40(%rbp)\n"   \
            "mov %r9,48(%rbp); mov %r10,56(%rbp); mov %r12,64(%rbp); mov %r13,72(%rbp); mov %r14,80(%rbp)\n"              \
            "mov %r15,88(%rbp); pop 96(%rbp); mov %rax,104(%rbp); push $0x202; popf\n"                                  \
            "pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret")
RAW_CALL("raw_call", "syscall");
RAW_CALL("call_by_mov", "nop; mov $39,%eax; syscall");
RAW_CALL("call_and_compare", "syscall; cmp $-4096,%rax");
RAW_CALL("call_as_musl", "lea -64(%rsp),%rsp; mov %r11,8(%rsp); syscall; lea 64(%rsp),%rsp");

#define ARITHMETIC 0x8d5u

static const uint64_t flag_sets[] = {0x202, 0x202 | 1 << 10, 0x202 | 1 << 18, 0x202 | 0x8d5, 0x202 | 0x8d5 | 1 << 10 | 1 << 18,
                                     0x202 | 1 << 14, 0x202 | 1 << 21};

typedef void call_type(const struct state *in, struct state *out);

/* What the call makes of a state; all but rax, and the flags that are not `kept`, must be as before. */
static uint64_t result_of(call_type *call, long number, uint64_t flags, int round, uint64_t kept)
{
    struct state in, out;
    for (int i = 0; i < 14; i++)
        ((uint64_t *)&in)[i] = 0xa5a5000000000000u + 0x1111u * (i + 1) + round;
    in.flags = flags;
    in.rax = number;
    call(&in, &out);
    uint64_t rax = out.rax;
    CHECK(((in.flags ^ out.flags) & kept) == 0);
    out.rax = in.rax;
    out.flags = in.flags;
    CHECK(memcmp(&in, &out, sizeof in) == 0);
    return rax;
}

int main(void)
{
    long numbers[] = {SYS_getpid, SYS_getppid, SYS_sched_yield, SYS_lseek, SYS_read, 9999, -1, SYS_clock_gettime, SYS_madvise};
    const char *names[] = {"plain", "DF", "AC", "arithmetic", "arithmetic+DF+AC", "NT", "ID"};
    for (int f = 0; f < COUNT(flag_sets); f++) {
        for (int n = 0; n < COUNT(numbers); n++)
            for (int round = 0; round < 20; round++) {
                uint64_t rax = result_of(raw_call, numbers[n], flag_sets[f], round, ~0ul);
                if (round == 0 && f == 0)
                    say("call %ld: %ld\n", numbers[n], numbers[n] == SYS_getpid || numbers[n] == SYS_getppid ? 0 : (long)rax);
            }
        for (int round = 0; round < 20; round++) {
            CHECK((long)result_of(call_by_mov, -1, flag_sets[f], round, ~0ul) == getpid());
            CHECK((long)result_of(call_and_compare, SYS_getpid, flag_sets[f], round, ~(uint64_t)ARITHMETIC) == getpid());
            CHECK((long)result_of(call_and_compare, 9999, flag_sets[f], round, ~(uint64_t)ARITHMETIC) == -ENOSYS);
            CHECK((long)result_of(call_as_musl, SYS_getppid, flag_sets[f], round, ~0ul) == getppid());
        }
        say("%s survives\n", names[f]);
    }
    return done();
}
