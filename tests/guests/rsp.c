/* A system call needs no stack: RSP zero, odd, unmapped, read-only or non-canonical, with the red zone in use. */
#include "guest.h"

static long with_rsp(uint64_t rsp, long number)
{
    long result;
    uint64_t after;
    __asm__ volatile("mov %%rsp,%%r12; mov %2,%%rsp; syscall; mov %%rsp,%1; mov %%r12,%%rsp"
                     : "=a"(result), "=&r"(after)
                     : "r"(rsp), "a"(number)
                     : "rcx", "r11", "r12", "memory");
    CHECK(after == rsp);
    return result;
}

/* getpid, from where it can be patched: by its number, or by the comparison behind it. */
static __attribute__((noinline)) long getpid_with_rsp(uint64_t rsp, int compare)
{
    long result;
    uint64_t after;
    if (compare)
        __asm__ volatile("mov %%rsp,%%r12; mov $39,%%eax; mov %2,%%rsp; jmp 1f; .balign 64; 1: nop; syscall; cmp $-4096,%%rax\n"
                         "mov %%rsp,%1; mov %%r12,%%rsp"
                         : "=&a"(result), "=&r"(after)
                         : "r"(rsp)
                         : "rcx", "r11", "r12", "memory", "cc");
    else
        __asm__ volatile("mov %%rsp,%%r12; mov %2,%%rsp; jmp 1f; .balign 64; 1: nop; mov $39,%%eax; syscall\n"
                         "mov %%rsp,%1; mov %%r12,%%rsp"
                         : "=&a"(result), "=&r"(after)
                         : "r"(rsp)
                         : "rcx", "r11", "r12", "memory", "cc");
    CHECK(after == rsp);
    return result;
}

int main(void)
{
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(gone, 4096);
    uint64_t values[] = {0, 1, 7, (uintptr_t)page, (uintptr_t)page + 4096, (uintptr_t)gone, 0x8000000000000000u, ~0ul, 0xdeadbeefcafe};
    for (int i = 0; i < COUNT(values); i++)
        for (int round = 0; round < 20; round++) {
            CHECK(with_rsp(values[i], SYS_getpid) == getpid());
            CHECK(with_rsp(values[i], SYS_getppid) == getppid());
            CHECK(with_rsp(values[i], 9999) == -ENOSYS);
            CHECK(getpid_with_rsp(values[i], 0) == getpid());
            CHECK(getpid_with_rsp(values[i], 1) == getpid());
        }
    say("%d values of RSP\n", COUNT(values));
    for (int round = 0; round < 50; round++) {
        long bad;
        __asm__ volatile("xor %%edx,%%edx\n"
                         "1: mov %%rdx,-8(%%rsp,%%rdx,8); dec %%rdx; cmp $-15,%%rdx; jg 1b\n"
                         "mov $110,%%eax; syscall; xor %%eax,%%eax; xor %%edx,%%edx\n"
                         "2: cmp %%rdx,-8(%%rsp,%%rdx,8); je 3f; inc %%rax; 3: dec %%rdx; cmp $-15,%%rdx; jg 2b"
                         : "=a"(bad)
                         :
                         : "rdx", "rcx", "r11", "memory");
        CHECK(bad == 0);
    }
    say("the red zone is whole\n");
    return done();
}
