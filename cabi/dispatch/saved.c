/* Objects as records, of which a checkpoint consists and with which a restore begins.
 *
 * A record has the fields that are KEPT below, in that order and without gaps.  What is LEFT is of this process, or follows
 * from the rest, and is made anew:
 * - headers: the name stands in the record; nobody has the lock; who is free follows;
 * - descriptors of the host's: an object that had one says so (`missing`) until the next process gives it its own;
 * - who waits, and who has something in his hands in the middle of a call: calls begin anew, and say so again;
 * - what the host has said, and what is kept for a stat(2) with all that it is kept by;
 * - what follows: how many refer to it, where it is found, how long it is.
 * What an object names and is no more is nothing in its record.  What is the set's and nobody's is not saved: crossings and
 * mounts that were noted, watchers, links that are left to Python, limits.  Who told that tells it again. */

#define _GNU_SOURCE
#include "saved.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"

#define FIELDS_MAX 16
#define ANY UINT64_MAX
#define COUNT_MAX INT32_MAX
#define PAGES_MAX (1ULL << 40)
#define BUDGET_MAX (1ULL << 62) /* what is left of one can be told in 64 bits */
#define O_MOST 037777777U
#define SEALS_MOST 0x3fU
#define MODE_MOST 0177777U

/* Each field of a structure stands here, kept with the largest value that it may have, or left. */
#define TABLE_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) LEFT(s, capacity) LEFT(s, count) LEFT(s, lowest) /* follow from the open numbers */ \
    KEPT(s, limit, FD_MAX) KEPT(s, bounded, 1) LEFT(s, lent) /* guests have none yet */ \
    LEFT(s, files) LEFT(s, used) LEFT(s, cloexec) /* a struct pysc_saved_number each, ascending */
#define FILE_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, references, COUNT_MAX) KEPT(s, flags, O_MOST) KEPT(s, offset, INT64_MAX) \
    KEPT(s, type, PYSC_FILE_ZERO) KEPT(s, object, ANY) KEPT(s, generation, ANY) KEPT(s, flushes, 1) KEPT(s, faced, 1) \
    KEPT(s, dentry, ANY) KEPT(s, mount, ANY) KEPT(s, era, ANY) KEPT(s, owns, 1) LEFT(s, moving) /* a call */ \
    KEPT(s, locks, ANY) KEPT(s, locks_generation, ANY)
#define DATA_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, where, PYSC_DATA_OTHER) LEFT(s, file) /* `missing` tells of it */ \
    KEPT(s, target, ANY) KEPT(s, target_generation, ANY) KEPT(s, seals, SEALS_MOST) LEFT(s, refuses) /* the host */ \
    KEPT(s, writes_here, 1) KEPT(s, stored, ANY) KEPT(s, super, ANY) KEPT(s, missing, PYSC_DATA_MEMORY) \
    KEPT(s, length, INT64_MAX) KEPT(s, charged, PAGES_MAX) KEPT(s, modified, INT64_MAX) \
    LEFT(s, small_size) LEFT(s, small) /* `length` bytes */ KEPT(s, budget, ANY) KEPT(s, budget_generation, ANY) \
    LEFT(s, version) KEPT(s, uncertain, 1) LEFT(s, kept) LEFT(s, kept_version) LEFT(s, stat) /* for stat(2) */ \
    LEFT(s, donable) LEFT(s, opened) LEFT(s, donated) LEFT(s, offer) LEFT(s, served) /* guests have none yet */
#define PIPE_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, capacity, 1ULL << 31) LEFT(s, head) LEFT(s, size) LEFT(s, allocated) \
    KEPT(s, readers, COUNT_MAX) KEPT(s, writers, COUNT_MAX) KEPT(s, packets, 1) LEFT(s, waits) LEFT(s, reader) \
    LEFT(s, taker) LEFT(s, owed) LEFT(s, moves) /* who stands still has stored what it took */ \
    LEFT(s, bytes) /* from the head on */
#define COUNTER_FIELDS(KEPT, LEFT, s) LEFT(s, header) KEPT(s, count, ANY) KEPT(s, semaphore, 1) LEFT(s, waits)
#define BUDGET_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, limit, BUDGET_MAX) KEPT(s, used, BUDGET_MAX) KEPT(s, parent, ANY) LEFT(s, spare)
#define CONTEXT_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, root, ANY) KEPT(s, working, ANY) KEPT(s, root_mount, ANY) KEPT(s, working_mount, ANY) \
    KEPT(s, root_era, ANY) KEPT(s, working_era, ANY)
#define DCACHE_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) LEFT(s, tree) /* `missing` tells of it */ KEPT(s, top, ANY) KEPT(s, device, ANY) \
    LEFT(s, host_device) LEFT(s, host_mount) /* come with the tree */ KEPT(s, overlaid, 1) KEPT(s, disabled, 1) \
    KEPT(s, super, ANY) KEPT(s, missing, 1)
#define DENTRY_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, cache, ANY) KEPT(s, parent, MAX_DENTRIES - 1) LEFT(s, next) LEFT(s, children) \
    KEPT(s, users, COUNT_MAX) LEFT(s, kind) /* the host is asked again */ \
    KEPT(s, withdrawn, PYSC_WITHDRAWN_NAME | PYSC_WITHDRAWN_INODE | PYSC_WITHDRAWN_SHOWN) KEPT(s, merged, 1) \
    LEFT(s, recent) KEPT(s, shown, SHOWN_ABSENT) KEPT(s, covered, 1) LEFT(s, length) KEPT(s, inode, ANY) \
    KEPT(s, inode_generation, ANY) KEPT(s, era, ANY) KEPT(s, absent_era, ANY) LEFT(s, saved) \
    LEFT(s, hash) /* with a key that the next process does not have */ LEFT(s, name) /* without the NUL */ \
    LEFT(s, target) LEFT(s, attributes) /* the host's */
/* But for what Python says of a merged one. */
#define MERGED_FIELDS(KEPT, s) \
    KEPT(s, attributes.mode, MODE_MOST) KEPT(s, attributes.uid, ANY) KEPT(s, attributes.gid, ANY)
#define INODE_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, mode, MODE_MOST) KEPT(s, uid, ANY) KEPT(s, gid, ANY) KEPT(s, data, ANY) \
    KEPT(s, data_generation, ANY) KEPT(s, withdrawn, 1)
#define EPOLL_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, first, ANY) LEFT(s, last) /* follows from the list */ LEFT(s, waits) LEFT(s, spare)
#define ITEM_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) KEPT(s, data, ANY) KEPT(s, events, ANY) KEPT(s, file, ANY) KEPT(s, generation, ANY) \
    KEPT(s, next, ANY) LEFT(s, previous) KEPT(s, ready, 1)
#define HANDLERS_FIELDS(KEPT, LEFT, s) LEFT(s, header) KEPT(s, actions, ANY)
#define SUPER_FIELDS(KEPT, LEFT, s) LEFT(s, header) KEPT(s, remote, 1) LEFT(s, spare) LEFT(s, slow_until) /* by our clock */
#define LOCKS_FIELDS(KEPT, LEFT, s) \
    LEFT(s, header) LEFT(s, n) LEFT(s, room) LEFT(s, awaited) LEFT(s, spare) LEFT(s, records) /* those whose owners live */

struct field {
    uint16_t offset, size;
    uint64_t most; /* of a number */
};

#define AS_FIELD(s, member, most) {offsetof(struct s, member), sizeof(((struct s *)0)->member), most},
#define AS_NOTHING(s, member)
#define KEPT_SIZE(s, member, most) +sizeof(((struct s *)0)->member)
#define LEFT_SIZE(s, member) +sizeof(((struct s *)0)->member)

/* Whoever adds a field to one of these decides here what becomes of it, and says so in another version. */
#define EACH_IS_NAMED(fields, s) \
    _Static_assert(fields(KEPT_SIZE, LEFT_SIZE, s) == sizeof(struct s), "a field of struct " #s " is neither kept nor left")
EACH_IS_NAMED(TABLE_FIELDS, pysc_table);
EACH_IS_NAMED(FILE_FIELDS, pysc_file);
EACH_IS_NAMED(DATA_FIELDS, pysc_data);
EACH_IS_NAMED(PIPE_FIELDS, pysc_pipe);
EACH_IS_NAMED(COUNTER_FIELDS, pysc_counter);
EACH_IS_NAMED(BUDGET_FIELDS, pysc_budget);
EACH_IS_NAMED(CONTEXT_FIELDS, pysc_context);
EACH_IS_NAMED(DCACHE_FIELDS, pysc_dcache);
EACH_IS_NAMED(DENTRY_FIELDS, pysc_dentry);
EACH_IS_NAMED(INODE_FIELDS, pysc_inode);
EACH_IS_NAMED(EPOLL_FIELDS, pysc_epoll);
EACH_IS_NAMED(ITEM_FIELDS, pysc_item);
EACH_IS_NAMED(HANDLERS_FIELDS, pysc_handlers);
EACH_IS_NAMED(SUPER_FIELDS, pysc_super);
EACH_IS_NAMED(LOCKS_FIELDS, pysc_locks);

#define FIELDS(fields, s) sizeof(struct s), {fields(AS_FIELD, AS_NOTHING, s)}
static const struct {
    size_t size; /* of the structure */
    struct field fields[FIELDS_MAX];
} saved_kinds[PYSC_OBJECT_KINDS] = {
    [PYSC_OBJECT_TABLE] = {FIELDS(TABLE_FIELDS, pysc_table)},
    [PYSC_OBJECT_FILE] = {FIELDS(FILE_FIELDS, pysc_file)},
    [PYSC_OBJECT_DATA] = {FIELDS(DATA_FIELDS, pysc_data)},
    [PYSC_OBJECT_PIPE] = {FIELDS(PIPE_FIELDS, pysc_pipe)},
    [PYSC_OBJECT_COUNTER] = {FIELDS(COUNTER_FIELDS, pysc_counter)},
    [PYSC_OBJECT_BUDGET] = {FIELDS(BUDGET_FIELDS, pysc_budget)},
    [PYSC_OBJECT_CONTEXT] = {FIELDS(CONTEXT_FIELDS, pysc_context)},
    [PYSC_OBJECT_DCACHE] = {FIELDS(DCACHE_FIELDS, pysc_dcache)},
    [PYSC_OBJECT_DENTRY] = {sizeof(struct pysc_dentry),
                            {DENTRY_FIELDS(AS_FIELD, AS_NOTHING, pysc_dentry) MERGED_FIELDS(AS_FIELD, pysc_dentry)}},
    [PYSC_OBJECT_INODE] = {FIELDS(INODE_FIELDS, pysc_inode)},
    [PYSC_OBJECT_EPOLL] = {FIELDS(EPOLL_FIELDS, pysc_epoll)},
    [PYSC_OBJECT_ITEM] = {FIELDS(ITEM_FIELDS, pysc_item)},
    [PYSC_OBJECT_HANDLERS] = {FIELDS(HANDLERS_FIELDS, pysc_handlers)},
    [PYSC_OBJECT_SUPER] = {FIELDS(SUPER_FIELDS, pysc_super)},
    [PYSC_OBJECT_LOCKS] = {FIELDS(LOCKS_FIELDS, pysc_locks)},
};

#define EACH_FIELD(field, kind) \
    const struct field *field = saved_kinds[kind].fields; \
    field < saved_kinds[kind].fields + FIELDS_MAX && field->size; field++

union object {
    struct pysc_header header;
    struct pysc_table table;
    struct pysc_file file;
    struct pysc_data data;
    struct pysc_pipe pipe;
    struct pysc_counter counter;
    struct pysc_budget budget;
    struct pysc_context context;
    struct pysc_dcache dcache;
    struct pysc_dentry dentry;
    struct pysc_inode inode;
    struct pysc_epoll epoll;
    struct pysc_item item;
    struct pysc_handlers handlers;
    struct pysc_super super;
    struct pysc_locks locks;
};

int64_t
pysc_saved_next(struct pysc_objects *objects, uint32_t kind, uint32_t index)
{
    int64_t i = pysc_object_next(objects, kind, index);

    if (kind != PYSC_OBJECT_DENTRY)
        return i;
    for (int64_t j = index ? -1 : i; j >= 0; j = pysc_object_next(objects, kind, (uint32_t)j + 1))
        objects->dentries[j].saved = 0;
    for (int64_t j = index ? -1 : i; j >= 0; j = pysc_object_next(objects, kind, (uint32_t)j + 1)) {
        struct pysc_dentry *dentry = &objects->dentries[j];

        if (pysc_dentry_can_drop(objects, dentry))
            continue;
        for (; !dentry->saved; dentry = &objects->dentries[dentry->parent]) /* with all above */
            dentry->saved = 1;
    }
    while (i >= 0 && !objects->dentries[i].saved)
        i = pysc_object_next(objects, kind, (uint32_t)i + 1);
    return i;
}

/* Leave in a copy of an object what its record says. */
static void
strip(const struct pysc_objects *objects, uint32_t kind, union object *object)
{
    struct pysc_data *data = &object->data;
    struct pysc_dentry *dentry = &object->dentry;

    if (kind == PYSC_OBJECT_DATA) {
        if (data->where == PYSC_DATA_HOST || (data->where == PYSC_DATA_MEMORY && data->file >= 0)) {
            data->missing = data->where;
            data->where = PYSC_DATA_NONE;
        } else if (data->where != PYSC_DATA_NONE) {
            data->missing = PYSC_DATA_NONE;
        }
        if (data->where != PYSC_DATA_OTHER)
            data->target = data->target_generation = 0;
    } else if (kind == PYSC_OBJECT_DCACHE) {
        object->dcache.missing |= object->dcache.tree >= 0;
    } else if (kind == PYSC_OBJECT_DENTRY) {
        if (dentry->shown != SHOWN_INODE)
            dentry->inode = dentry->inode_generation = 0;
        if (!dentry->merged)
            dentry->attributes = (struct pysc_attributes){0};
    }
    pysc_names_living(objects, kind, &object->header, 1);
    if (kind == PYSC_OBJECT_DATA && data->where == PYSC_DATA_OTHER && !data->target_generation)
        data->where = PYSC_DATA_NONE;
}

/* What an object has beside its structure, written at `to` if that is not NULL: how long it is. */
static uint64_t
dump_numbers(const struct pysc_table *table, uint8_t *to)
{
    for (int64_t fd = to ? pysc_table_next(table, 0, 0) : -1; fd >= 0; fd = pysc_table_next(table, (uint32_t)fd + 1, 0)) {
        struct pysc_saved_number one = {(uint32_t)fd, table->files[fd] - 1, (uint32_t)pysc_table_cloexec(table, fd)};

        memcpy(to, &one, sizeof one);
        to += sizeof one;
    }
    return table->count * sizeof(struct pysc_saved_number);
}

static uint64_t
dump_locks(const struct pysc_objects *objects, const struct pysc_locks *locks, uint8_t *to)
{
    uint64_t size = 0;

    for (uint32_t i = 0; i < locks->n; i++) {
        if (!pysc_owner_lives(objects, locks->records[i].owner))
            continue;
        if (to)
            memcpy(to + size, &locks->records[i], sizeof *locks->records);
        size += sizeof *locks->records;
    }
    return size;
}

static uint64_t
dump_bytes(const void *bytes, uint64_t size, uint8_t *to)
{
    if (to && size)
        memcpy(to, bytes, size);
    return size;
}

static uint64_t
dump_rest(const struct pysc_objects *objects, uint32_t kind, const union object *object, uint8_t *to)
{
    switch (kind) {
    case PYSC_OBJECT_TABLE:
        return dump_numbers(&object->table, to);
    case PYSC_OBJECT_DATA:
        return dump_bytes(object->data.small, object->data.where == PYSC_DATA_MEMORY ? object->data.length : 0, to);
    case PYSC_OBJECT_PIPE:
        return to ? (uint64_t)pysc_pipe_peek(&object->pipe, to, object->pipe.size) : object->pipe.size;
    case PYSC_OBJECT_DENTRY:
        return dump_bytes(object->dentry.name, object->dentry.length, to);
    case PYSC_OBJECT_LOCKS:
        return dump_locks(objects, &object->locks, to);
    default:
        return 0;
    }
}

int64_t
pysc_object_dump(struct pysc_objects *objects, uint32_t kind, uint32_t index, void *record, uint64_t room)
{
    const struct pysc_header *header = pysc_object_at(objects, kind, index);
    struct pysc_saved saved = {PYSC_SAVED_VERSION, kind, index, 0, sizeof saved};
    union object object;
    uint8_t *to = record;

    if (!header)
        return -ENOENT;
    memcpy(&object, header, saved_kinds[kind].size);
    strip(objects, kind, &object);
    saved.generation = header->generation;
    for (EACH_FIELD(field, kind))
        saved.size += field->size;
    saved.size += dump_rest(objects, kind, &object, NULL);
    if (saved.size > room)
        return (int64_t)saved.size;
    memcpy(to, &saved, sizeof saved);
    to += sizeof saved;
    for (EACH_FIELD(field, kind)) {
        memcpy(to, (uint8_t *)&object + field->offset, field->size);
        to += field->size;
    }
    dump_rest(objects, kind, &object, to);
    return (int64_t)saved.size;
}

static int64_t
load_numbers(struct pysc_table *table, const uint8_t *from, uint64_t size)
{
    struct pysc_saved_number one;
    int64_t last = -1;

    if (size % sizeof one)
        return -EBADMSG;
    for (; size; from += sizeof one, size -= sizeof one) {
        memcpy(&one, from, sizeof one);
        if (one.number >= FD_MAX || one.number <= last || one.file >= MAX_FILES || one.cloexec > 1)
            return -EBADMSG;
        last = one.number;
        if (pysc_table_put(table, one.number, one.file, (int32_t)one.cloexec) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int64_t
load_small(struct pysc_data *data, const uint8_t *from, uint64_t size)
{
    data->file = data->donable = -1;
    if (size != (data->where == PYSC_DATA_MEMORY ? data->length : 0) || size > SMALL_FILE)
        return -EBADMSG;
    if (pysc_data_grow(data, size) < 0)
        return -ENOMEM;
    if (size)
        memcpy(data->small, from, size);
    return 0;
}

/* A name that is one: paths are made of them. */
static int64_t
load_name(struct pysc_dentry *dentry, const uint8_t *from, uint64_t size)
{
    if (dentry->parent == dentry->header.index)
        return size ? -EBADMSG : 0;
    if (!size || size > NAME_MAX || memchr(from, 0, size) || memchr(from, '/', size) ||
        (from[0] == '.' && (size == 1 || (size == 2 && from[1] == '.'))))
        return -EBADMSG;
    dentry->name = malloc(size + 1);
    if (!dentry->name)
        return -ENOMEM;
    memcpy(dentry->name, from, size);
    dentry->name[size] = 0;
    dentry->length = (uint16_t)size;
    return 0;
}

static int64_t
load_locks(struct pysc_locks *locks, const uint8_t *from, uint64_t size)
{
    uint64_t n = size / sizeof *locks->records;

    if (size % sizeof *locks->records || n > 2 * PYSC_LOCKS_MAX)
        return -EBADMSG;
    return pysc_locks_set(locks, from, (uint32_t)n) < 0 ? -ENOMEM : 0;
}

static int64_t
load_rest(struct pysc_objects *objects, uint32_t kind, struct pysc_header *header, const uint8_t *from, uint64_t size)
{
    switch (kind) {
    case PYSC_OBJECT_TABLE:
        return load_numbers((struct pysc_table *)header, from, size);
    case PYSC_OBJECT_DATA:
        return load_small((struct pysc_data *)header, from, size);
    case PYSC_OBJECT_PIPE:
        if (size > ((struct pysc_pipe *)header)->capacity + PYSC_DATA_SIZE) /* some may have come back to a full one */
            return -EBADMSG;
        return pysc_pipe_put(objects, (struct pysc_pipe *)header, from, size);
    case PYSC_OBJECT_DCACHE:
        ((struct pysc_dcache *)header)->tree = -1;
        return size ? -EBADMSG : 0;
    case PYSC_OBJECT_DENTRY:
        return load_name((struct pysc_dentry *)header, from, size);
    case PYSC_OBJECT_LOCKS:
        return load_locks((struct pysc_locks *)header, from, size);
    default:
        return size ? -EBADMSG : 0;
    }
}

/* Fields into `object`: where they end, or NULL if there are too few, or one is out of its range. */
static const uint8_t *
load_fields(uint32_t kind, union object *object, const uint8_t *from, uint64_t size)
{
    for (EACH_FIELD(field, kind)) {
        uint64_t value = 0;

        if (size < field->size)
            return NULL;
        memcpy((uint8_t *)object + field->offset, from, field->size);
        if (field->size <= sizeof value)
            memcpy(&value, from, field->size);
        if (value > field->most)
            return NULL;
        from += field->size;
        size -= field->size;
    }
    return from;
}

static int64_t
load(struct pysc_objects *objects, const uint8_t *record, uint64_t size)
{
    const uint8_t *end = record + size;
    struct pysc_header *header;
    struct pysc_saved saved;
    union object object;

    if (size < sizeof saved)
        return -EBADMSG;
    memcpy(&saved, record, sizeof saved);
    if (saved.version != PYSC_SAVED_VERSION || saved.kind >= PYSC_OBJECT_KINDS || saved.size != size)
        return -EBADMSG;
    memset(&object, 0, saved_kinds[saved.kind].size);
    record = load_fields(saved.kind, &object, record + sizeof saved, size - sizeof saved);
    header = record ? pysc_object_put(objects, saved.kind, saved.index, saved.generation) : NULL;
    if (!header)
        return -EBADMSG;
    object.header = *header;
    memcpy(header, &object, saved_kinds[saved.kind].size);
    return load_rest(objects, saved.kind, header, record, (uint64_t)(end - record));
}

int64_t
pysc_object_load(struct pysc_objects *objects, const void *record, uint64_t size)
{
    int64_t failed;

    objects->unchecked = 1;
    failed = load(objects, record, size);
    if (failed)
        pysc_objects_forget(objects);
    return failed;
}
