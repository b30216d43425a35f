/* Pools of objects: one mapping whose pages are zero until used, indices from a list of free ones. */

#define _GNU_SOURCE
#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

static const struct {
    size_t offset, size;
    uint32_t max;
} kinds[PYSC_OBJECT_KINDS] = {
    [PYSC_OBJECT_TABLE] = {offsetof(struct pysc_objects, tables), sizeof(struct pysc_table), MAX_TABLES},
    [PYSC_OBJECT_FILE] = {offsetof(struct pysc_objects, files), sizeof(struct pysc_file), MAX_FILES},
    [PYSC_OBJECT_DATA] = {offsetof(struct pysc_objects, data), sizeof(struct pysc_data), MAX_DATA},
    [PYSC_OBJECT_PIPE] = {offsetof(struct pysc_objects, pipes), sizeof(struct pysc_pipe), MAX_PIPES},
    [PYSC_OBJECT_COUNTER] = {offsetof(struct pysc_objects, counters), sizeof(struct pysc_counter), MAX_COUNTERS},
    [PYSC_OBJECT_BUDGET] = {offsetof(struct pysc_objects, budgets), sizeof(struct pysc_budget), MAX_BUDGETS},
    [PYSC_OBJECT_CONTEXT] = {offsetof(struct pysc_objects, contexts), sizeof(struct pysc_context), MAX_CONTEXTS},
    [PYSC_OBJECT_DCACHE] = {offsetof(struct pysc_objects, dcaches), sizeof(struct pysc_dcache), MAX_DCACHES},
    [PYSC_OBJECT_DENTRY] = {offsetof(struct pysc_objects, dentries), sizeof(struct pysc_dentry), MAX_DENTRIES},
    [PYSC_OBJECT_INODE] = {offsetof(struct pysc_objects, inodes), sizeof(struct pysc_inode), MAX_INODES},
    [PYSC_OBJECT_EPOLL] = {offsetof(struct pysc_objects, epolls), sizeof(struct pysc_epoll), MAX_EPOLLS},
    [PYSC_OBJECT_ITEM] = {offsetof(struct pysc_objects, items), sizeof(struct pysc_item), MAX_ITEMS},
    [PYSC_OBJECT_SUPER] = {offsetof(struct pysc_objects, supers), sizeof(struct pysc_super), MAX_SUPERS},
    [PYSC_OBJECT_HANDLERS] = {offsetof(struct pysc_objects, handlers), sizeof(struct pysc_handlers), MAX_HANDLERS},
    [PYSC_OBJECT_LOCKS] = {offsetof(struct pysc_objects, locks), sizeof(struct pysc_locks), MAX_LOCKS},
};

struct pysc_objects *
pysc_objects_new(void)
{
    struct pysc_objects *objects = mmap(NULL, sizeof *objects, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (objects == MAP_FAILED)
        return NULL;
    pysc_descriptors_ask(objects);
    return objects;
}

uint32_t
pysc_descriptors(const struct pysc_objects *objects)
{
    return objects->descriptors;
}

void
pysc_descriptors_ask(struct pysc_objects *objects)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        limit.rlim_cur = 0;
    objects->descriptors = limit.rlim_cur < INT32_MAX ? (uint32_t)limit.rlim_cur : INT32_MAX;
}

static struct pysc_header *
header_of(const struct pysc_objects *objects, uint32_t kind, uint32_t index)
{
    return (struct pysc_header *)((uintptr_t)objects + kinds[kind].offset + kinds[kind].size * index);
}

struct pysc_header *
pysc_object_at(const struct pysc_objects *objects, uint32_t kind, uint32_t index)
{
    struct pysc_header *header;

    if (kind >= PYSC_OBJECT_KINDS || index >= objects->pools[kind].n)
        return NULL;
    header = header_of(objects, kind, index);
    return header->generation & 1 ? header : NULL;
}

void
pysc_memory_limit(struct pysc_objects *objects, uint64_t most)
{
    __atomic_store_n(&objects->memory_most, most, __ATOMIC_RELAXED);
}

uint32_t
pysc_memory_state(const struct pysc_objects *objects)
{
    return __atomic_load_n(&objects->memory_state, __ATOMIC_RELAXED);
}

/* Whether there is one for each of something that guests ask for, and may ask for as often as they like. */
static int
is_asked_for(uint32_t kind)
{
    return kind == PYSC_OBJECT_FILE || kind == PYSC_OBJECT_PIPE || kind == PYSC_OBJECT_COUNTER ||
           kind == PYSC_OBJECT_EPOLL || kind == PYSC_OBJECT_ITEM;
}

int64_t
pysc_object_new(struct pysc_objects *objects, uint32_t kind)
{
    struct pysc_header *header;
    uint32_t index, generation;
    struct pool *pool;

    if (kind >= PYSC_OBJECT_KINDS)
        return -EINVAL;
    if (is_asked_for(kind) && is_memory_out(objects))
        return -ENOMEM;
    pool = &objects->pools[kind];
    index = pool->free_head ? pool->free_head - 1 : pool->n;
    if (index >= kinds[kind].max)
        return -ENFILE;
    header = header_of(objects, kind, index);
    generation = header->generation + 1;
    if (pool->free_head)
        pool->free_head = header->next_free;
    else
        pool->n++;
    pool->living++;
    memset(header, 0, kinds[kind].size);
    header->generation = generation;
    header->index = index;
    return index;
}

/* What it has beside its structure. */
static void
free_memory(struct pysc_header *header, uint32_t kind)
{
    if (kind == PYSC_OBJECT_TABLE) {
        struct pysc_table *table = (struct pysc_table *)header;

        free(table->files);
        free(table->used);
        free(table->cloexec);
    } else if (kind == PYSC_OBJECT_DATA) {
        free(((struct pysc_data *)header)->small);
    } else if (kind == PYSC_OBJECT_PIPE) {
        free(((struct pysc_pipe *)header)->bytes);
    } else if (kind == PYSC_OBJECT_LOCKS) {
        free(((struct pysc_locks *)header)->records);
    } else if (kind == PYSC_OBJECT_DENTRY) {
        free(((struct pysc_dentry *)header)->name);
        free(((struct pysc_dentry *)header)->target);
    }
}

/* That, and what it holds of others. */
static void
free_contents(struct pysc_objects *objects, struct pysc_header *header, uint32_t kind)
{
    if (kind == PYSC_OBJECT_DATA) {
        pysc_data_donate(objects, (struct pysc_data *)header, -1);
    } else if (kind == PYSC_OBJECT_FILE) {
        if (((struct pysc_file *)header)->dentry)
            pysc_dentry_leave(objects, ((struct pysc_file *)header)->dentry - 1);
    } else if (kind == PYSC_OBJECT_CONTEXT) {
        pysc_context_set(objects, (struct pysc_context *)header, -1, 0, -1, 0);
    }
    free_memory(header, kind);
}

void
pysc_object_free(struct pysc_objects *objects, uint32_t kind, uint32_t index)
{
    struct pysc_header *header = pysc_object_at(objects, kind, index);

    if (!header)
        return;
    free_contents(objects, header, kind);
    header->generation++;
    header->next_free = objects->pools[kind].free_head;
    objects->pools[kind].free_head = index + 1;
    objects->pools[kind].living--;
}

struct pysc_header *
pysc_object_put(struct pysc_objects *objects, uint32_t kind, uint32_t index, uint32_t generation)
{
    struct pysc_header *header;

    if (kind >= PYSC_OBJECT_KINDS || index >= kinds[kind].max || !(generation & 1))
        return NULL;
    header = header_of(objects, kind, index);
    if (header->generation & 1 && header->generation != generation)
        return NULL;
    if (header->generation & 1)
        free_memory(header, kind);
    else
        objects->pools[kind].living++;
    if (index >= objects->pools[kind].n)
        objects->pools[kind].n = index + 1;
    memset(header, 0, kinds[kind].size);
    header->generation = generation;
    header->index = index;
    return header;
}

void
pysc_objects_settle(struct pysc_objects *objects)
{
    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS; kind++) {
        objects->pools[kind].free_head = 0;
        for (uint32_t index = objects->pools[kind].n; index--;) {
            struct pysc_header *header = header_of(objects, kind, index);

            if (header->generation & 1)
                continue;
            header->index = index;
            header->next_free = objects->pools[kind].free_head;
            objects->pools[kind].free_head = index + 1;
        }
    }
}

void
pysc_objects_forget(struct pysc_objects *objects)
{
    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS; kind++) {
        for (uint32_t index = 0; index < objects->pools[kind].n; index++) {
            struct pysc_header *header = header_of(objects, kind, index);

            if (header->generation & 1)
                free_memory(header, kind);
            memset(header, 0, kinds[kind].size);
        }
    }
    memset(objects->pools, 0, sizeof objects->pools);
    memset(objects->buckets, 0, sizeof objects->buckets);
    objects->unchecked = 0;
}

void
pysc_objects_free(struct pysc_objects *objects)
{
    if (objects->unchecked)
        pysc_objects_forget(objects);
    for (uint32_t kind = 0; kind < PYSC_OBJECT_KINDS; kind++) {
        for (uint32_t index = 0; index < objects->pools[kind].n; index++)
            pysc_object_free(objects, kind, index);
    }
    munmap(objects, sizeof *objects);
}

uint32_t
pysc_object_count(struct pysc_objects *objects, uint32_t kind)
{
    return kind < PYSC_OBJECT_KINDS ? objects->pools[kind].living : 0;
}

int64_t
pysc_object_next(const struct pysc_objects *objects, uint32_t kind, uint32_t index)
{
    for (; kind < PYSC_OBJECT_KINDS && index < objects->pools[kind].n; index++) {
        if (pysc_object_at(objects, kind, index))
            return index;
    }
    return -1;
}

struct pysc_table *
pysc_table_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_table *)pysc_object_at(objects, PYSC_OBJECT_TABLE, index);
}

struct pysc_file *
pysc_file_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_file *)pysc_object_at(objects, PYSC_OBJECT_FILE, index);
}

struct pysc_data *
pysc_data_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_data *)pysc_object_at(objects, PYSC_OBJECT_DATA, index);
}

struct pysc_pipe *
pysc_pipe_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_pipe *)pysc_object_at(objects, PYSC_OBJECT_PIPE, index);
}

struct pysc_counter *
pysc_counter_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_counter *)pysc_object_at(objects, PYSC_OBJECT_COUNTER, index);
}

struct pysc_budget *
pysc_budget_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_budget *)pysc_object_at(objects, PYSC_OBJECT_BUDGET, index);
}

struct pysc_super *
pysc_super_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_super *)pysc_object_at(objects, PYSC_OBJECT_SUPER, index);
}

struct pysc_pulse *
pysc_objects_pulse(struct pysc_objects *objects)
{
    return &objects->pulse;
}

int32_t
pysc_super_is_slow(struct pysc_objects *objects, uint32_t super, uint32_t what)
{
    const struct pysc_super *s;
    struct timespec now;
    int64_t until;

    if (!super)
        return 0;
    s = &objects->supers[super - 1];
    until = __atomic_load_n(&s->slow_until[what], __ATOMIC_RELAXED);
    if (s->remote || !until)
        return s->remote != 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec < until;
}

void
pysc_objects_watch(struct pysc_objects *objects, int32_t more)
{
    objects->watched += more;
}

void
pysc_reads_watch(struct pysc_objects *objects, int32_t more)
{
    objects->reads_watched += more;
    pysc_lent_end(objects);
}

void
pysc_lent_end(struct pysc_objects *objects)
{
    if (!objects->lent)
        return;
    objects->lent = 0;
    __atomic_store_n(objects->era_shown, ++objects->era, __ATOMIC_SEQ_CST);
}

struct pysc_context *
pysc_context_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_context *)pysc_object_at(objects, PYSC_OBJECT_CONTEXT, index);
}

struct pysc_inode *
pysc_inode_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_inode *)pysc_object_at(objects, PYSC_OBJECT_INODE, index);
}

struct pysc_epoll *
pysc_epoll_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_epoll *)pysc_object_at(objects, PYSC_OBJECT_EPOLL, index);
}

struct pysc_item *
pysc_item_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_item *)pysc_object_at(objects, PYSC_OBJECT_ITEM, index);
}

struct pysc_dentry *
pysc_dentry_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_dentry *)pysc_object_at(objects, PYSC_OBJECT_DENTRY, index);
}

struct pysc_locks *
pysc_locks_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_locks *)pysc_object_at(objects, PYSC_OBJECT_LOCKS, index);
}

struct pysc_handlers *
pysc_handlers_at(struct pysc_objects *objects, uint32_t index)
{
    return (struct pysc_handlers *)pysc_object_at(objects, PYSC_OBJECT_HANDLERS, index);
}
