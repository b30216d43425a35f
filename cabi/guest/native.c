/* Calls that never leave the guest process when fast paths are on: ids, clocks, anonymous memory, the heap, futexes, the
 * signal mask, what a thread says of itself, rseq, which this kernel was built without, and pread64 of what it was lent.
 *
 * Each is private to the process and harmless to forge.  Whatever is not quite ordinary goes to the sentry. */

#include "guest.h"

#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_REQUEUE 3
#define FUTEX_CMP_REQUEUE 4
#define FUTEX_WAKE_OP 5
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define FUTEX_PRIVATE 128
#define FUTEX_REALTIME 256
#define MEMORY_FLAGS 0x00124032UL /* PRIVATE FIXED ANONYMOUS NORESERVE STACK FIXED_NOREPLACE */
#define ROBUST_LIST_HEAD_SIZE 24
#define ARCH_SET_FS 0x1002
#define SIG_BLOCK 0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2
#define UNBLOCKABLE (1UL << (9 - 1) | 1UL << (19 - 1)) /* SIGKILL SIGSTOP */
#define CLOCKS 0x8f3U             /* REALTIME MONOTONIC RAW REALTIME_COARSE MONOTONIC_COARSE BOOTTIME TAI */

static int
answer(struct context *c, int64_t result)
{
    c->regs.rax = (uint64_t)result;
    return 1;
}

static int
above(uint64_t address)
{
    return address >= PYSC_LIMIT;
}

static int
own_id(struct context *c, int64_t nr)
{
    const struct pysc_ids *ids = &c->r->slot->ids;

    if (!__atomic_load_n(&ids->ready, __ATOMIC_ACQUIRE))
        return 0;
    switch (nr) {
    case __NR_getpid:
        return answer(c, ids->pid);
    case __NR_gettid:
        return answer(c, ids->tid);
    case __NR_getuid:
        return answer(c, ids->uid);
    case __NR_geteuid:
        return answer(c, ids->euid);
    case __NR_getgid:
        return answer(c, ids->gid);
    default:
        return answer(c, ids->egid);
    }
}

/* Only the thread itself ever looks at these words, at its end. */
static int
own_words(struct context *c, int64_t nr, const uint64_t *a)
{
    struct pysc_slot *slot = c->r->slot;

    if (nr == __NR_set_tid_address) {
        slot->clear_tid = a[0];
        return own_id(c, __NR_gettid);
    }
    if (a[1] != ROBUST_LIST_HEAD_SIZE)
        return 0;
    slot->robust_list = a[0];
    return answer(c, 0);
}

/* Returns whether `how` is one of those that there are. */
static int
change_mask(uint64_t *mask, uint32_t how, uint64_t signals)
{
    switch (how) {
    case SIG_BLOCK:
        *mask |= signals;
        break;
    case SIG_UNBLOCK:
        *mask &= ~signals;
        break;
    case SIG_SETMASK:
        *mask = signals;
        break;
    default:
        return 0;
    }
    *mask &= ~UNBLOCKABLE;
    return 1;
}

/* Nobody looks at the mask until a signal is pending.  The sentry first says so, then looks; the thread first changes it,
 * then looks whether one has come meanwhile: the sentry may have seen either mask, so the call is its own. */
static int
rt_sigprocmask(struct context *c, const uint64_t *a)
{
    struct pysc_slot *slot = c->r->slot;
    uint64_t before = slot->sigmask, after = before, signals;

    if (!slot->quiet || a[3] != sizeof signals)
        return 0;
    if (a[1]) {
        if (!range_ok(a[1], sizeof signals) || copy_bytes(&signals, (void *)a[1], sizeof signals) != 0)
            return answer(c, -EFAULT);
        if (!change_mask(&after, (uint32_t)a[0], signals))
            return answer(c, -EINVAL);
        __atomic_store_n(&slot->sigmask, after, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&slot->quiet, __ATOMIC_SEQ_CST)) {
            slot->sigmask = before;
            return 0;
        }
    }
    if (a[2] && (!range_ok(a[2], sizeof before) || copy_bytes((void *)a[2], &before, sizeof before) != 0))
        return answer(c, -EFAULT);
    return answer(c, 0);
}

static int
arch_prctl(struct context *c, const uint64_t *a)
{
    if ((uint32_t)a[0] != ARCH_SET_FS || a[1] >= PYSC_TASK_SIZE)
        return 0;
    write_fs_base(a[1]);
    c->regs.fs_base = a[1];
    return answer(c, 0);
}

static int
clock_gettime(struct context *c, const uint64_t *a)
{
    int64_t (*host_clock)(int64_t, void *) = (int64_t (*)(int64_t, void *))((uint64_t *)PYSC_VDSO_TABLE)[0];
    uint64_t time[2];

    if (a[0] > 31 || !(CLOCKS >> a[0] & 1) || host_clock((int64_t)a[0], time) != 0)
        return 0;
    return answer(c, range_ok(a[1], 16) && copy_bytes((void *)a[1], time, 16) == 0 ? 0 : -EFAULT);
}

static int
gettimeofday(struct context *c, const uint64_t *a)
{
    int64_t (*host_clock)(void *, void *) = (int64_t (*)(void *, void *))((uint64_t *)PYSC_VDSO_TABLE)[1];
    uint64_t time[2];

    if (a[0] == 0 || a[1] != 0 || host_clock(time, 0) != 0)
        return 0;
    return answer(c, range_ok(a[0], 16) && copy_bytes((void *)a[0], time, 16) == 0 ? 0 : -EFAULT);
}

/* Whether segments of shared memory may be attached there: who unmaps one tells the sentry. */
static int
attached(const struct pysc_channel *channel, uint64_t address, uint64_t size)
{
    const uint64_t start = channel->attached_start, end = channel->attached_end;

    return address < end && (size > end || address + size > start);
}

static int
memory(struct context *c, int64_t nr, const uint64_t *a)
{
    const struct pysc_channel *channel = c->r->channel;
    int ours = 0;

    switch (nr) {
    case __NR_mmap:
        ours = (a[0] == 0 || above(a[0])) && !(a[2] & ~7UL) && (a[3] & MAP_ANONYMOUS) && !(a[3] & ~MEMORY_FLAGS) &&
               !((a[3] & MAP_FIXED) && attached(channel, a[0], a[1]));
        break;
    case __NR_mprotect:
        ours = above(a[0]) && !(a[2] & ~7UL);
        break;
    case __NR_munmap:
        ours = above(a[0]) && !attached(channel, a[0], a[1]);
        break;
    case __NR_mremap:
        ours = above(a[0]) && !(a[3] & ~7UL) && !attached(channel, a[0], a[1] ? a[1] : 1) &&
               (!(a[3] & 6) || (above(a[4]) && !attached(channel, a[4], a[2])));
        break;
    case __NR_madvise:
        ours = above(a[0]) && (a[2] <= 4 || a[2] == 8 || a[2] == 14 || a[2] == 15);
        break;
    }
    return ours && answer(c, memory_call(c->r->space, nr, a));
}

/* PI operations and relative timeouts (which a restart must shorten) are the sentry's. */
static int
futex(struct context *c, const uint64_t *a)
{
    uint32_t op = (uint32_t)a[1] & ~(uint32_t)(FUTEX_PRIVATE | FUTEX_REALTIME);

    if ((a[1] & FUTEX_REALTIME) && op != FUTEX_WAIT_BITSET)
        return 0;
    switch (op) {
    case FUTEX_WAKE_OP:
        return answer(c, futex_wake_op(a));
    case FUTEX_WAIT:
        if (a[3] != 0)
            return 0;
        break;
    case FUTEX_WAKE:
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAIT_BITSET:
    case FUTEX_WAKE_BITSET:
        break;
    default:
        return 0;
    }
    if (!above(a[0]))
        return answer(c, -EFAULT);
    for (int i = 0; i < 6; i++)
        c->args[i] = a[i];
    c->nr = __NR_futex;
    if (run_native(c, __NR_futex, a))
        serve(c);
    return 1;
}

/* Returns whether the call has been answered. */
int
answer_natively(struct context *c, int64_t nr, const uint64_t *args)
{
    switch (nr) {
    case __NR_getpid:
    case __NR_gettid:
    case __NR_getuid:
    case __NR_geteuid:
    case __NR_getgid:
    case __NR_getegid:
        return own_id(c, nr);
    case __NR_set_tid_address:
    case __NR_set_robust_list:
        return own_words(c, nr, args);
    case __NR_arch_prctl:
        return arch_prctl(c, args);
    case __NR_rt_sigprocmask:
        return rt_sigprocmask(c, args);
    case __NR_rseq:
        return answer(c, -ENOSYS);
    case __NR_clock_gettime:
        return clock_gettime(c, args);
    case __NR_gettimeofday:
        return gettimeofday(c, args);
    case __NR_sched_yield:
        return answer(c, host(__NR_sched_yield, 0));
    case __NR_brk:
        return c->r->channel->heap_start && answer(c, move_heap(c, args[0]));
    case __NR_mmap:
    case __NR_mprotect:
    case __NR_munmap:
    case __NR_mremap:
    case __NR_madvise:
        return memory(c, nr, args);
    case __NR_futex:
        return futex(c, args);
    case __NR_pread64:
        return read_lent(c, args);
    default:
        return 0;
    }
}
