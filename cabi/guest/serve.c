/* The guest half's side of the channel: report, wait, do what the sentry commands until it gives a verdict. */

#include "guest.h"

#define FUTEX_WAIT 0
#define FUTEX_WAIT_BITSET 9
#define FUTEX_CMD_MASK 0x7f
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000

void
load_registers(struct context *c, const struct ucontext *uc)
{
    const struct sigcontext_64 *m = &uc->mcontext;

    c->uc = (struct ucontext *)uc;
    c->nr = 0;
    c->regs = (struct pysc_registers){
        .rax = m->rax, .rbx = m->rbx, .rcx = m->rcx, .rdx = m->rdx, .rsi = m->rsi, .rdi = m->rdi,
        .rbp = m->rbp, .rsp = m->rsp, .r8 = m->r8,   .r9 = m->r9,   .r10 = m->r10, .r11 = m->r11,
        .r12 = m->r12, .r13 = m->r13, .r14 = m->r14, .r15 = m->r15, .rip = m->rip, .eflags = m->eflags,
        .fs_base = read_fs_base(),
    };
}

void
store_registers(const struct context *c)
{
    struct sigcontext_64 *m = &c->uc->mcontext;
    const struct pysc_registers *g = &c->regs;

    m->rax = g->rax, m->rbx = g->rbx, m->rcx = g->rcx, m->rdx = g->rdx, m->rsi = g->rsi, m->rdi = g->rdi;
    m->rbp = g->rbp, m->rsp = g->rsp, m->r8 = g->r8, m->r9 = g->r9, m->r10 = g->r10, m->r11 = g->r11;
    m->r12 = g->r12, m->r13 = g->r13, m->r14 = g->r14, m->r15 = g->r15, m->rip = g->rip, m->eflags = g->eflags;
    write_fs_base(g->fs_base);
}

/* Wake the sentry.  Where the socket is full it has been woken, and has not yet looked. */
void
ring(const struct space *space)
{
    static const uint64_t nothing;

    host(__NR_sendto, space->socket, &nothing, sizeof nothing, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
}

/* The turn is the sentry's; wake it if it sleeps.  Stores before loads: a lost wake-up otherwise. */
void
hand_over(struct record *r)
{
    r->slot->waits = 0;
    __atomic_store_n(&r->slot->turn, PYSC_TURN_SENTRY, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(&r->channel->pending[r->index / 64], 1UL << (r->index % 64), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&r->shared->asleep, __ATOMIC_SEQ_CST) || !__atomic_load_n(&r->channel->polled, __ATOMIC_SEQ_CST))
        ring(r->space);
}

/* 1, or 0 when it did not come in time; -1: it is not going to come soon. */
static int
look_for_turn(const struct pysc_slot *slot, uint32_t cycles)
{
    uint64_t start = __builtin_ia32_rdtsc();

    do {
        for (int i = 0; i < 4; i++) {
            __builtin_ia32_pause();
            if (__atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE) == PYSC_TURN_GUEST)
                return 1;
        }
        if (__atomic_load_n(&slot->waits, __ATOMIC_RELAXED))
            return -1;
    } while (__builtin_ia32_rdtsc() - start < cycles);
    return 0;
}

/* Look for the turn for a while, if that has paid for this thread lately; one thread of a process at a time. */
static int
spin(struct record *r)
{
    uint32_t cycles = r->shared->spin_cycles;
    int found;

    if (__atomic_load_n(&r->slot->turn, __ATOMIC_ACQUIRE) == PYSC_TURN_GUEST)
        return 1;
    if (cycles == 0 || r->shared->asleep || !(r->channel->polled & PYSC_MAY_SPIN))
        return 0;
    if (++r->skipped_spins < (1U << r->failed_spins) >> 1)
        return 0;
    if (__atomic_exchange_n(&r->space->spinning, 1, __ATOMIC_ACQUIRE))
        return 0;
    r->skipped_spins = 0;
    found = look_for_turn(r->slot, cycles);
    __atomic_store_n(&r->space->spinning, 0, __ATOMIC_RELEASE);
    if (found > 0)
        r->failed_spins = 0;
    else if (found == 0 && r->failed_spins < 7)
        r->failed_spins++;
    return found > 0;
}

static void
wait_turn(struct record *r)
{
    struct pysc_slot *slot = r->slot;

    if (spin(r))
        return;
    __atomic_store_n(&slot->sleeping, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&slot->turn, __ATOMIC_SEQ_CST) != PYSC_TURN_GUEST)
        host(__NR_futex, &slot->turn, FUTEX_WAIT, PYSC_TURN_SENTRY, 0);
    __atomic_store_n(&slot->sleeping, 0, __ATOMIC_SEQ_CST);
}

void
report(struct context *c, uint32_t kind, int64_t nr, const uint64_t *args)
{
    struct pysc_slot *slot = c->r->slot;

    c->nr = nr;
    slot->kind = kind;
    slot->nr = nr;
    for (int i = 0; i < 6; i++)
        c->args[i] = slot->args[i] = args[i];
    slot->n_hints = 0;
    slot->regs = c->regs;
    if (kind == PYSC_KIND_SYSCALL)
        add_hints(slot, nr, args);
    slot->cpu = current_cpu();
    hand_over(c->r);
}

/* The call that was reported last has not been done. */
void
report_again(struct context *c, uint32_t kind)
{
    uint64_t call[6];

    for (int i = 0; i < 6; i++)
        call[i] = c->args[i];
    report(c, kind, c->nr, call);
}

/* Registers that the sentry set: it is trusted, but a mistake of a kernel developer must not open a door. */
static void
take_registers(struct context *c)
{
    const uint64_t user_flags = 0x50dd5; /* those that a signal frame may set: AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF */
    uint64_t eflags = c->regs.eflags;

    need_frame(c); /* the way out of a patched call keeps no rcx and r11 */
    c->regs = c->r->slot->regs;
    c->regs.eflags = (eflags & ~user_flags) | (c->regs.eflags & user_flags) | 0x202;
}

/* Whether a call sleeps, and may so be interrupted; a wake, say, may never fail with EINTR. */
static int
sleeps(long nr, const uint64_t *args)
{
    const uint64_t op = args[1] & FUTEX_CMD_MASK;

    return nr == __NR_clock_nanosleep || (nr == __NR_futex && (op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET));
}

/* A native call that may block.  Returns whether it was undone, and so reported: then serve. */
int
run_native(struct context *c, long nr, const uint64_t *args)
{
    int interruptible = sleeps(nr, args);
    long result = interruptible ? block_syscall(nr, args, &c->r->preempt)
                                : memory_call(c->r->space, nr, args);

    if (interruptible && result == -EINTR && c->r->preempt) {
        c->r->preempt = 0;
        report_again(c, PYSC_KIND_INTERRUPTED);
        return 1;
    }
    c->regs.rax = (uint64_t)result;
    c->regs.fs_base = read_fs_base(); /* it may have been arch_prctl */
    return 0;
}

static int
run_command_natively(struct context *c, const struct pysc_command *command)
{
    const uint64_t *a = command->args;

    return run_native(c, (long)a[0], (uint64_t[6]){a[1], a[2], a[3], a[4], a[5], command->extra});
}

/* What the PUTs of a batch have done. */
struct puts {
    int failed;
    int others_failed; /* commands that are no copies */
};

static uint64_t
wanted_result(const struct context *c, const struct pysc_command *command)
{
    if (!(command->flags & PYSC_FLAG_RESULT))
        return command->args[0];
    if (command->args[0] >= PYSC_COMMANDS)
        die();
    return (uint64_t)c->r->slot->commands[command->args[0]].result;
}

/* Returns whether the stop is over. */
static int
reply(struct context *c, const struct pysc_command *command, const struct puts *puts)
{
    if (puts->failed && (command->flags & PYSC_FLAG_REDO)) {
        report_again(c, PYSC_KIND_UNDONE);
        return 0;
    }
    c->regs.rax = puts->failed ? (uint64_t)-EFAULT : wanted_result(c, command);
    return 1;
}

/* Returns whether the stop is over. */
static int
give_verdict(struct context *c, struct pysc_command *command, const struct puts *puts)
{
    switch (command->op) {
    case PYSC_CMD_REPLY:
        if (!reply(c, command, puts))
            return 0;
        break;
    case PYSC_CMD_RESUME:
        break;
    case PYSC_CMD_RESTART:
        c->regs.rax = command->args[0];
        c->regs.rip -= 2;
        break;
    case PYSC_CMD_RUN:
        if (command->flags & PYSC_FLAG_PREEMPT)
            c->r->preempt = 1;
        if (run_command_natively(c, command))
            return 0;
        break;
    case PYSC_CMD_READ:
        if (!read_kept(c, command))
            return 0;
        break;
    case PYSC_CMD_EXIT:
        exit_thread(c, command->args[0]);
    default:
        die();
    }
    if ((command->flags & PYSC_FLAG_FRAME) && build_frame(c) != 0) {
        report(c, PYSC_KIND_FRAME_FAULT, 0, (uint64_t[6]){0});
        return 0;
    }
    if ((command->flags & (PYSC_FLAG_FRAME | PYSC_FLAG_PREEMPT)) == (PYSC_FLAG_FRAME | PYSC_FLAG_PREEMPT)) {
        c->r->preempt = 0; /* more signals are pending: their frames are stacked before this handler begins */
        report(c, PYSC_KIND_PREEMPTED, 0, (uint64_t[6]){0});
        return 0;
    }
    return 1;
}

/* Do one batch of commands.  Returns whether the stop is over. */
static int
obey(struct context *c)
{
    struct pysc_slot *slot = c->r->slot;
    uint32_t n = slot->n_commands < PYSC_COMMANDS ? slot->n_commands : PYSC_COMMANDS;
    struct puts puts = {0, 0};

    for (uint32_t i = 0; i < n; i++) {
        struct pysc_command command = slot->commands[i];

        if (command.op >= PYSC_VERDICT) {
            if (puts.others_failed && (command.flags & PYSC_FLAG_UNLESS_FAILED))
                break;
            return give_verdict(c, &command, &puts);
        }
        if (command.op == PYSC_CMD_SET_REGISTERS)
            take_registers(c);
        else
            slot->commands[i].result = run_command(c, &command);
        if (command.op == PYSC_CMD_PUT && slot->commands[i].result < 0)
            puts.failed = 1;
        else if (command.op >= PYSC_CMD_RECEIVE && slot->commands[i].result < 0)
            puts.others_failed = 1;
        if (command.op == PYSC_CMD_FORK && slot->commands[i].result == 0)
            return 0; /* in the child, whose slot this now is: it has a batch of its own */
    }
    slot->kind = PYSC_KIND_DONE;
    slot->regs = c->regs;
    hand_over(c->r);
    return 0;
}

void
serve(struct context *c)
{
    do
        wait_turn(c->r);
    while (!obey(c));
}
