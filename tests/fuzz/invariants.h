/* What holds of the pools of objects between any two calls, kind by kind: what loads a saved one would have to check. */
#ifndef PYSC_INVARIANTS_H
#define PYSC_INVARIANTS_H

#include "object.h"

#define KINDS(each)                                                                                                    \
    each(TABLE, tables) each(FILE, files) each(DATA, data) each(PIPE, pipes) each(COUNTER, counters)                   \
    each(BUDGET, budgets) each(CONTEXT, contexts) each(DCACHE, dcaches) each(DENTRY, dentries) each(INODE, inodes)     \
    each(EPOLL, epolls) each(ITEM, items) each(HANDLERS, handlers) each(SUPER, supers)                        \
    each(LOCKS, locks)

static inline int
lives(const struct pysc_header *header)
{
    return header->generation & 1;
}

/* Whether `number`, an index + 1, names one that lives, or is 0. */
#define NAMES(objects, KIND, those, number)                                                                            \
    (!(number) || ((number) <= (objects)->pools[PYSC_OBJECT_##KIND].n && lives(&(objects)->those[(number) - 1].header)))

/* The living have their indices, and the others are the free ones, each once. */
#define CHECK_POOL(KIND, those)                                                                                        \
    do {                                                                                                               \
        const struct pool *all = &objects->pools[PYSC_OBJECT_##KIND];                                                  \
        uint32_t living = 0, free = 0;                                                                                 \
                                                                                                                       \
        for (uint32_t i = 0; i < all->n; i++) {                                                                        \
            living += lives(&objects->those[i].header) != 0;                                                           \
            CHECK(objects->those[i].header.index == i && !objects->those[i].header.lock);                              \
        }                                                                                                              \
        CHECK(living == all->living);                                                                                  \
        for (uint32_t number = all->free_head; number; number = objects->those[number - 1].header.next_free) {         \
            CHECK(number <= all->n && !lives(&objects->those[number - 1].header));                                     \
            CHECK(++free <= all->n);                                                                                   \
        }                                                                                                              \
        CHECK(living + free == all->n);                                                                                \
    } while (0);

static inline void
check_table(const struct pysc_objects *objects, const struct pysc_table *table, uint32_t *named)
{
    uint32_t count = 0;

    CHECK(table->capacity % 64 == 0);
    for (uint32_t fd = 0; fd < table->capacity; fd++) {
        int used = table->used[fd / 64] >> (fd % 64) & 1;

        CHECK(used == (table->files[fd] != 0) && NAMES(objects, FILE, files, table->files[fd]));
        CHECK(used || !(table->cloexec[fd / 64] >> (fd % 64) & 1));
        CHECK(used || fd >= table->lowest);
        count += (uint32_t)used;
        if (used)
            named[table->files[fd] - 1]++;
    }
    CHECK(count == table->count);
}

static inline void
check_tables(const struct pysc_objects *objects)
{
    uint32_t n = objects->pools[PYSC_OBJECT_FILE].n, *named = calloc(n + 1, sizeof *named);

    for (uint32_t i = 0; i < objects->pools[PYSC_OBJECT_TABLE].n; i++) {
        if (lives(&objects->tables[i].header))
            check_table(objects, &objects->tables[i], named);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct pysc_file *file = &objects->files[i];

        CHECK(!lives(&file->header) || (file->references >= named[i] && NAMES(objects, DENTRY, dentries, file->dentry)));
    }
    free(named);
}

static inline void
check_contents(const struct pysc_objects *objects)
{
    for (uint32_t i = 0; i < objects->pools[PYSC_OBJECT_DATA].n; i++) {
        const struct pysc_data *data = &objects->data[i];

        if (!lives(&data->header))
            continue;
        CHECK(!data->small == !data->small_size && NAMES(objects, SUPER, supers, data->super));
        CHECK(data->where != PYSC_DATA_MEMORY || data->file >= 0 || data->length <= data->small_size);
        CHECK(data->where != PYSC_DATA_OTHER || data->target < objects->pools[PYSC_OBJECT_DATA].n);
    }
    for (uint32_t i = 0; i < objects->pools[PYSC_OBJECT_PIPE].n; i++) {
        const struct pysc_pipe *pipe = &objects->pipes[i];

        CHECK(!lives(&pipe->header) || (pipe->size <= pipe->allocated && !(pipe->allocated & (pipe->allocated - 1))));
        CHECK(!lives(&pipe->header) || !pipe->bytes == !pipe->allocated);
    }
}

/* Up from each dentry lies the top of its cache; each is in its bucket, and counted by its parent. */
static inline void
check_names(const struct pysc_objects *objects)
{
    uint32_t n = objects->pools[PYSC_OBJECT_DENTRY].n, *children = calloc(n + 1, sizeof *children), in_buckets = 0;

    for (uint32_t i = 0; i < n; i++) {
        const struct pysc_dentry *dentry = &objects->dentries[i];
        uint32_t steps = 0;

        if (!lives(&dentry->header))
            continue;
        CHECK(dentry->cache < objects->pools[PYSC_OBJECT_DCACHE].n && dentry->parent < n);
        if (dentry->parent == i)
            continue;
        children[dentry->parent]++;
        in_buckets++;
        for (uint32_t up = i; objects->dentries[up].parent != up; up = objects->dentries[up].parent) {
            CHECK(lives(&objects->dentries[up].header) && objects->dentries[up].cache == dentry->cache);
            CHECK(++steps <= n);
        }
    }
    for (uint32_t i = 0; i < n; i++)
        CHECK(!lives(&objects->dentries[i].header) || objects->dentries[i].children == children[i]);
    for (uint32_t i = 0; i < DENTRY_BUCKETS; i++) {
        for (uint32_t number = objects->buckets[i]; number; number = objects->dentries[number - 1].next) {
            CHECK(number <= n && lives(&objects->dentries[number - 1].header) && in_buckets--);
            CHECK((objects->dentries[number - 1].hash & (DENTRY_BUCKETS - 1)) == i);
        }
    }
    CHECK(in_buckets == 0);
    free(children);
}

static inline void
check_ready(const struct pysc_objects *objects)
{
    uint32_t n = objects->pools[PYSC_OBJECT_ITEM].n, ready = 0;

    for (uint32_t i = 0; i < n; i++)
        ready += lives(&objects->items[i].header) && objects->items[i].ready;
    for (uint32_t i = 0; i < objects->pools[PYSC_OBJECT_EPOLL].n; i++) {
        uint32_t last = 0;

        if (!lives(&objects->epolls[i].header))
            continue;
        for (uint32_t number = objects->epolls[i].first; number; number = objects->items[number - 1].next) {
            CHECK(number <= n && lives(&objects->items[number - 1].header) && ready--);
            CHECK(objects->items[number - 1].ready && objects->items[number - 1].previous == last);
            last = number;
        }
        CHECK(objects->epolls[i].last == last);
    }
    CHECK(ready == 0);
}

static inline void
check_locks(const struct pysc_locks *locks)
{
    CHECK(locks->n <= locks->room);
    for (uint32_t i = 0; i < locks->n; i++) {
        const struct pysc_lock *a = &locks->records[i];

        CHECK(a->start <= a->end && a->end <= PYSC_LOCK_END && (i == 0 || locks->records[i - 1].start <= a->start));
        CHECK(pysc_locks_conflict(locks, a) < 0);
        for (uint32_t j = i + 1; j < locks->n && a->owner == locks->records[j].owner; j++)
            CHECK(a->end + (a->exclusive == locks->records[j].exclusive) < locks->records[j].start);
    }
}

static inline void
check_invariants(const struct pysc_objects *objects)
{
    KINDS(CHECK_POOL)
    check_tables(objects);
    check_contents(objects);
    check_names(objects);
    check_ready(objects);
    for (uint32_t i = 0; i < objects->pools[PYSC_OBJECT_LOCKS].n; i++) {
        if (lives(&objects->locks[i].header))
            check_locks(&objects->locks[i]);
    }
}

#endif
