/* Entries and exits, and what must be one known instruction long: see guest.h for the contracts. */

#include <asm/unistd.h>

#define RECORD_TOP 0x1ffff
#define RECORD_SIZE 256
#define FRAME_AREA 16384
#define RECORD_PREEMPT 8
#define BAD_FLAGS 0x44500          /* AC, NT, DF, TF */
#define NESTED_TASK 0x4000
#define UC_EFLAGS 176              /* uc_mcontext.gregs[REG_EFL] of the ucontext_t at RSP */

.macro global name
.globl \name
.type \name, @function
\name:
.endm

.macro extable from, to
.pushsection .extable, "a"
.quad \from, \to
.popsection
.endm

/* rt_sigreturn(2) takes NT not from the frame but leaves it as it finds it. */
.macro restore_nested_task
    testl $NESTED_TASK, UC_EFLAGS(%rsp)
    jz 1f
    pushfq
    orl $NESTED_TASK, (%rsp)
    popfq
1:
.endm

.text

global _start
    xor %ebp, %ebp
    mov %rsp, %rdi
    and $-16, %rsp
    call guest_main
    ud2

/* The host enters all handlers here, on the thread's alternate stack: rdi signo, rsi info, rdx ucontext. */
global signal_entry
    pushfq
    andq $~BAD_FLAGS, (%rsp)
    popfq
    mov %rdx, %rbx
    mov %rdx, %r12
    or $RECORD_TOP, %r12
    sub $(RECORD_SIZE - 1), %r12
    and $-16, %rsp
    call on_signal
    test %eax, %eax
    jnz plain_exit
signal_exit:
    mov %rbx, %rsp
    restore_nested_task
/* A preempt signal that finds RIP in [exit_check, exit_end) continues at exit_pending instead. */
global exit_check
    cmpl $0, RECORD_PREEMPT(%r12)
    jne exit_pending
    mov $__NR_rt_sigreturn, %eax
    syscall
global exit_end
    ud2
global exit_pending
    lea -128(%rbx), %rsp
    mov %rbx, %rax
    and $RECORD_TOP, %eax
    cmp $FRAME_AREA, %eax
    jae 1f
    lea -64(%r12), %rsp         /* the frame of a patched call lies at the bottom: the stack is empty */
1:  and $-16, %rsp
    mov %rbx, %rdi
    call on_pending
    jmp signal_exit
plain_exit:
    mov %rbx, %rsp
global signal_restorer
    restore_nested_task
    mov $__NR_rt_sigreturn, %eax
    syscall
    ud2

/* enter_guest(uc): leave for the guest through a frame that need not be at the top of the stack. */
global enter_guest
    mov %rdi, %rbx
    mov %rdi, %r12
    or $RECORD_TOP, %r12
    sub $(RECORD_SIZE - 1), %r12
    jmp signal_exit

/* switch_stack(top, function, argument) */
global switch_stack
    mov %rdi, %rsp
    mov %rdx, %rdi
    xor %ebp, %ebp
    call *%rsi
    ud2

/* clone_thread(flags, stack, tid word, function): the child runs function(stack) and never returns. */
global clone_thread
    mov %rcx, %r9
    mov %rdx, %r10
    xor %edx, %edx
    xor %r8d, %r8d
    mov $__NR_clone, %eax
    syscall
    test %rax, %rax
    jz 1f
    ret
1:  mov %rsp, %rdi
    and $-16, %rsp
    xor %ebp, %ebp
    call *%r9
    ud2

/* block_syscall(nr, args, preempt): one host call, not begun when preempt is set: then, or when interrupted, -EINTR. */
global block_syscall
    push %rbx
    mov %rdx, %rbx
    mov %rdi, %rax
    mov %rsi, %r11
    mov (%r11), %rdi
    mov 8(%r11), %rsi
    mov 16(%r11), %rdx
    mov 24(%r11), %r10
    mov 32(%r11), %r8
    mov 40(%r11), %r9
global block_check
    cmpl $0, (%rbx)
    jne block_abort
    syscall
global block_end
    pop %rbx
    ret
global block_abort
    mov $-4, %rax
    pop %rbx
    ret

global copy_bytes
    mov %rdx, %rcx
1:  rep movsb
2:  mov %rcx, %rax
    ret
    extable 1b, 2b

global zero_bytes
    mov %rsi, %rcx
    xor %eax, %eax
1:  rep stosb
2:  mov %rcx, %rax
    ret
    extable 1b, 2b

global copy_string
    xor %eax, %eax
1:  cmp %rdx, %rax
    jae 4f
2:  movzbl (%rsi,%rax), %ecx
    mov %cl, (%rdi,%rax)
    inc %rax
    test %cl, %cl
    jnz 1b
    ret
3:  mov $-14, %rax
    ret
4:  xor %eax, %eax
    ret
    extable 2b, 3b

global compare_exchange
    mov (%rsi), %eax
1:  lock cmpxchg %edx, (%rdi)
    mov %eax, (%rsi)
    setne %al
    movzbl %al, %eax
    ret
2:  mov $-14, %rax
    ret
    extable 1b, 2b

global memcpy
    mov %rdi, %rax
    mov %rdx, %rcx
    rep movsb
    ret

global memset
    mov %rdi, %r8
    mov %esi, %eax
    mov %rdx, %rcx
    rep stosb
    mov %r8, %rax
    ret

.section .note.GNU-stack, "", @progbits
