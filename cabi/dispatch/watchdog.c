/* The watchdog: a thread that looks at the loop's pulse now and then while the loop is awake.
 *
 * Where it finds the loop in a host call, in the same one a millisecond later, and not running, it marks the superblock:
 * workers make those calls for a while.  The more of the loop's time such calls take, the sooner one of them is found.
 * The loop that is away for long, by the time it has used or been blocked (having been preempted is nobody's fault), is
 * told so when it is back.  Once the loop has slept for a while the watchdog does, too, until the loop's next waking.
 * Nothing is interrupted, and the loop never waits for it.
 *
 * It also measures the memory that this process has for itself, and says when that is too much (pysc_memory_limit). */

#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 5000000       /* on a virtual machine a wake may cost 30 us: half a percent */
#define CLOSE_TICK_NS 1000000 /* where it is in a call */
#define IDLE_TICK_NS 10000000
#define IDLE_TICKS 10          /* and then it sleeps */
#define SLOW_TIMES 100         /* for so many times as long as a call took, no other is made: one hundredth is lost */
#define SLOW_MOST 10000000000
#define STALL_NS 10000000
#define PAGE_BYTES 4096
#define TRIM_TICKS 8           /* while memory is short; less than IDLE_TICKS */
#define STACK_SIZE 65536       /* of a thread that calls nothing deep */

struct pysc_watchdog {
    struct pysc_engine *engine;
    struct pysc_objects *objects;
    pthread_t thread;
    clockid_t clock;  /* what the loop's thread has used */
    int32_t status;   /* its stat(5) in procfs, or -1 */
    int32_t memory;   /* the process's statm in procfs, or -1 */
    int64_t first;    /* what it said first, bytes; 0: nothing yet */
    uint32_t tight;   /* how often in a row there was not enough */
    int32_t stopping;
    int64_t last;     /* when it looked before */
    int64_t since;    /* when the call that `at` tells of was seen first */
    uint32_t turn;    /* what the loop was about when it looked before; from then on: */
    int64_t used, blocked; /* used by Python's turns only: those of fast paths are short, unless they are blocked */
};

static int64_t
clock_ns(clockid_t clock)
{
    struct timespec now = {0};

    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void
nap(int64_t ns)
{
    struct timespec time = {0, ns};

    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static void
futex(uint32_t *word, int op, uint32_t value)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* Whether the loop's thread waits for something, rather than for a processor. */
static int
is_blocked(const struct pysc_watchdog *watchdog)
{
    char text[128], *state; /* the name in it has 15 bytes at most */
    ssize_t n = watchdog->status < 0 ? -1 : pread(watchdog->status, text, sizeof text - 1, 0);

    if (n <= 0)
        return 1;
    text[n] = 0;
    state = strrchr(text, ')');
    return !state || state[1] != ' ' || state[2] != 'R';
}

static void
mark(struct pysc_watchdog *watchdog, uint32_t at, int64_t now)
{
    uint32_t super = (at & ~PYSC_AT_SEEN) >> 1;
    int64_t pause = (now - watchdog->since) * SLOW_TIMES;

    if (super && super <= MAX_SUPERS)
        __atomic_store_n(&watchdog->objects->supers[super - 1].slow_until[at & 1],
                         now + (pause < SLOW_MOST ? pause : SLOW_MOST), __ATOMIC_RELAXED);
}

/* Count how long the loop has been away. */
static void
note_absence(struct pysc_watchdog *watchdog, uint32_t at, int64_t now, int blocked)
{
    struct pysc_pulse *pulse = &watchdog->objects->pulse;
    int64_t away;

    if (blocked) {
        watchdog->blocked += now - watchdog->last;
        pulse->stalled_at = at & ~PYSC_AT_SEEN;
    }
    away = watchdog->blocked + (watchdog->turn & 1 ? clock_ns(watchdog->clock) - watchdog->used : 0);
    if (away < STALL_NS)
        return;
    pulse->blocked = watchdog->blocked;
    __atomic_store_n(&pulse->stalled, away, __ATOMIC_RELEASE);
}

/* Returns how long not to look again. */
static int64_t
look(struct pysc_watchdog *watchdog)
{
    struct pysc_pulse *pulse = &watchdog->objects->pulse;
    uint32_t at = __atomic_load_n(&pulse->at, __ATOMIC_RELAXED), turn = __atomic_load_n(&pulse->turn, __ATOMIC_RELAXED);
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    int stays = (at & PYSC_AT_SEEN) != 0, again = turn == watchdog->turn && (stays || turn & 1);
    int blocked = again && is_blocked(watchdog);

    if (at && !stays &&
        __atomic_compare_exchange_n(&pulse->at, &at, at | PYSC_AT_SEEN, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        watchdog->since = now;
    if (stays && blocked)
        mark(watchdog, at, now);
    if (again) {
        note_absence(watchdog, at, now, blocked);
    } else {
        watchdog->turn = turn;
        watchdog->used = turn & 1 ? clock_ns(watchdog->clock) : 0;
        watchdog->blocked = 0;
    }
    watchdog->last = now;
    return at ? CLOSE_TICK_NS : TICK_NS;
}

/* Bytes that the process has for itself: neither files nor shared; 0: not known. */
static int64_t
own_memory(const struct pysc_watchdog *watchdog)
{
    long pages, shared;
    char text[128];
    ssize_t n = watchdog->memory < 0 ? -1 : pread(watchdog->memory, text, sizeof text - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = 0;
    return sscanf(text, "%*d %ld %ld", &pages, &shared) == 2 ? (pages - shared) * PAGE_BYTES : 0;
}

static void
weigh(struct pysc_watchdog *watchdog)
{
    uint64_t most = __atomic_load_n(&watchdog->objects->memory_most, __ATOMIC_RELAXED), more;
    int64_t used = most ? own_memory(watchdog) : 0;
    uint32_t state = PYSC_MEMORY_ENOUGH;

    if (!watchdog->first)
        watchdog->first = used;
    more = used > watchdog->first ? (uint64_t)(used - watchdog->first) : 0;
    if (more > most)
        state = more - most > most / 2 ? PYSC_MEMORY_OUT : PYSC_MEMORY_SHORT;
    watchdog->tight = state == PYSC_MEMORY_ENOUGH ? 0 : watchdog->tight + 1;
    if (watchdog->tight % TRIM_TICKS == 1)
        malloc_trim(0); /* what was freed, and is kept, is no less */
    if (state != watchdog->objects->memory_state)
        __atomic_store_n(&watchdog->objects->memory_state, state, __ATOMIC_RELAXED);
}

/* Sleep until the loop is awake. */
static void
doze(struct pysc_watchdog *watchdog)
{
    struct pysc_pulse *pulse = &watchdog->objects->pulse;

    __atomic_store_n(&pulse->dozing, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&pulse->asleep, __ATOMIC_SEQ_CST) && __atomic_load_n(&pulse->dozing, __ATOMIC_SEQ_CST) &&
           !__atomic_load_n(&watchdog->stopping, __ATOMIC_SEQ_CST))
        futex(&pulse->dozing, FUTEX_WAIT, 1);
    __atomic_store_n(&pulse->dozing, 0, __ATOMIC_SEQ_CST);
}

static void *
watch(void *argument)
{
    struct pysc_watchdog *watchdog = argument;
    const struct pysc_pulse *pulse = &watchdog->objects->pulse;
    uint32_t turn = 0, idle = 0;

    while (!__atomic_load_n(&watchdog->stopping, __ATOMIC_SEQ_CST)) {
        uint32_t now = __atomic_load_n(&pulse->turn, __ATOMIC_RELAXED);
        int asleep = __atomic_load_n(&pulse->asleep, __ATOMIC_RELAXED) != 0;

        weigh(watchdog);
        idle = asleep && now == turn ? idle + 1 : 0;
        turn = now;
        if (idle < IDLE_TICKS) {
            nap(asleep ? IDLE_TICK_NS : look(watchdog));
        } else {
            doze(watchdog);
            idle = 0;
        }
    }
    return NULL;
}

void
rouse_watchdog(struct pysc_pulse *pulse)
{
    __atomic_store_n(&pulse->dozing, 0, __ATOMIC_SEQ_CST);
    futex(&pulse->dozing, FUTEX_WAKE, 1);
}

void
take_stall(struct pysc_engine *engine, struct pysc_event *event)
{
    struct pysc_pulse *pulse = engine->pulse;

    *event = (struct pysc_event){.kind = PYSC_STALLED,
                                 .id = pulse->stalled_at >> 1,
                                 .args = {(uint64_t)pulse->stalled, (uint64_t)pulse->blocked, pulse->stalled_at & 1}};
    pulse->stalled = 0;
}

struct pysc_watchdog *
pysc_watchdog_start(struct pysc_engine *engine, struct pysc_objects *objects, int32_t status, int32_t memory,
                    int32_t *error)
{
    struct pysc_watchdog *watchdog = calloc(1, sizeof *watchdog);
    pthread_attr_t attributes;
    sigset_t all, before;

    *error = ENOMEM;
    if (!watchdog)
        return NULL;
    objects->pulse.turn |= 1; /* Python is who calls */
    watchdog->engine = engine;
    watchdog->objects = objects;
    watchdog->status = status;
    watchdog->memory = memory;
    *error = pthread_getcpuclockid(pthread_self(), &watchdog->clock);
    if (!*error)
        *error = pthread_attr_init(&attributes);
    if (*error) {
        free(watchdog);
        return NULL;
    }
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    *error = pthread_create(&watchdog->thread, &attributes, watch, watchdog);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (*error) {
        free(watchdog);
        return NULL;
    }
    engine->pulse = &objects->pulse;
    return watchdog;
}

void
pysc_watchdog_stop(struct pysc_watchdog *watchdog)
{
    watchdog->engine->pulse = NULL;
    __atomic_store_n(&watchdog->stopping, 1, __ATOMIC_SEQ_CST);
    rouse_watchdog(&watchdog->objects->pulse);
    pthread_join(watchdog->thread, NULL);
    if (watchdog->status >= 0)
        close(watchdog->status);
    if (watchdog->memory >= 0)
        close(watchdog->memory);
    free(watchdog);
}
