/* Private to the dispatcher: the pools of objects. */
#ifndef PYSC_OBJECT_H
#define PYSC_OBJECT_H

#include <stddef.h>
#include <stdint.h>

#include "attributes.h"
#include "objects.h"

#define MAX_TABLES 65536
#define MAX_FILES 1048576
#define MAX_DATA 1048576
#define MAX_PIPES 131072
#define MAX_COUNTERS 131072
#define MAX_BUDGETS 4096
#define MAX_EPOLLS 131072
#define MAX_ITEMS 1048576
#define MAX_ROUSED 65536 /* each thread once */
#define MAX_HANDLERS 65536
#define MAX_CONTEXTS 65536
#define MAX_LOCKS 1048576
#define MAX_DCACHES 4096
#define MAX_DENTRIES 1048576
#define MAX_SUPERS 4096
#define MANY_DENTRIES 65536 /* from here on some are given up for each that is added */
#define MAX_INODES 1048576
#define CROSSINGS 256 /* a power of two */
#define MOUNTS_NOTED 4096
#define DENTRY_BUCKETS 65536 /* a power of two */
#define MAX_BUDGET_DEPTH 8
#define MAX_REDIRECTIONS 4

#define FD_MAX (1U << 20)
#define PIPE_BUF_SIZE 4096
#define SMALL_FILE (1 << 16) /* contents in memory that are larger are a memfd (memory_file.py) */

/* What a name leads to. */
#define DENTRY_UNKNOWN 0 /* not asked */
#define DENTRY_ABSENT 1
#define DENTRY_PLAIN 2 /* a directory; a link or a regular file with one name */
#define DENTRY_OTHER 3

/* What Python says of it. */
#define SHOWN_NOTHING 0
#define SHOWN_INODE 1
#define SHOWN_ABSENT 2

struct pysc_dcache {
    struct pysc_header header;
    int32_t tree;
    uint32_t top;
    uint64_t device, host_device, host_mount;
    uint32_t overlaid, disabled;
    uint32_t super; /* index + 1; 0: not known */
    uint32_t missing; /* since it was loaded `tree` has not come yet */
};

/* Invariant: it is in its bucket, and counted among its parent's children, as long as it lives; the top is in none. */
struct pysc_dentry {
    struct pysc_header header;
    uint32_t cache, parent;
    uint32_t next; /* in the bucket: index + 1 */
    uint32_t children, users;
    uint8_t kind, withdrawn, merged, recent;
    uint8_t shown, covered;
    uint16_t length;
    uint32_t inode, inode_generation;
    uint32_t era;        /* of what is shown of names in it: it only grows, whatever the name is meanwhile */
    uint32_t absent_era; /* its parent's, when it was said to be absent */
    uint32_t saved;      /* as pysc_saved_next found when it began last */
    uint64_t hash;
    char *name;
    char *target; /* of a link; NULL: not asked */
    struct pysc_attributes attributes;
};

struct crossing {
    uint32_t mount, dentry; /* 0, 0: none, since ids of mounts are positive */
    uint32_t below, root;
};

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
    struct pysc_context contexts[MAX_CONTEXTS];
    struct pysc_dcache dcaches[MAX_DCACHES];
    struct pysc_dentry dentries[MAX_DENTRIES];
    struct pysc_inode inodes[MAX_INODES];
    struct pysc_epoll epolls[MAX_EPOLLS];
    struct pysc_item items[MAX_ITEMS];
    struct pysc_handlers handlers[MAX_HANDLERS];
    struct pysc_super supers[MAX_SUPERS];
    struct pysc_locks locks[MAX_LOCKS];
    struct pysc_pulse pulse;
    uint32_t buckets[DENTRY_BUCKETS]; /* index + 1 */
    struct crossing crossings[CROSSINGS];
    uint64_t executes[MOUNTS_NOTED / 64]; /* bits by mount */
    int32_t leaves_links;
    uint32_t hand; /* where the search for dentries to be given up goes on */
    uint64_t key; /* of the names' hashes */
    int32_t watched;
    int32_t reads_watched;
    uint32_t roused[MAX_ROUSED]; /* threads that waited for a pipe, and shall go on */
    uint32_t n_roused;
    uint64_t era, *era_shown; /* of what is lent: the second is on the page that guests see; NULL: none has been yet */
    uint32_t lent;    /* something has been in this one */
    uint32_t revoked; /* grows when descriptors that guests have are nothing any more */
    uint64_t memory_most; /* bytes that may be used for guests; 0: any number */
    uint32_t memory_state; /* PYSC_MEMORY_*; the watchdog's */
    uint32_t descriptors; /* pysc_descriptors() */
    uint32_t unchecked;   /* some were loaded */
};

/* The living object, or NULL. */
struct pysc_header *pysc_object_at(const struct pysc_objects *objects, uint32_t kind, uint32_t index);
/* One of that name, zeroed, or NULL: there is no such place, or another is there.  Free lists do not know yet. */
struct pysc_header *pysc_object_put(struct pysc_objects *objects, uint32_t kind, uint32_t index, uint32_t generation);
/* Make the free lists anew. */
void pysc_objects_settle(struct pysc_objects *objects);
/* The bytes that were taken last stay where they were until `taker` has stored them, or they come back. */
void pysc_pipe_owe(struct pysc_pipe *pipe, uint32_t taker, uint64_t size);
void pysc_pipe_settle(struct pysc_pipe *pipe, uint32_t taker, int undone);
/* Have none any more, whatever they say of each other. */
void pysc_objects_forget(struct pysc_objects *objects);

struct pysc_dentry *pysc_dentry_at(struct pysc_objects *objects, uint32_t index);
/* Put a dentry that was loaded where it is found: 0, or -EEXIST. */
int pysc_dentry_link(struct pysc_objects *objects, struct pysc_dentry *dentry);
/* Whether nothing is lost with it, but for what is below: the host can be asked again. */
int pysc_dentry_can_drop(const struct pysc_objects *objects, const struct pysc_dentry *dentry);
/* What a charge goes to besides, or NULL. */
struct pysc_budget *pysc_budget_above(struct pysc_objects *objects, const struct pysc_budget *budget);
/* The contents at the end of all redirections, or NULL. */
struct pysc_data *pysc_data_end(struct pysc_objects *objects, uint32_t index, uint32_t generation);

/* Around each host call of the loop's on a file of the host's that may wait: nothing but two stores. */
static inline void
enter_host(struct pysc_objects *objects, uint32_t super, uint32_t what)
{
    __atomic_store_n(&objects->pulse.at, super << 1 | what, __ATOMIC_RELAXED);
}

static inline void
leave_host(struct pysc_objects *objects)
{
    __atomic_store_n(&objects->pulse.at, 0, __ATOMIC_RELAXED);
}

static inline int
is_memory_out(const struct pysc_objects *objects)
{
    return __atomic_load_n(&objects->memory_state, __ATOMIC_RELAXED) == PYSC_MEMORY_OUT;
}

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
