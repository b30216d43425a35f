/* Signal handlers: what the host reports about a thread, told apart by where its RIP is. */

#include "guest.h"

#include <asm/signal.h>

#define SYS_SECCOMP 1
#define AUDIT_ARCH_X86_64 0xc000003eU
#define NR_RT_SIGRETURN 15
#define VSYSCALL 0xffffffffff600000UL
#ifndef SI_KERNEL
#define SI_KERNEL 0x80
#endif
#define TRAP_GP 13
#define BAD_FLAGS 0x44500UL /* AC, NT, DF, TF */

struct kernel_sigaction {
    void (*handler)(int);
    uint64_t flags;
    void (*restorer)(void);
    uint64_t mask;
};

struct fixup {
    uint64_t from, to;
};
extern const struct fixup guest_extable_start[], guest_extable_end[];

/* The guest half itself is broken, or was jumped into: only this guest process suffers. */
_Noreturn void
die(void)
{
    for (;;)
        host(__NR_exit_group, 255);
}

/* Only its code: a guest that jumps to 0 or into a hole has its own fault, and our vDSO image is the guest's code. */
static int
in_guest_half(uint64_t rip)
{
    return (rip >= (uint64_t)guest_text_start && rip < (uint64_t)guest_text_end) ||
           (rip >= (uint64_t)trampolines && rip < (uint64_t)guest_trampolines_end);
}

static int
in_trampolines(uint64_t rip)
{
    return rip >= (uint64_t)trampolines && rip < (uint64_t)trampolines + 64 * PYSC_SITES;
}

/* The guest half calls the host's vDSO, too: there the stack tells whose call it is. */
static int
on_own_stack(const struct record *r, uint64_t rsp)
{
    return rsp - stack_of(r->channel, r->index) < PYSC_STACK_SIZE;
}

static int
fix_up(struct ucontext *uc)
{
    for (const struct fixup *f = guest_extable_start; f < guest_extable_end; f++) {
        if (f->from == uc->mcontext.rip) {
            uc->mcontext.rip = f->to;
            return 1;
        }
    }
    return 0;
}

static void
sigreturn(struct context *c)
{
    uint64_t taken[6] = {0};

    need_frame(c);
    if (take_frame(c, taken) == 0)
        report(c, PYSC_KIND_SIGRETURN, 0, taken);
    else
        report(c, PYSC_KIND_FAULT, 0, (uint64_t[6]){SIGSEGV, SI_KERNEL, 0, 0, 0, 0});
}

/* A system call, however it came. */
void
serve_call(struct context *c, int64_t nr)
{
    uint64_t args[6] = {c->regs.rdi, c->regs.rsi, c->regs.rdx, c->regs.r10, c->regs.r8, c->regs.r9};

    if (nr == NR_RT_SIGRETURN) {
        sigreturn(c);
    } else {
        if (nr == __NR_exit || nr == __NR_exit_group)
            give_up_locks(c);
        else if (c->r->channel->fastpath && answer_natively(c, nr, args))
            return;
        report(c, PYSC_KIND_SYSCALL, nr, args);
    }
    serve(c);
}

static void
on_syscall(struct context *c, const struct siginfo *info)
{
    if (info->code != SYS_SECCOMP || info->arch != AUDIT_ARCH_X86_64) {
        c->regs.rax = (uint64_t)-ENOSYS; /* int 0x80: this kernel has no 32-bit calls */
        return;
    }
    c->nr = info->syscall;
    if (c->r->channel->fastpath && info->syscall != NR_RT_SIGRETURN)
        consider_patch(c, info->address);
    serve_call(c, info->syscall);
}

/* The preempt signal in the guest half: leave a note, and get out of where the note would come too late. */
static void
note_preempt(struct record *r, struct ucontext *uc)
{
    uint64_t rip = uc->mcontext.rip;

    __atomic_store_n(&r->preempt, 1, __ATOMIC_SEQ_CST);
    if (rip >= (uint64_t)exit_check && rip < (uint64_t)exit_end) {
        uc->mcontext.rip = (uint64_t)exit_pending;
    } else if (rip >= (uint64_t)block_check && rip < (uint64_t)block_end) {
        uc->mcontext.rip = (uint64_t)block_abort;
    } else if (rip >= (uint64_t)patched_check && rip < (uint64_t)patched_end) {
        uc->mcontext.rip = (uint64_t)patched_check;
        uc->mcontext.rsp = r->base;
        uc->mcontext.eflags &= ~BAD_FLAGS;
    }
}

/* The last instructions on the way out of a patched call run with the guest's registers: finish them. */
static void
finish_leaving(struct ucontext *uc)
{
    struct sigcontext_64 *m = &uc->mcontext;

    if (m->rip == (uint64_t)patched_leave || m->rip == (uint64_t)patched_leave_compare + 6 ||
        m->rip == (uint64_t)patched_leave_compare_1 + 6)
        m->rip = m->rcx;
    else if (m->rip == (uint64_t)patched_leave_compare || m->rip == (uint64_t)patched_leave_compare_1)
        m->rip = m->rcx - 6;
}

/* Go on behind a site's call: its displaced cmp is done by our copy of it. */
static void
skip_call(struct context *c, const struct site *site)
{
    c->regs.rcx = site->address + 8;
    c->regs.rip = (uint64_t)(site->form == FORM_CMP_4096 ? patched_leave_compare : patched_leave_compare_1);
}

static void
serve_site(struct context *c, const struct site *site, int number_known)
{
    if (site->form == FORM_MOV && number_known)
        c->regs.rax = (uint64_t)(int64_t)site->nr;
    c->regs.rip = after_call(site);
    serve_call(c, (int32_t)c->regs.rax);
}

/* A fault in a patched site, or in its trampoline: serve the call that was meant.  Returns whether so. */
static int
on_site(struct context *c, int signo)
{
    const struct space *space = c->r->space;
    const struct site *site = site_of_trampoline(space, c->regs.rip);
    uint64_t rip = c->regs.rip;

    if (site) {
        if (site->form == FORM_CANCELLABLE && (rip - (uint64_t)trampolines) % 64 == 0 && signo == SIGSEGV) {
            c->regs.rip = site->address; /* its displaced store: the guest's own fault */
            return 0;
        }
        serve_site(c, site, 1);
        return 1;
    }
    if ((signo != SIGILL && signo != SIGSEGV) || !(space->n_sites | space->n_cancellable))
        return 0;
    site = site_around(c->r, rip);
    if (!site) /* of a site's own bytes none is invalid or privileged */
        return (signo == SIGILL || c->uc->mcontext.trapno == TRAP_GP) && site_is_restored(space, rip);
    if (rip == site->address && signo != SIGILL)
        return 0; /* the jump itself never faults */
    if (rip == site->address && site->form == FORM_CANCELLABLE)
        return 1; /* its store has not been done: come again, it will be a jump then */
    if (rip == site->address + 2 && site->form != FORM_MOV && site->form != FORM_CANCELLABLE)
        skip_call(c, site);
    else
        serve_site(c, site, rip == site->address); /* at +5, RAX may be restart_syscall's */
    return 1;
}

/* Calls that reach the host past the filter, and those by the vsyscall page where the host has none.  Returns whether
 * the signal was such a call. */
static int
odd_call(struct context *c, int signo, const struct siginfo *info)
{
    static const int16_t by_page[] = {__NR_gettimeofday, __NR_time, __NR_getcpu};
    uint64_t entry = c->regs.rip - VSYSCALL;
    uint64_t back;

    if (signo == SIGILL && info->code == SI_KERNEL && c->regs.rcx == c->regs.rip) {
        c->regs.rax = (uint64_t)-ENOSYS; /* 335, uretprobe */
        return 1;
    }
    if (signo != SIGSEGV || entry > 2 * 0x400 || entry % 0x400 || !range_ok(c->regs.rsp, 8) ||
        copy_bytes(&back, (const void *)c->regs.rsp, 8) != 0)
        return 0;
    c->regs.rip = back;
    c->regs.rsp += 8;
    serve_call(c, by_page[entry / 0x400]);
    return 1;
}

/* Returns whether to go back without looking at notes: the signal hit the guest half itself. */
int
on_signal(int signo, struct siginfo *info, struct ucontext *uc)
{
    struct record *r = record_at((uint64_t)uc);
    struct context c;
    int inside;

    finish_leaving(uc);
    inside = in_guest_half(uc->mcontext.rip);
    if (signo == PYSC_SIGNAL_PREEMPT && (inside || on_own_stack(r, uc->mcontext.rsp))) {
        note_preempt(r, uc);
        return 1;
    }
    if (inside && !in_trampolines(uc->mcontext.rip)) {
        if ((signo == SIGSEGV || signo == SIGBUS) && fix_up(uc))
            return 1;
        if (signo == SIGSYS) { /* the keyhole is narrower than what the sentry or a guest asked for */
            uc->mcontext.rax = (uint64_t)-EPERM;
            return 1;
        }
        die();
    }
    write_gs_base((uint64_t)r);
    note_fpu(r->space, uc);
    c.r = r;
    load_registers(&c, uc);
    if (signo == SIGSYS) {
        on_syscall(&c, info);
    } else if (signo == PYSC_SIGNAL_PREEMPT) {
        r->preempt = 0;
        report(&c, PYSC_KIND_PREEMPTED, 0, (uint64_t[6]){0});
        serve(&c);
    } else if (!on_site(&c, signo) && !odd_call(&c, signo, info)) {
        uint64_t fault[6] = {(uint64_t)signo, (uint64_t)(int64_t)info->code, info->address,
                             uc->mcontext.trapno, uc->mcontext.err, 0};
        report(&c, PYSC_KIND_FAULT, 0, fault);
        serve(&c);
    }
    store_registers(&c);
    return 0;
}

/* On the way back to the guest a note was found. */
void
on_pending(struct ucontext *uc)
{
    struct context c;

    finish_leaving(uc); /* it may be about to go on behind a site's call */
    c.r = record_at((uint64_t)uc);
    load_registers(&c, uc);
    c.r->preempt = 0;
    report(&c, PYSC_KIND_PREEMPTED, 0, (uint64_t[6]){0});
    serve(&c);
    store_registers(&c);
}

void
install_handlers(void)
{
    static const uint8_t signals[] = {SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, PYSC_SIGNAL_PREEMPT};
    struct kernel_sigaction action = {
        .handler = signal_entry,
        .flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER,
        .restorer = signal_restorer,
    };

    for (size_t i = 0; i < sizeof signals; i++) {
        if (host(__NR_rt_sigaction, signals[i], &action, 0, 8) != 0)
            die();
    }
}

long
set_alternate_stack(struct record *r)
{
    struct {
        uint64_t sp, flags, size;
    } stack = {stack_of(r->channel, r->index) + FRAME_AREA, 0, ALTERNATE_SIZE};

    return host(__NR_sigaltstack, &stack, 0);
}

/* Fill in the record of a thread; its stack is zero or stale. */
void
install_thread(struct pysc_channel *channel, uint32_t index)
{
    struct record *r = record_at(stack_of(channel, index));

    memset(r, 0, RECORD_SIZE);
    r->self = (uint64_t)r;
    r->check = ~(uint64_t)r;
    r->entry_stack = (uint64_t)r - 64;
    r->index = index;
    r->channel = channel;
    r->slot = &channel->slots[index];
    r->shared = (struct pysc_shared *)((uint64_t)channel - SHARED_OFFSET);
    r->space = (struct space *)((uint64_t)channel - PYSC_SPACE_OFFSET);
}
