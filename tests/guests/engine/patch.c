/* Call sites of each form: which are patched, entries into their middle, registers and flags, GS base changed. */
#include "nolibc.h"

__asm__(".text\n"
        ".balign 64\n site_mov: nop\n mov $39, %eax\n mov_in: mov $39, %eax\n mov_call: syscall\n ret\n"
        ".balign 64\n site_cmp: mov $39, %eax\n xchg %ax, %ax\n cmp_in: syscall\n cmp_after: cmp $-4096, %rax\n ja 1f\n ret\n"
        "1: mov $-1, %rax\n ret\n"
        ".balign 64\n site_cmp1: mov $99, %rax\n cmp1_in: syscall\n cmp $-4095, %rax\n jae 1f\n ret\n1: neg %rax\n ret\n"
        ".balign 64\n site_cancel: mov $39, %eax\n xor %r11d, %r11d\n cancel_in: mov %r11, 8(%rsp)\n syscall\n ret\n"
        ".balign 64\n site_r8: mov $39, %eax\n .byte 0x41\n r8_in: mov $39, %eax\n syscall\n ret\n"
        ".balign 64\n site_plain: mov $39, %eax\n plain_in: nop\n syscall\n nop\n nop\n ret\n"
        /* uname, which writes to the guest's memory */
        ".balign 64\n site_uname: mov $63, %eax\n syscall\n ret\n"
        /* only ever entered behind its `mov` */
        ".balign 64\n nop\n other_in: mov $39, %eax\n other_call: syscall\n ret\n"
        /* time(NULL) by the vsyscall page: what precedes its return address looks like `syscall`, what follows like a form */
        ".balign 64\n site_page: push %rbx\n lea page_entry(%rip), %rbx\n sub $0x50f0000, %rbx\n xor %edi, %edi\n"
        " .byte 0xff, 0x93, 0, 0\n page_in: .byte 0x0f, 0x05\n cmp $-4096, %rax\n pop %rbx\n ret\n"
        ".balign 8\n page_entry: .quad 0xffffffffff600400\n"
        /* more sites than there are trampolines; each is called often enough, one after the other */
        ".balign 64\n many_sites: push %rbx\n push %r12\n xor %r12d, %r12d\n sub $256, %rsp\n"
        "first_mov: .rept 1100\n mov $8, %ebx\n 1: mov $39, %eax\n syscall\n cmp %rdi, %rax\n sete %al\n movzbl %al, %eax\n"
        " add %rax, %r12\n dec %ebx\n jnz 1b\n .endr\n"
        "first_cancel: .rept 80\n mov $8, %ebx\n 1: mov $39, %eax\n xor %r11d, %r11d\n mov %r11, 8(%rsp)\n syscall\n"
        " cmp %rdi, %rax\n sete %al\n movzbl %al, %eax\n add %rax, %r12\n dec %ebx\n jnz 1b\n .endr\n"
        "last_cancel: mov %r12, %rax\n add $256, %rsp\n pop %r12\n pop %rbx\n ret\n");
extern char mov_in[], mov_call[], cmp_in[], cmp_after[], cmp1_in[], cancel_in[], r8_in[], plain_in[];
extern char other_in[], other_call[], page_in[], first_mov[], first_cancel[], last_cancel[];
long site_mov(void), site_cmp(void), site_cmp1(void), site_cancel(void), site_r8(void), site_plain(void);
long site_uname(char *), site_page(void), many_sites(long pid);

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

/* With DF and AC set the kernel still copies forwards. */
static void
uname_with_flags(void)
{
    static char name[6 * 65];
    long result;

    name[0] = name[1] = 0;
    __asm__ volatile("sub $256, %%rsp\n pushf\n orq $0x40400, (%%rsp)\n popf\n call site_uname\n pushf\n"
                     "andq $~0x40400, (%%rsp)\n popf\n add $256, %%rsp"
                     : "=a"(result)
                     : "D"(name)
                     : "rcx", "r11", "memory", "cc");
    CHECK(result == 0);
    CHECK(name[0] == 'L' && name[1] == 'i');
}

/* How many jumps through the table there are. */
static int
jumps(const char *from, const char *to)
{
    int n = 0;

    for (; from < to; from++)
        n += patched(from);
    return n;
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
        uname_with_flags();
        CHECK(call_at(other_call, 99) == -38);
        CHECK(site_page() == -38);
    }
    CHECK(patched(mov_in) == fast);
    CHECK(patched(cmp_in) == fast);
    CHECK(patched(cmp1_in) == fast);
    CHECK(patched(cancel_in) == fast);
    CHECK(!patched(r8_in));
    CHECK(!patched(plain_in));
    CHECK(!patched(other_in));
    CHECK(call_at(other_in, 0) == 42);
    CHECK(page_in[0] == 0x0f && page_in[1] == 0x05);
    CHECK(call_at(mov_call, 99) == -38); /* into the middle, with another number */
    CHECK(call_at(mov_call, 39) == 42);
    CHECK(call_at(cmp_after, 7) == 7); /* behind the call */
    CHECK(call_at(cmp_after, -7) == -1);
    for (int i = 0; i < 3; i++)
        change_gs();
    CHECK(many_sites(42) == 8 * (1100 + 80));
    CHECK(many_sites(42) == 8 * (1100 + 80));
    if (fast) { /* the table has 1024 places, and 64 for the cancellable form; some are taken */
        CHECK(jumps(first_mov, first_cancel) > 1000 && jumps(first_mov, first_cancel) < 1024);
        CHECK(jumps(first_cancel, last_cancel) > 60 && jumps(first_cancel, last_cancel) < 64);
    }
    SYS(601, 0); /* the kernel looks at our memory */
    say("EXIT-SUCCESS\n");
    return 0;
}
