/* Call sites of every kind: those that can be patched, those that cannot, jumps into the middle, page crossings. */
#include "guest.h"

static long pid;

#define RUN(name, text)                                                                                      \
    do {                                                                                                     \
        for (int round_ = 0; round_ < 50; round_++) {                                                        \
            long result_;                                                                                    \
            __asm__ volatile(text : "=a"(result_) : "b"((long)SYS_getpid) : "rcx", "r11", "rdx", "memory");   \
            CHECK(result_ == pid);                                                                           \
        }                                                                                                    \
        say("%s\n", name);                                                                                   \
    } while (0)

int main(void)
{
    pid = getpid();
    RUN("mov imm32; syscall", "mov $39,%%eax; syscall");
    RUN("the mov in a 64-bit form", "mov $39,%%rax; syscall");
    RUN("r8d loaded before: 41 b8 is no mov to eax", "mov %%ebx,%%eax; mov $39,%%r8d; syscall");
    RUN("number by xor and al", "xor %%eax,%%eax; mov $39,%%al; syscall");
    RUN("number from a register", "mov %%rbx,%%rax; syscall");
    RUN("number popped", "push $39; pop %%rax; syscall");
    RUN("a comparison after it", "mov %%ebx,%%eax; syscall; cmp $-4096,%%rax; ja 1f; nop; 1:");
    RUN("the other comparison", "mov %%ebx,%%eax; syscall; cmp $-4095,%%rax; jae 1f; nop; 1:");
    RUN("a jump to the comparison", "mov %%ebx,%%eax; xor %%edx,%%edx; 2: syscall; 1: cmp $-4096,%%rax; inc %%edx; "
                                    "cmp $3,%%edx; jb 1b");
    RUN("jumps to the syscall itself", "xor %%edx,%%edx; mov $39,%%eax; 1: syscall; mov %%ebx,%%eax; inc %%edx; "
                                       "cmp $3,%%edx; jb 1b; syscall");
    RUN("back to back", "mov $39,%%eax; syscall; mov $39,%%eax; syscall; mov %%ebx,%%eax; syscall");
    RUN("as musl does it", "mov %%ebx,%%eax; sub $128,%%rsp; mov %%r11,8(%%rsp); syscall; add $128,%%rsp; nop");
    RUN("across a page", "jmp 1f; .p2align 12; .fill 4090,1,0x90; 1: mov $39,%%eax; syscall; nop");
    RUN("split by a page", "mov %%ebx,%%eax; jmp 1f; .p2align 12; .fill 4095,1,0x90; 1: syscall; jmp 2f; .p2align 4; 2: mov %%ebx,%%eax; "
                           "jmp 3f; 3: syscall");
    RUN("wrong number in the mov, right at a jump", "mov %%ebx,%%eax; jmp 1f; mov $60,%%eax; 1: syscall");
    return done();
}
