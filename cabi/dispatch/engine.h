/* Private to the dispatcher: an engine's state.  Nothing here is visible to guests. */
#ifndef PYSC_ENGINE_H
#define PYSC_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "dispatch.h"

#define MAX_SPACES 16384
#define MAX_THREADS 65536
#define BITMAP_WORDS (PYSC_SLOTS / 64)

/* A thread's state, the sentry's own view of the protocol. */
enum state {
    STATE_FREE,
    STATE_RUNNING, /* a report may come */
    STATE_STOPPED, /* it waits for commands */
    STATE_BUSY,    /* it has been given commands that end in a report of PYSC_KIND_DONE */
};

struct thread {
    struct pysc_slot *slot;
    uint32_t space;
    uint32_t index; /* its slot's number; in a free one, the next free */
    uint8_t state;
    uint8_t verdict; /* the batch that is being written ends the stop */
    uint16_t n_commands;
    uint32_t used; /* bytes of the data area in this batch */
};

struct space {
    struct pysc_channel *channel; /* NULL: free */
    uint32_t *threads;            /* by slot: number + 1 */
    int32_t doorbell;
    uint32_t slots; /* all slots below have been used */
    uint32_t next_free;
};

struct pysc_engine {
    int32_t epoll;
    struct pysc_shared *shared;
    uint32_t n_spaces, free_space; /* numbers + 1 */
    uint32_t n_threads, free_thread;
    struct space spaces[MAX_SPACES];
    struct thread threads[MAX_THREADS];
};

/* Where fast paths plug in: asked before a system call's event goes to Python.  Returns whether it has been answered. */
typedef int (*fast_path)(struct pysc_engine *engine, uint32_t thread, const struct pysc_event *event);
#define N_FAST_PATHS 512
extern fast_path pysc_fast_paths[N_FAST_PATHS];

/* The live thread of that number, or NULL. */
static inline struct thread *
thread_at(struct pysc_engine *engine, uint32_t number)
{
    if (number >= engine->n_threads || engine->threads[number].state == STATE_FREE)
        return NULL;
    return &engine->threads[number];
}

#endif
