/* Where patched sites lead: a trampoline per site, one entry, one exit.
 *
 * Until the guest's flags are saved nothing here may change them, and only rcx and r11, which a system call destroys, are
 * free.  GS base is checked first: a guest can change it (wrgsbase), and storing through it then would damage its memory.
 */

#define SITES 1088
#define CANCELLABLE 64

#define PREEMPT 8               /* struct record */
#define CHECK 16
#define GUEST_RSP 24
#define ENTRY_STACK 32
#define BASE 40
#define LEAVE 48
#define CONTEXT_REST 72         /* struct context after regs */
#define BAD_FLAGS 0x44500       /* AC, NT, DF, TF */

/* struct pysc_registers */
#define RAX 0
#define RBX 8
#define RDX 24
#define RSI 32
#define RDI 40
#define RBP 48
#define RSP 56
#define R8 64
#define R9 72
#define R10 80
#define R12 96
#define R13 104
#define R14 112
#define R15 120
#define RIP 128
#define EFLAGS 136

.section .trampolines, "ax", @progbits
.globl trampolines
trampolines:
.macro trampoline
    rdgsbase %rcx
    mov %gs:CHECK, %r11         /* ~GS base; a fault here, or the ud2, makes the handler serve the call */
    lea 1(%rcx,%r11), %rcx
    jrcxz 1f
    ud2
1:  mov $number, %r11d
    jmp patched_entry
    .balign 64, 0xcc
.endm
.set number, 0
.rept SITES - CANCELLABLE
    trampoline
    .set number, number + 1
.endr
.rept CANCELLABLE
    mov %r11, 8(%rsp)           /* the displaced instruction */
    trampoline
    .set number, number + 1
.endr

.text
.globl patched_entry
patched_entry:
    mov %rsp, %gs:GUEST_RSP
    mov %gs:ENTRY_STACK, %rsp
    lea -(CONTEXT_REST + 8)(%rsp), %rsp /* the rest of struct context, and fs_base; not sub: flags */
    pushfq
    testl $BAD_FLAGS, (%rsp)
    jnz clear_flags
flags_cleared:
    push %r11                   /* rip: the site's number */
    push %r15
    push %r14
    push %r13
    push %r12
    push %r11
    push %r10
    push %r9
    push %r8
    push %gs:GUEST_RSP
    push %rbp
    push %rdi
    push %rsi
    push %rdx
    push %rcx
    push %rbx
    push %rax
    mov %rsp, %gs:BASE
    mov %rsp, %rdi
    and $-16, %rsp
    call on_patched             /* returns how to leave */
patched_exit:
    mov %eax, %gs:LEAVE
    mov %gs:BASE, %rsp
/* A preempt signal with RIP from here to patched_end, but at the last instructions of each way out, starts over at
 * patched_check with rsp = BASE: what is read here lies above rsp until the end, so no signal frame overwrites it. */
.globl patched_check
patched_check:
    cmpl $0, %gs:PREEMPT
    jne patched_again
    mov RBX(%rsp), %rbx
    mov RDX(%rsp), %rdx
    mov RSI(%rsp), %rsi
    mov RDI(%rsp), %rdi
    mov R8(%rsp), %r8
    mov R9(%rsp), %r9
    mov R10(%rsp), %r10
    mov R12(%rsp), %r12
    mov R13(%rsp), %r13
    mov R14(%rsp), %r14
    mov R15(%rsp), %r15
    mov RIP(%rsp), %rcx
    mov RAX(%rsp), %rax
    cmpl $1, %gs:LEAVE
    mov RBP(%rsp), %rbp
    mov EFLAGS(%rsp), %r11
    je patched_compare
    ja patched_compare_1
    push %r11
    popfq
    mov RSP(%rsp), %rsp
.globl patched_leave
patched_leave:
    jmp *%rcx
/* The displaced cmp of the 8-byte form, in its two forms; rcx: after it. */
.globl patched_compare, patched_leave_compare, patched_compare_1, patched_leave_compare_1, patched_end
patched_compare:
    push %r11
    popfq
    mov RSP(%rsp), %rsp
patched_leave_compare:
    cmp $-4096, %rax
    jmp *%rcx
patched_compare_1:
    push %r11
    popfq
    mov RSP(%rsp), %rsp
patched_leave_compare_1:
    cmp $-4095, %rax
    jmp *%rcx
patched_end:

clear_flags:
    pushfq
    andq $~BAD_FLAGS, (%rsp)
    popfq
    jmp flags_cleared

patched_again:
    mov %rsp, %rdi
    and $-16, %rsp
    call on_patched_pending
    jmp patched_exit

.section .note.GNU-stack, "", @progbits
