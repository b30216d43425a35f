/* The record locks of an inode (fcntl(2)): who is in the way, and what becomes of an owner's when one is taken or given up. */

#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t
owner_of(const struct pysc_header *header, int description)
{
    return (uint64_t)header->generation << 32 | (uint64_t)header->index << 1 | (unsigned)description;
}

uint64_t
pysc_table_lock_owner(const struct pysc_table *table)
{
    return owner_of(&table->header, 0);
}

uint64_t
pysc_file_lock_owner(const struct pysc_file *file)
{
    return owner_of(&file->header, 1);
}

int64_t
pysc_locks_conflict(const struct pysc_locks *locks, const struct pysc_lock *wanted)
{
    for (uint32_t i = 0; i < locks->n; i++) {
        const struct pysc_lock *lock = &locks->records[i];

        if (lock->owner != wanted->owner && (lock->exclusive || wanted->exclusive) && lock->start <= wanted->end &&
            wanted->start <= lock->end)
            return i;
    }
    return -1;
}

static int
make_room(struct pysc_locks *locks, uint32_t n)
{
    struct pysc_lock *records;

    if (n <= locks->room)
        return 1;
    records = reallocarray(locks->records, n + n / 2, sizeof *records);
    if (!records)
        return 0;
    locks->records = records;
    locks->room = n + n / 2;
    return 1;
}

/* Append one, and let it sink to where it belongs. */
static void
add(struct pysc_locks *locks, const struct pysc_lock *lock)
{
    uint32_t at = locks->n++;

    for (; at && locks->records[at - 1].start > lock->start; at--)
        locks->records[at] = locks->records[at - 1];
    locks->records[at] = *lock;
}

/* What is left of `lock` outside a range: a piece before it, which is added, and one behind it, which is returned. */
static int
cut(struct pysc_locks *locks, const struct pysc_lock *lock, const struct pysc_lock *range, struct pysc_lock *behind)
{
    struct pysc_lock piece = *lock;

    if (lock->start < range->start) {
        piece.end = range->start - 1;
        add(locks, &piece);
    }
    *behind = *lock;
    behind->start = range->end + 1;
    return lock->end > range->end;
}

int64_t
pysc_locks_change(struct pysc_locks *locks, const struct pysc_lock *given, int32_t keep)
{
    struct pysc_lock new = *given, behind, rest;
    const uint32_t before = locks->n;
    int is_rest = 0;

    if (before >= (keep ? PYSC_LOCKS_MAX : 2 * PYSC_LOCKS_MAX) || !make_room(locks, before + 2)) /* one may be cut in two, and the new one comes */
        return -ENOLCK;
    locks->n = 0;
    for (uint32_t i = 0; i < before; i++) {
        const struct pysc_lock lock = locks->records[i];
        const uint32_t joins = keep && lock.exclusive == new.exclusive;

        if (lock.owner != new.owner || lock.end + joins < new.start || new.end + joins < lock.start) {
            add(locks, &lock);
        } else if (joins) {
            new.start = lock.start < new.start ? lock.start : new.start;
            new.end = lock.end > new.end ? lock.end : new.end;
        } else if (cut(locks, &lock, &new, &behind)) {
            rest = behind; /* added when all have been read: it is one more than there were */
            is_rest = 1;
        }
    }
    if (is_rest)
        add(locks, &rest);
    if (keep)
        add(locks, &new);
    return 0;
}

int64_t
pysc_locks_set(struct pysc_locks *locks, const void *records, uint32_t n)
{
    if (!make_room(locks, n))
        return -ENOLCK;
    if (n)
        memcpy(locks->records, records, n * sizeof *locks->records);
    locks->n = n;
    return 0;
}

void
pysc_locks_release(struct pysc_locks *locks, uint64_t owner)
{
    const uint32_t before = locks->n;

    locks->n = 0;
    for (uint32_t i = 0; i < before; i++) {
        if (locks->records[i].owner != owner)
            locks->records[locks->n++] = locks->records[i];
    }
}
