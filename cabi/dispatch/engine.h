/* Private to the dispatcher: an engine's state.  Nothing here is visible to guests. */
#ifndef PYSC_ENGINE_H
#define PYSC_ENGINE_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "channel.h"
#include "object.h"
#include "dispatch.h"

#define MAX_SPACES 16384
#define MAX_THREADS 65536
#define N_HOT 4
#define QUICK_ENOUGH 8      /* so many dense reports in a row: spin */
#define CROWDED_NS 20000000 /* where others want the core, do not spin for so long */

/* A thread's state, the sentry's own view of the protocol. */
enum state {
    STATE_FREE,
    STATE_RUNNING, /* a report may come */
    STATE_STOPPED, /* it waits for commands */
    STATE_BUSY,    /* it has been given commands that end in a report of PYSC_KIND_DONE */
};

/* What a guest half keeps. */
struct kept {
    uint64_t serial; /* 0: nothing */
    uint32_t data, generation, opened;
};

/* What the next report of a thread is looked at for. */
enum pending_state {
    PENDING_NOTHING,
    PENDING_KEEP, /* it has been sent a descriptor: `call` goes on afterwards (kept.c) */
    PENDING_READ, /* its last verdict was a read, which may come back as undone */
    PENDING_TAKE, /* its last verdict was a read of the pipe `file`, which may come back as undone */
    PENDING_REPLY, /* its last verdict was Python's, which may come back as undone */
    PENDING_BYTES, /* there is no verdict yet: `call` waits for the pipe of what the thread holds */
};

struct pending {
    enum pending_state state;
    uint32_t file;       /* READ: the description whose offset was moved from `start` to `end`; TAKE: the pipe: index + 1 */
    uint32_t generation; /* of it */
    uint32_t place;      /* KEEP */
    uint32_t command;    /* KEEP: the index */
    int64_t start, end;
    struct kept kept; /* KEEP: what comes to be there */
    struct pysc_event call;
};

/* A clone(2) that has been ordered. */
struct bearing {
    uint64_t flags;
    int32_t pid;             /* of the process */
    uint32_t child;          /* thread */
    uint32_t next, previous; /* others: number + 1 */
};

/* An object that is used as long as it lives. */
struct reference {
    uint32_t index; /* + 1; 0: none */
    uint32_t generation;
};

struct thread {
    struct pysc_slot *slot;
    uint32_t space;
    uint32_t index; /* its slot's number; in a free one, the next free */
    uint8_t state;
    uint8_t verdict; /* the batch that is being written ends the stop */
    uint8_t framed;  /* the last verdict came with a signal frame */
    uint8_t unless;  /* it was one that depends on the commands before it */
    uint8_t n_commands;
    uint8_t quiet;   /* no signal is pending, for it or its process */
    uint8_t wanted;  /* Python waits for its next event: it must not wait here */
    uint8_t bearing; /* it has been told to clone: it stands in the engine's list */
    uint8_t lent;    /* its slot says that it may read from some numbers by itself */
    uint32_t used; /* bytes of the data area in this batch */
    struct reference table;    /* of descriptors */
    struct reference context;  /* root and working directory */
    struct reference handlers; /* what signals do */
    int32_t pid;               /* of its process: who takes a record lock */
    struct pysc_access access;
    struct pysc_limits limits;
    struct pending pending;
    uint32_t held; /* the description that it waits with, or waited until Python was told: index + 1, a reference */
    struct bearing clone; /* while `bearing` */
    uint32_t mother; /* who is told to make this one: number + 1; 0: nobody any more */
};

/* The file that was mapped last. */
struct mapping {
    uint32_t file; /* the description: index + 1; 0: none */
    uint32_t generation;
    int32_t fd; /* the space's own */
    int32_t may_execute;
};

#define N_MAPPED 16

struct space {
    struct pysc_channel *channel; /* NULL: free */
    uint32_t *threads;            /* by slot: number + 1 */
    struct pysc_space_ends ends;
    uint8_t announced; /* Python has been told whose it is */
    uint8_t unheard;   /* the number stands in the engine's list */
    uint8_t rings;     /* that were looked at, and are still in the socket */
    uint8_t lively;    /* it has reported since that was looked at last */
    uint8_t polled;    /* what its channel was told */
    uint32_t slots; /* all slots below have been used */
    uint32_t next_free;
    uint32_t receiver; /* the thread that a fast path has sent a descriptor: number + 1 */
    uint32_t sending;  /* Python sends some */
    uint32_t awaited;  /* Python waits for `receiver` */
    uint32_t next_place, revoked;
    uint64_t serial; /* of the last that was sent */
    struct kept kept[PYSC_KEPT];
    struct mapping mapping;
    struct pysc_mapped mapped[N_MAPPED]; /* what fast paths have mapped and Python has not heard of; dentries in use */
    uint32_t n_mapped;
    uint64_t attached_start, attached_end; /* as its channel says */
};

struct pysc_engine {
    struct pysc_objects *objects; /* NULL: no fast paths */
    struct pysc_pulse *pulse;     /* NULL: nobody watches */
    int32_t epoll;
    struct pysc_shared *shared;
    uint32_t n_spaces, free_space; /* numbers + 1 */
    uint32_t n_threads, free_thread;
    uint32_t hot[N_HOT]; /* spaces that are looked at while awake: numbers + 1 */
    uint32_t next_hot, first_hot;
    cpu_set_t cpus; /* where this thread may run */
    int32_t n_cpus;
    uint32_t caller_cpu; /* of the last report; the guest's word for it */
    int64_t placed;      /* CPU + 1 where the sentry is, negative: which it avoids, 0: anywhere */
    int32_t dense;       /* reports come close together: spin */
    uint32_t quick, quick_enough; /* dense reports in a row, and how many make it spin */
    uint32_t good_spins;
    int64_t lost, crowded_for, crowded_until; /* ns: spun while others had the core; do not spin until then */
    uint32_t spin_cycles;
    struct pysc_counters *counters, uncounted; /* the second: while nobody has given a page for the first */
    uint32_t told;     /* Python is being told of moves, and has not heard of them yet */
    uint32_t bearing; /* the first thread that has been told to clone: number + 1; a notification comes soon */
    int32_t listener;
    uint32_t unheard[MAX_SPACES], n_unheard; /* spaces to be heard and looked at before the sentry sleeps */
    uint32_t unfinished; /* some of them are to be looked at now */
    int64_t last_look;
    struct space spaces[MAX_SPACES];
    struct thread threads[MAX_THREADS];
};

/* fast.c: asked before a system call's event goes to Python.  Returns whether that is all; if not, the event goes on,
 * maybe as another one. */
int serve_call(struct pysc_engine *engine, uint32_t thread, struct pysc_event *event);
/* Go on with the call of a thread that waited (fast_queue.c): how many events, of which there may be two, that makes. */
uint32_t take_roused(struct pysc_engine *engine, struct pysc_event *events);
/* The thread ends. */
void forget_waiting(struct pysc_engine *engine, uint32_t thread);

/* watchdog.c: it sleeps, and the loop is awake; tell what the loop has been told. */
void rouse_watchdog(struct pysc_pulse *pulse);
void take_stall(struct pysc_engine *engine, struct pysc_event *event);

/* space.c: whether there is one thread. */
int is_alone(const struct space *space);

/* notify.c: answer what the listener has. */
void answer_notification(struct pysc_engine *engine);
/* The thread has cloned, if it was told to, or will not. */
void end_bearing(struct pysc_engine *engine, uint32_t thread);
/* The thread is there, or will not come: whoever was told to make it has done so. */
void end_birth(struct pysc_engine *engine, uint32_t thread);

/* Events for Python. */
struct batch {
    struct pysc_event *events;
    uint32_t n, max;
};

/* reports.c: take a space's.  -1: the batch is full before the space is empty. */
int scan_space(struct pysc_engine *engine, uint32_t space, struct batch *batch);
/* Let those spin that report, as many as there are processors beside the one that serves them. */
void share_spins(struct pysc_engine *engine);
/* Those of all hot spaces. */
void scan_hot(struct pysc_engine *engine, struct batch *batch);
/* A space becomes hot, and the one that has been so for longest is not any more. */
void heat(struct pysc_engine *engine, uint32_t space, struct batch *batch);
/* Those that waited for what has come meanwhile. */
void take_all_roused(struct pysc_engine *engine, struct batch *batch);

/* sockets.c: a space rang; who rings is served first, and the socket emptied when there is nothing else to do. */
void take_ring(struct pysc_engine *engine, uint32_t space, struct batch *batch);
/* Hear those that rang, and look at each once more: what was heard does not ring again. */
void hear_all(struct pysc_engine *engine, struct batch *batch);
/* A space is to be heard, and looked at, before the sentry sleeps. */
void look_later(struct pysc_engine *engine, uint32_t space);

/* kept.c: what the thread's numbers mean is not what it was when they were lent. */
void take_back(struct pysc_engine *engine, struct thread *thread);
/* What a report says about what was pending, before anybody looks at it. */
#define SETTLED_FOR_PYTHON 1 /* no fast path looks at it */
#define SETTLED_TELL 2       /* and Python waits for this */
int settle(struct pysc_engine *engine, uint32_t thread, struct pysc_event *event);
/* What `pending` says was taken from a pipe has been stored, or it comes back (fast_queue.c). */
void end_take(struct pysc_engine *engine, uint32_t thread, const struct pending *pending, int undone);
/* Tell the guest half, before its thread goes on, to close what is nothing any more. */
void forget_revoked(struct pysc_engine *engine, uint32_t thread);

/* How a space's socket stands in the epoll set: edge-triggered, so that what was said may be read later. */
static inline struct epoll_event
socket_event(uint32_t space)
{
    return (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.u64 = (1ULL << 32) | space};
}

/* The live space of that number, or NULL. */
static inline struct space *
space_at(struct pysc_engine *engine, uint32_t number)
{
    return number < engine->n_spaces && engine->spaces[number].channel ? &engine->spaces[number] : NULL;
}

/* That of a live thread. */
static inline struct space *
space_of(struct pysc_engine *engine, uint32_t thread)
{
    return &engine->spaces[engine->threads[thread].space];
}

/* The live thread of that number, or NULL. */
static inline struct thread *
thread_at(struct pysc_engine *engine, uint32_t number)
{
    if (number >= engine->n_threads || engine->threads[number].state == STATE_FREE)
        return NULL;
    return &engine->threads[number];
}

#endif
