/* Record locks that can be had at once (fcntl(2): F_SETLK and its kin), of files whose locks no other user of the host sees. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct guest_flock {
    int16_t type, whence;
    uint32_t padding;
    int64_t start, length;
    int32_t pid;
    uint32_t padding_behind;
};

static struct pysc_locks *
locks_of(struct pysc_objects *objects, const struct pysc_file *file)
{
    struct pysc_locks *locks = file->locks ? &objects->locks[file->locks - 1] : NULL;

    return locks && is_living(&locks->header, file->locks_generation) ? locks : NULL;
}

/* Whether a lock of that type may be set by the descriptor, or taken away. */
static int
may_set(const struct pysc_file *file, int16_t type)
{
    switch (type) {
    case F_RDLCK:
        return is_readable(file);
    case F_WRLCK:
        return is_writable(file);
    default:
        return type == F_UNLCK;
    }
}

int
lock_record(struct call *call, const struct pysc_file *file, uint64_t address, int of_description)
{
    struct pysc_locks *locks = locks_of(call->objects, file);
    const uint8_t *hint = hint_at(call, address, sizeof(struct guest_flock));
    struct guest_flock asked;
    struct pysc_lock lock;

    if (!locks || locks->awaited || !hint)
        return HAND_OVER;
    memcpy(&asked, hint, sizeof asked);
    if (asked.whence != SEEK_SET || asked.start < 0 || asked.length < 0 || asked.length > PYSC_LOCK_END - asked.start ||
        (of_description && asked.pid) || !may_set(file, asked.type))
        return HAND_OVER;
    lock = (struct pysc_lock){
        .owner = of_description ? pysc_file_lock_owner(file) : pysc_table_lock_owner(call->table),
        .start = (uint64_t)asked.start,
        .end = (uint64_t)(asked.length ? asked.start + asked.length - 1 : PYSC_LOCK_END),
        .pid = of_description ? -1 : call->thread->pid,
        .exclusive = asked.type == F_WRLCK,
    };
    if (asked.type != F_UNLCK && (is_memory_out(call->objects) || pysc_locks_conflict(locks, &lock) >= 0))
        return HAND_OVER;
    if (pysc_locks_change(locks, &lock, asked.type != F_UNLCK) < 0)
        return HAND_OVER;
    return answer(call, 0);
}
