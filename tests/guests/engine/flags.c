/* Calls in odd register states: AC and DF set, no valid stack, the red zone in use, all registers kept. */
#include "nolibc.h"

#define FLAGS 0x40400UL /* AC, DF; NT cannot be kept over a host sigreturn, nor does anybody use it */

static long
call_with_flags(unsigned long set, unsigned long *before, unsigned long *after)
{
    long result;

    __asm__ volatile("pushf\n pop %%rbx\n mov %%rbx, %%r12\n or %3, %%rbx\n push %%rbx\n popf\n"
                     "pushf\n pop %1\n mov $39, %%eax\n syscall\n pushf\n pop %2\n push %%r12\n popf\n cld"
                     : "=&a"(result), "=&r"(*before), "=&r"(*after)
                     : "r"(set)
                     : "rbx", "r12", "rcx", "r11", "memory", "cc");
    return result;
}

static long
call_with_stack(unsigned long sp)
{
    long result;

    __asm__ volatile("mov %%rsp, %%rbx\n mov %1, %%rsp\n mov $39, %%eax\n syscall\n mov %%rbx, %%rsp"
                     : "=&a"(result)
                     : "r"(sp)
                     : "rbx", "rcx", "r11", "memory");
    return result;
}

static int
red_zone(void)
{
    long kept;

    __asm__ volatile("movq $0x5a5a, -8(%%rsp)\n movq $0x5a5b, -128(%%rsp)\n mov $39, %%eax\n syscall\n"
                     "mov -8(%%rsp), %0\n add -128(%%rsp), %0"
                     : "=r"(kept)::"rax", "rcx", "r11", "memory");
    return kept == 0x5a5a + 0x5a5b;
}

static int
registers(void)
{
    long ok;

    __asm__ volatile("mov $1, %%rdi\n mov $2, %%rsi\n mov $3, %%rdx\n mov $4, %%r8\n mov $5, %%r9\n mov $6, %%r10\n"
                     "mov $7, %%rbx\n mov $8, %%r12\n mov $9, %%r13\n mov $10, %%r14\n mov $11, %%r15\n"
                     "mov $39, %%eax\n syscall\n"
                     "lea (%%rdi,%%rsi), %0\n add %%rdx, %0\n add %%r8, %0\n add %%r9, %0\n add %%r10, %0\n"
                     "add %%rbx, %0\n add %%r12, %0\n add %%r13, %0\n add %%r14, %0\n add %%r15, %0"
                     : "=a"(ok)::"rdi", "rsi", "rdx", "r8", "r9", "r10", "rbx", "rcx", "r11", "r12", "r13", "r14", "r15",
                       "memory");
    return ok == 66;
}

int
guest(long argc, char **argv)
{
    (void)argc, (void)argv;
    for (int round = 0; round < 3; round++) { /* the later ones may be patched */
        unsigned long before, after;
        long pid = SYS(__NR_getpid, 0);

        CHECK(pid == 42);
        CHECK(call_with_flags(FLAGS | 0x8d5, &before, &after) == pid);
        CHECK(before == after);
        CHECK(call_with_flags(0, &before, &after) == pid);
        CHECK(before == after);
        CHECK(call_with_stack(8) == pid);
        CHECK(call_with_stack(0x8000000000000000) == pid);
        CHECK(call_with_stack(0x20008) == pid);
        CHECK(red_zone());
        CHECK(registers());
        CHECK(SYS(99999, 0) == -38);
        CHECK(SYS(0x40000027, 0) == -38); /* x32 */
        CHECK(SYS(-1, 0) == -38);
        CHECK(SYS(335, 0) == -38); /* uretprobe: past the host's filter */
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
        CHECK(result == -38);
    }
    say("EXIT-SUCCESS\n");
    return 0;
}
