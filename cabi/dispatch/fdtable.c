/* Descriptor tables: three arrays that double, and a hint below which nothing is free. */

#define _GNU_SOURCE
#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"

#define FIRST_CAPACITY 64

static int
grow(struct pysc_table *table, uint32_t fd)
{
    uint32_t capacity = table->capacity ? table->capacity : FIRST_CAPACITY;
    uint32_t *files;
    uint64_t *used, *cloexec;

    while (capacity <= fd)
        capacity *= 2;
    files = realloc(table->files, capacity * sizeof *files);
    if (files)
        table->files = files;
    used = realloc(table->used, capacity / 8);
    if (used)
        table->used = used;
    cloexec = realloc(table->cloexec, capacity / 8);
    if (cloexec)
        table->cloexec = cloexec;
    if (!files || !used || !cloexec)
        return -ENOMEM;
    memset(files + table->capacity, 0, (capacity - table->capacity) * sizeof *files);
    memset(used + table->capacity / 64, 0, (capacity - table->capacity) / 8);
    memset(cloexec + table->capacity / 64, 0, (capacity - table->capacity) / 8);
    table->capacity = capacity;
    return 0;
}

static int
is_open(const struct pysc_table *table, int64_t fd)
{
    return fd >= 0 && fd < table->capacity && table->files[fd];
}

static void
mark(uint64_t *words, uint32_t fd, int value)
{
    if (value)
        words[fd / 64] |= 1ULL << (fd % 64);
    else
        words[fd / 64] &= ~(1ULL << (fd % 64));
}

int64_t
pysc_table_get(const struct pysc_table *table, int64_t fd)
{
    return is_open(table, fd) ? (int64_t)table->files[fd] - 1 : -EBADF;
}

/* The lowest free number from `fd` on, which may be as large as the capacity. */
static uint32_t
lowest_free(const struct pysc_table *table, uint32_t fd)
{
    while (fd < table->capacity) {
        uint64_t taken = table->used[fd / 64] | ((1ULL << (fd % 64)) - 1);

        if (~taken)
            return (fd & ~63U) + (uint32_t)__builtin_ctzll(~taken);
        fd = (fd | 63) + 1;
    }
    return fd;
}

int64_t
pysc_table_put(struct pysc_table *table, uint32_t fd, uint32_t file, int32_t cloexec)
{
    if (fd >= FD_MAX || is_open(table, fd))
        return -EINVAL;
    if (fd >= table->capacity && grow(table, fd) < 0)
        return -ENOMEM;
    table->files[fd] = file + 1;
    mark(table->used, fd, 1);
    mark(table->cloexec, fd, cloexec);
    table->count++;
    if (fd == table->lowest)
        table->lowest++;
    return fd;
}

int64_t
pysc_table_lowest(const struct pysc_table *table)
{
    return lowest_free(table, table->lowest);
}

int64_t
pysc_table_install(struct pysc_table *table, uint32_t file, uint32_t lowest, uint32_t limit, int32_t cloexec)
{
    uint32_t fd = lowest_free(table, lowest > table->lowest ? lowest : table->lowest);

    if (lowest <= table->lowest)
        table->lowest = fd;
    if (fd >= limit || fd >= FD_MAX)
        return -EMFILE;
    return pysc_table_put(table, fd, file, cloexec);
}

int64_t
pysc_table_remove(struct pysc_objects *objects, struct pysc_table *table, int64_t fd)
{
    int64_t file = pysc_table_get(table, fd);

    if (file < 0)
        return file;
    if (table->lent && fd < PYSC_LENT) {
        table->lent = 0;
        pysc_lent_end(objects);
    }
    table->files[fd] = 0;
    mark(table->used, (uint32_t)fd, 0);
    mark(table->cloexec, (uint32_t)fd, 0);
    table->count--;
    if (fd < table->lowest)
        table->lowest = (uint32_t)fd;
    return file;
}

int64_t
pysc_table_next(const struct pysc_table *table, uint32_t fd, int32_t cloexec_only)
{
    const uint64_t *words = cloexec_only ? table->cloexec : table->used;

    while (fd < table->capacity) {
        uint64_t here = words[fd / 64] >> (fd % 64);

        if (here)
            return fd + (uint32_t)__builtin_ctzll(here);
        fd = (fd | 63) + 1;
    }
    return -1;
}

int64_t
pysc_table_cloexec(const struct pysc_table *table, int64_t fd)
{
    if (!is_open(table, fd))
        return -EBADF;
    return table->cloexec[fd / 64] >> (fd % 64) & 1;
}

int64_t
pysc_table_set_cloexec(struct pysc_table *table, int64_t fd, int32_t value)
{
    if (!is_open(table, fd))
        return -EBADF;
    mark(table->cloexec, (uint32_t)fd, value);
    return 0;
}

int64_t
pysc_table_copy(struct pysc_objects *objects, struct pysc_table *table)
{
    int64_t index = pysc_object_new(objects, PYSC_OBJECT_TABLE);
    struct pysc_table *copy;

    if (index < 0)
        return index;
    copy = &objects->tables[index];
    if (table->capacity) {
        if (grow(copy, table->capacity - 1) < 0) {
            pysc_object_free(objects, PYSC_OBJECT_TABLE, (uint32_t)index);
            return -ENOMEM;
        }
        memcpy(copy->files, table->files, table->capacity * sizeof *table->files);
        memcpy(copy->used, table->used, table->capacity / 8);
        memcpy(copy->cloexec, table->cloexec, table->capacity / 8);
    }
    copy->count = table->count;
    copy->lowest = table->lowest;
    copy->limit = table->limit;
    copy->bounded = table->bounded;
    for (int64_t fd = pysc_table_next(table, 0, 0); fd >= 0; fd = pysc_table_next(table, (uint32_t)fd + 1, 0))
        objects->files[table->files[fd] - 1].references++;
    return index;
}
