/* Private to the dispatcher: the pools of objects. */
#ifndef PYSC_OBJECT_H
#define PYSC_OBJECT_H

#include <stddef.h>
#include <stdint.h>

#include "objects.h"

#define MAX_TABLES 65536
#define MAX_FILES 1048576
#define MAX_DATA 1048576
#define MAX_PIPES 131072
#define MAX_COUNTERS 131072
#define MAX_BUDGETS 4096
#define MAX_BUDGET_DEPTH 8
#define MAX_REDIRECTIONS 4

#define FD_MAX (1U << 20)
#define PIPE_BUF_SIZE 4096

struct pool {
    uint32_t n;         /* indices that have ever been used */
    uint32_t free_head; /* index + 1 */
    uint32_t living;
};

struct pysc_objects {
    struct pool pools[PYSC_OBJECT_KINDS];
    struct pysc_table tables[MAX_TABLES];
    struct pysc_file files[MAX_FILES];
    struct pysc_data data[MAX_DATA];
    struct pysc_pipe pipes[MAX_PIPES];
    struct pysc_counter counters[MAX_COUNTERS];
    struct pysc_budget budgets[MAX_BUDGETS];
    int32_t watched;
};

static inline void
object_lock(struct pysc_header *header)
{
    while (__atomic_exchange_n(&header->lock, 1, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
}

static inline void
object_unlock(struct pysc_header *header)
{
    __atomic_store_n(&header->lock, 0, __ATOMIC_RELEASE);
}

static inline int
is_living(const struct pysc_header *header, uint32_t generation)
{
    return header->generation == generation && (generation & 1);
}

#endif
