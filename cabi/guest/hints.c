/* What travels with a request: paths and small buffers, by call number.  A hint only: whatever cannot be read is left out. */

#include "guest.h"

#define PATH_MAX 4096
#define NONE 7

/* Arguments that are paths, or arrays of strings, and one buffer: argument `buffer`, as long as argument `size` (times
 * `unit`), or `unit`. */
struct wanted {
    uint8_t paths : 6;   /* a bit per argument */
    uint8_t gathers : 1; /* the buffer is an iovec of what will be read: that, too */
    uint8_t selects : 1; /* arguments 1 to 3 are sets of as many bits as argument 0 says */
    uint8_t arrays;      /* of strings: a bit per argument */
    uint8_t buffer : 4, size : 4;
    uint16_t unit : 12;
    uint16_t time : 4; /* the argument that is a struct timespec */
};
#define PATHS(bits) {bits, 0, 0, 0, NONE, NONE, 0, NONE}
#define SIZED(buffer, size, unit) {0, 0, 0, 0, buffer, size, unit, NONE}
#define FIXED(buffer, unit) {0, 0, 0, 0, buffer, NONE, unit, NONE}
#define SCATTER {0, 0, 0, 0, 1, 2, 16, NONE}
#define GATHER {0, 1, 0, 0, 1, 2, 16, NONE}
#define POLLS(time) {0, 0, 0, 0, 0, 1, 8, time}
#define SELECTS {0, 0, 1, 0, NONE, NONE, 0, 4}
#define PSELECTS {0, 0, 1, 0, 5, NONE, 16, 4} /* the last argument is two words */
#define TIME_SIZE 16
#define SELECT_MAX 1024

static const struct wanted calls[] = {
    [__NR_write] = SIZED(1, 2, 1),
    [__NR_open] = PATHS(1),
    [__NR_stat] = PATHS(1),
    [__NR_lstat] = PATHS(1),
    [__NR_poll] = POLLS(NONE),
    [__NR_rt_sigaction] = FIXED(1, 32),
    [__NR_rt_sigprocmask] = FIXED(1, 8),
    [__NR_pwrite64] = SIZED(1, 2, 1),
    [__NR_readv] = SCATTER,
    [__NR_writev] = GATHER,
    [__NR_access] = PATHS(1),
    [__NR_select] = SELECTS,
    [__NR_nanosleep] = FIXED(0, 16),
    [__NR_setitimer] = FIXED(1, 32),
    [__NR_connect] = SIZED(1, 2, 1),
    [__NR_sendto] = SIZED(1, 2, 1),
    [__NR_sendmsg] = FIXED(1, 56),
    [__NR_recvmsg] = FIXED(1, 56),
    [__NR_bind] = SIZED(1, 2, 1),
    [__NR_setsockopt] = SIZED(3, 4, 1),
    [__NR_execve] = {1, 0, 0, 6, NONE, NONE, 0, NONE},
    [__NR_fcntl] = FIXED(2, 32), /* a struct flock; other arguments are no addresses */
    [__NR_truncate] = PATHS(1),
    [__NR_chdir] = PATHS(1),
    [__NR_rename] = PATHS(3),
    [__NR_mkdir] = PATHS(1),
    [__NR_rmdir] = PATHS(1),
    [__NR_creat] = PATHS(1),
    [__NR_link] = PATHS(3),
    [__NR_unlink] = PATHS(1),
    [__NR_symlink] = PATHS(3),
    [__NR_readlink] = PATHS(1),
    [__NR_chmod] = PATHS(1),
    [__NR_chown] = PATHS(1),
    [__NR_lchown] = PATHS(1),
    [__NR_rt_sigsuspend] = FIXED(0, 8),
    [__NR_sigaltstack] = FIXED(0, 24),
    [__NR_statfs] = PATHS(1),
    [__NR_futex] = FIXED(3, 16),
    [__NR_clock_nanosleep] = FIXED(2, 16),
    [__NR_epoll_ctl] = FIXED(3, 12),
    [__NR_inotify_add_watch] = PATHS(2),
    [__NR_openat] = PATHS(2),
    [__NR_mkdirat] = PATHS(2),
    [__NR_fchownat] = PATHS(2),
    [__NR_newfstatat] = PATHS(2),
    [__NR_unlinkat] = PATHS(2),
    [__NR_renameat] = PATHS(10),
    [__NR_linkat] = PATHS(10),
    [__NR_symlinkat] = PATHS(5),
    [__NR_readlinkat] = PATHS(2),
    [__NR_fchmodat] = PATHS(2),
    [__NR_faccessat] = PATHS(2),
    [__NR_pselect6] = PSELECTS,
    [__NR_ppoll] = POLLS(2),
    [__NR_utimensat] = PATHS(2),
    [__NR_timerfd_settime] = FIXED(2, 32),
    [__NR_prlimit64] = FIXED(2, 16),
    [__NR_preadv] = SCATTER,
    [__NR_pwritev] = GATHER,
    [__NR_preadv2] = SCATTER,
    [__NR_pwritev2] = GATHER,
    [__NR_renameat2] = PATHS(10),
    [__NR_statx] = PATHS(2),
    [__NR_clone3] = FIXED(0, 88),
    [__NR_openat2] = PATHS(2),
    [__NR_faccessat2] = PATHS(2),
};

/* Paths go above PYSC_DATA_ROOM, which no command uses, buffers to the beginning: no call has both. */
static void
add_path(struct pysc_slot *slot, uint64_t address, uint32_t *used)
{
    uint32_t offset = PYSC_DATA_ROOM + *used;
    long size;

    if (!range_ok(address, 1))
        return;
    size = copy_string(slot->data + offset, (void *)address, PYSC_DATA_SIZE - offset);
    if (size <= 0)
        return;
    slot->hints[slot->n_hints++] = (struct pysc_hint){address, (uint32_t)size, offset};
    *used += (uint32_t)size;
}

static void
add_buffer(struct pysc_slot *slot, uint64_t address, uint64_t size, uint32_t *used)
{
    if (size == 0 || size > PYSC_DATA_SIZE - *used || !range_ok(address, size) ||
        copy_bytes(slot->data + *used, (void *)address, size) != 0)
        return;
    slot->hints[slot->n_hints++] = (struct pysc_hint){address, (uint32_t)size, *used};
    *used += (uint32_t)size;
}

static void
add_sets(struct pysc_slot *slot, const uint64_t *args, uint32_t *used)
{
    uint32_t bits = (uint32_t)args[0];

    for (uint32_t i = 1; i <= 3 && bits <= SELECT_MAX; i++) {
        if (args[i])
            add_buffer(slot, args[i], (bits + 63) / 64 * 8, used);
    }
}

/* What an iovec, which is a hint already, points to, one part after the other: all or nothing. */
static void
add_parts(struct pysc_slot *slot, uint64_t count)
{
    const struct {
        uint64_t address, size;
    } *parts = (const void *)slot->data;
    uint64_t offset = count * sizeof *parts;
    uint32_t n = slot->n_hints;

    if (n != 1 || count >= PYSC_HINTS)
        return;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t address = parts[i].address, size = parts[i].size;

        if (size > PYSC_DATA_ROOM - offset)
            return;
        if (size == 0)
            continue;
        if (!range_ok(address, size) || copy_bytes(slot->data + offset, (void *)address, size) != 0)
            return;
        slot->hints[n++] = (struct pysc_hint){address, (uint32_t)size, (uint32_t)offset};
        offset += size;
    }
    slot->n_hints = n;
}

/* Arrays, which no call with a buffer has, go to the beginning: only behind a path, and only whole. */
static void
add_array(struct pysc_slot *slot, uint64_t address, uint32_t *used)
{
    uint32_t size, done;

    if (slot->n_hints == 0 || copy_strings(slot->data + *used, PYSC_DATA_ROOM - *used, address, 0, &size, &done) < 0 || !done)
        return;
    slot->hints[slot->n_hints++] = (struct pysc_hint){address, size | PYSC_HINT_STRINGS, *used};
    *used += size;
}

void
add_hints(struct pysc_slot *slot, int64_t nr, const uint64_t *args)
{
    const struct wanted *wanted;
    uint32_t used = 0, buffered = 0;

    if (nr < 0 || nr >= (int64_t)(sizeof calls / sizeof *calls))
        return;
    wanted = &calls[nr];
    if (wanted->unit)
        add_buffer(slot, args[wanted->buffer],
                   wanted->size == NONE ? wanted->unit
                   : args[wanted->size] > PYSC_DATA_SIZE ? 0
                                                         : args[wanted->size] * wanted->unit,
                   &buffered);
    if (wanted->selects)
        add_sets(slot, args, &buffered);
    if ((wanted->unit || wanted->selects) && wanted->time != NONE && args[wanted->time])
        add_buffer(slot, args[wanted->time], TIME_SIZE, &buffered);
    if (wanted->gathers)
        add_parts(slot, args[wanted->size]);
    for (uint32_t i = 0, paths = wanted->paths; paths; i++, paths >>= 1) {
        if (paths & 1)
            add_path(slot, args[i], &used);
    }
    used = 0;
    for (uint32_t i = 0, arrays = wanted->arrays; arrays; i++, arrays >>= 1) {
        if (arrays & 1)
            add_array(slot, args[i], &used);
    }
}
