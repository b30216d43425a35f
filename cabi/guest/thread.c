/* Birth and end of threads and spaces. */

#include "guest.h"

#define FUTEX_WAKE 1
#define FUTEX_WAITERS 0x80000000U
#define FUTEX_OWNER_DIED 0x40000000U
#define FUTEX_TID_MASK 0x3fffffffU
#define ROBUST_LIST_LIMIT 2048
#define MREMAP_FIXED_MAYMOVE 3
#define PROT_RW 3
#define MAP_SHARED 1

/* In the child of a fork: move its channel to where the parent's was (not inherited), and say on its own socket that it
 * is there: the host tells the sentry who says so. */
static void
be_born(struct context *c, uint64_t aside, int32_t socket)
{
    struct record *r = c->r;
    uint64_t base = (uint64_t)r->channel;

    if (host(__NR_mremap, aside, CHANNEL_SIZE, CHANNEL_SIZE, MREMAP_FIXED_MAYMOVE, base) != (long)base)
        die();
    host(__NR_madvise, base, CHANNEL_SIZE, 10); /* MADV_DONTFORK */
    r->space->lock = 0;
    r->space->spinning = 0;
    leave_images_of_parent(r->space);
    forget_files_of_parent(r->space);
    host(__NR_close, r->space->socket);
    r->space->socket = socket;
    r->preempt = 0;
    ring(r->space);
}

/* The child's channel and socket have been sent: map the one aside, so that the child has both at birth, and clone.
 * Returns as clone. */
int64_t
fork_space(struct context *c)
{
    struct record *r = c->r;
    int64_t aside, child;
    int32_t socket;
    struct pysc_command take = {.op = PYSC_CMD_RECEIVE};

    lock_space(r->space);
    aside = run_command(c, &take);
    if (aside != 2) {
        close_files(r);
        unlock_space(r->space);
        return aside < 0 ? aside : -EBADF;
    }
    socket = r->files[1];
    take_lock(&r->space->image_lock);
    aside = host(__NR_mmap, 0, CHANNEL_SIZE, PROT_RW, MAP_SHARED, r->files[0], 0);
    host(__NR_close, r->files[0]);
    r->n_files = 0;
    child = aside;
    if (aside >= 0 || aside <= -4096) {
        do
            child = host(__NR_clone, PYSC_CLONE_FORK, 0, 0, &r->slot->tid, 0);
        while (child == -EINTR);
        if (child == 0) {
            be_born(c, (uint64_t)aside, socket);
            return 0;
        }
        host(__NR_munmap, aside, CHANNEL_SIZE);
    }
    give_lock(&r->space->image_lock);
    host(__NR_close, socket);
    unlock_space(r->space);
    return child;
}

/* The first code of a new thread, on its handler stack; its parent left it a frame to enter the guest with, and the
 * sentry what to do first. */
static void
thread_main(uint64_t stack)
{
    struct record *r = record_at(stack);
    struct ucontext *uc = (struct ucontext *)r->spare[0];
    struct context c;

    write_gs_base((uint64_t)r);
    if (set_alternate_stack(r) != 0)
        die();
    c.r = r;
    load_registers(&c, uc);
    c.regs.fs_base = r->spare[1];
    if (__atomic_load_n(&r->slot->early, __ATOMIC_SEQ_CST))
        r->preempt = 1;
    serve(&c);
    store_registers(&c);
    enter_guest(uc);
}

static uint32_t
frame_fpu_size(const uint8_t *fpu)
{
    uint32_t magic, size;

    memcpy(&magic, fpu + 464, 4);
    memcpy(&size, fpu + 468, 4);
    return magic == 0x46505853U ? size : 512;
}

/* Prepare a frame on the new thread's stack: this thread's registers and FPU state. */
static struct ucontext *
prepare_frame(struct context *c, struct record *child, const struct pysc_command *command)
{
    uint64_t top = (uint64_t)child & -64UL;
    struct context copy;
    struct ucontext *uc;
    uint8_t *fpu;

    need_frame(c);
    copy = *c;
    fpu = (uint8_t *)c->uc->mcontext.fpstate;
    if (fpu) {
        uint32_t size = frame_fpu_size(fpu);

        if (size > PYSC_STACK_SIZE / 4)
            die();
        top = (top - size) & -64UL;
        memcpy((void *)top, fpu, size);
    }
    uc = (struct ucontext *)((top - sizeof *uc - 64) & -16UL);
    *uc = *c->uc;
    uc->mcontext.fpstate = fpu ? top : 0;
    uc->stack_sp = stack_of(child->channel, child->index) + FRAME_AREA;
    uc->stack_size = ALTERNATE_SIZE;
    uc->stack_flags = 0;
    copy.uc = uc;
    if (command->args[1])
        copy.regs.rsp = command->args[1];
    child->spare[1] = command->args[2] ? command->args[3] : c->regs.fs_base;
    copy.regs.fs_base = UINT64_MAX; /* not this thread's: thread_main sets the child's */
    store_registers(&copy);
    return uc;
}

int64_t
clone_into(struct context *c, const struct pysc_command *command)
{
    uint32_t index = (uint32_t)command->args[0];
    struct record *child;
    struct ucontext *uc;
    int64_t result;

    if (index >= PYSC_SLOTS)
        die();
    lock_space(c->r->space);
    install_thread(c->r->channel, index);
    child = record_at(stack_of(c->r->channel, index));
    uc = prepare_frame(c, child, command);
    child->spare[0] = (uint64_t)uc;
    do
        result = clone_thread(PYSC_CLONE_THREAD, (uint64_t)uc - 256, &child->slot->tid, thread_main);
    while (result == -EINTR);
    unlock_space(c->r->space);
    return result;
}

static void
wake(uint64_t address)
{
    host(__NR_futex, address, FUTEX_WAKE, 1, 0);
}

/* handle_futex_death() of the host, on guest tids. */
static void
bury(uint64_t address, uint32_t tid)
{
    uint32_t value;

    if ((address & 3) || !range_ok(address, 4) || copy_bytes(&value, (void *)address, 4) != 0)
        return;
    while ((value & FUTEX_TID_MASK) == tid) {
        long other = compare_exchange((uint32_t *)address, &value, (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED);

        if (other < 0)
            return;
        if (other == 0) {
            if (value & FUTEX_WAITERS)
                wake(address);
            return;
        }
    }
}

static void
walk_robust_list(uint64_t head, uint32_t tid)
{
    uint64_t words[3], entry; /* next, futex offset, pending */

    if (!tid || !range_ok(head, sizeof words) || copy_bytes(words, (void *)head, sizeof words) != 0)
        return;
    entry = words[0];
    for (int i = 0; i < ROBUST_LIST_LIMIT && (entry & ~1UL) != head; i++) {
        uint64_t next = 0, at = entry & ~1UL;
        int last = !range_ok(at, 8) || copy_bytes(&next, (void *)at, 8) != 0;

        if (at != (words[2] & ~1UL))
            bury(at + words[1], tid);
        if (last)
            return;
        entry = next;
    }
    if (words[2])
        bury((words[2] & ~1UL) + words[1], tid);
}

/* A thread is about to end, alone or with its process: as in Linux, who hears of its end finds the locks that it held given
 * up. */
void
give_up_locks(struct context *c)
{
    struct pysc_slot *slot = c->r->slot;
    const uint64_t robust_list = slot->robust_list;

    slot->robust_list = 0;
    walk_robust_list(robust_list, (uint32_t)slot->ids.tid);
}

_Noreturn void
exit_thread(struct context *c, uint64_t clear_tid)
{
    const uint32_t zero = 0;

    give_up_locks(c);
    if (range_ok(clear_tid, 4) && copy_bytes((void *)clear_tid, &zero, 4) == 0)
        wake(clear_tid);
    for (;;)
        host(__NR_exit, 0);
}
