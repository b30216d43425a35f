/* Call sites of each form: which are patched, entries into their middle, registers and flags, GS base changed. */
#include "nolibc.h"

__asm__(".text\n"
        ".balign 64\n site_mov: nop\n mov $39, %eax\n mov_in: mov $39, %eax\n mov_call: syscall\n ret\n"
        ".balign 64\n site_cmp: mov $39, %eax\n xchg %ax, %ax\n cmp_in: syscall\n cmp_after: cmp $-4096, %rax\n ja 1f\n ret\n"
        "1: mov $-1, %rax\n ret\n"
        ".balign 64\n site_cmp1: mov $99, %rax\n cmp1_in: syscall\n cmp $-4095, %rax\n jae 1f\n ret\n1: neg %rax\n ret\n"
        ".balign 64\n site_cancel: mov $39, %eax\n xor %r11d, %r11d\n cancel_in: mov %r11, 8(%rsp)\n syscall\n ret\n"
        ".balign 64\n site_r8: mov $39, %eax\n .byte 0x41\n r8_in: mov $39, %eax\n syscall\n ret\n"
        ".balign 64\n site_plain: mov $39, %eax\n plain_in: nop\n syscall\n nop\n nop\n ret\n");
extern char mov_in[], mov_call[], cmp_in[], cmp_after[], cmp1_in[], cancel_in[], r8_in[], plain_in[];
long site_mov(void), site_cmp(void), site_cmp1(void), site_cancel(void), site_r8(void), site_plain(void);

static long
call_at(const void *entry, long rax)
{
    long result;

    __asm__ volatile("sub $256, %%rsp\n call *%2\n add $256, %%rsp"
                     : "=a"(result)
                     : "a"(rax), "r"(entry)
                     : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    return result;
}

static int
patched(const char *site)
{
    const volatile unsigned char *b = (const volatile unsigned char *)site;

    return b[0] == 0xff && b[1] == 0x24 && b[2] == 0xe5;
}

static long
flags_kept(void)
{
    unsigned long before, after;

    __asm__ volatile("sub $256, %%rsp\n pushf\n orq $0x40cd5, (%%rsp)\n mov (%%rsp), %0\n popf\n call site_mov\n pushf\n"
                     "pop %1\n pushf\n andq $~0x40400, (%%rsp)\n popf\n add $256, %%rsp"
                     : "=&b"(before), "=&r"(after)::"rax", "rcx", "r11", "memory", "cc");
    return before == after;
}

static long
stackless(unsigned long sp)
{
    long result;

    __asm__ volatile("mov %%rsp, %%rbx\n mov %1, %%rsp\n jmp 2f\n.balign 64\n2: nop\n mov $39, %%eax\n syscall\n mov %%rbx, %%rsp"
                     : "=&a"(result)
                     : "r"(sp)
                     : "rbx", "rcx", "r11", "memory");
    return result;
}

static void
change_gs(void)
{
    static unsigned long victim[64];

    __asm__ volatile("wrgsbase %0" ::"r"(victim));
    CHECK(site_mov() == 42);
    for (int i = 0; i < 64; i++)
        CHECK(victim[i] == 0);
    __asm__ volatile("wrgsbase %0" ::"r"(8L)); /* nothing is there */
    CHECK(site_mov() == 42);
    CHECK(site_cmp() == 42);
    __asm__ volatile("wrgsbase %0" ::"r"(victim));
    CHECK(site_cancel() == 42);
}

int
guest(long argc, char **argv)
{
    int fast = argv[1][0] == 'f';

    (void)argc;
    for (int i = 0; i < 10; i++) {
        CHECK(site_mov() == 42);
        CHECK(site_cmp() == 42);
        CHECK(site_cmp1() == 38); /* ENOSYS, negated */
        CHECK(call_at(site_cancel, 0) == 42);
        CHECK(site_r8() == 42);
        CHECK(site_plain() == 42);
        CHECK(stackless(8) == 42);
        CHECK(stackless(0x8000000000000000) == 42);
        CHECK(flags_kept());
    }
    CHECK(patched(mov_in) == fast);
    CHECK(patched(cmp_in) == fast);
    CHECK(patched(cmp1_in) == fast);
    CHECK(patched(cancel_in) == fast);
    CHECK(!patched(r8_in));
    CHECK(!patched(plain_in));
    CHECK(call_at(mov_call, 99) == -38); /* into the middle, with another number */
    CHECK(call_at(mov_call, 39) == 42);
    CHECK(call_at(cmp_after, 7) == 7); /* behind the call */
    CHECK(call_at(cmp_after, -7) == -1);
    for (int i = 0; i < 3; i++)
        change_gs();
    say("EXIT-SUCCESS\n");
    return 0;
}
