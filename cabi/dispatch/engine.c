/* Set-up: engines and threads.  Spaces are in space.c. */

#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define GUEST_SPIN_NS 120000

/* The time stamp counter runs at one rate; a millisecond tells which. */
static uint32_t
cycles_of_ns(uint32_t ns)
{
    struct timespec begin, now;
    uint64_t first, elapsed;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    first = __rdtsc();
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
        elapsed = (uint64_t)((now.tv_sec - begin.tv_sec) * 1000000000LL + now.tv_nsec - begin.tv_nsec);
    } while (elapsed < 1000000);
    return (uint32_t)((__rdtsc() - first) * ns / elapsed);
}

struct pysc_engine *
pysc_engine_new(void)
{
    /* Zero pages until used. */
    struct pysc_engine *engine = mmap(NULL, sizeof *engine, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (engine == MAP_FAILED)
        return NULL;
    engine->quick_enough = QUICK_ENOUGH;
    engine->crowded_for = CROWDED_NS;
    engine->listener = -1;
    engine->counters = &engine->uncounted;
    engine->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (engine->epoll < 0) {
        munmap(engine, sizeof *engine);
        return NULL;
    }
    return engine;
}

void
pysc_engine_free(struct pysc_engine *engine)
{
    for (uint32_t i = 0; i < engine->n_spaces; i++)
        pysc_space_remove(engine, i);
    if (engine->shared)
        munmap(engine->shared, sizeof *engine->shared);
    if (engine->counters != &engine->uncounted)
        munmap(engine->counters, sizeof *engine->counters);
    close(engine->epoll);
    munmap(engine, sizeof *engine);
}

struct pysc_counters *
pysc_engine_counters(struct pysc_engine *engine)
{
    return engine->counters;
}

int64_t
pysc_engine_count_in(struct pysc_engine *engine, int32_t file)
{
    void *page = mmap(NULL, sizeof *engine->counters, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

    if (page == MAP_FAILED)
        return -errno;
    engine->counters = page;
    return 0;
}

int64_t
pysc_engine_share(struct pysc_engine *engine, int32_t file)
{
    void *page = mmap(NULL, sizeof *engine->shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

    if (page == MAP_FAILED)
        return -errno;
    engine->shared = page;
    if (sched_getaffinity(0, sizeof engine->cpus, &engine->cpus) == 0)
        engine->n_cpus = CPU_COUNT(&engine->cpus);
    engine->spin_cycles = cycles_of_ns(GUEST_SPIN_NS);
    return 0;
}

/* For a thread that will come, or has come and waits. */
static void
begin_slot(struct pysc_slot *slot)
{
    slot->sleeping = slot->waits = slot->early = slot->quiet = 0;
    slot->n_hints = 0;
    slot->clear_tid = slot->robust_list = slot->sigmask = 0;
    __atomic_store_n(&slot->turn, PYSC_TURN_SENTRY, __ATOMIC_SEQ_CST);
}

int64_t
pysc_thread_add(struct pysc_engine *engine, uint32_t number, uint32_t slot, int32_t stopped)
{
    struct space *space = space_at(engine, number);
    uint32_t thread = engine->free_thread ? engine->free_thread - 1 : engine->n_threads;

    if (!space || slot >= PYSC_SLOTS || space->threads[slot])
        return -EINVAL;
    if (thread >= MAX_THREADS)
        return -EAGAIN;
    if (engine->free_thread)
        engine->free_thread = engine->threads[thread].index;
    else
        engine->n_threads++;
    engine->threads[thread] = (struct thread){.slot = &space->channel->slots[slot],
                                              .space = number,
                                              .index = slot,
                                              .state = stopped ? STATE_STOPPED : STATE_RUNNING};
    if (stopped)
        begin_slot(&space->channel->slots[slot]);
    space->threads[slot] = thread + 1;
    if (slot >= space->slots)
        space->slots = slot + 1;
    return thread;
}

int64_t
pysc_thread_remove(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);
    int64_t held;

    if (!thread)
        return -ESRCH;
    forget_waiting(engine, number);
    held = pysc_thread_take_held(engine, number);
    end_bearing(engine, number);
    end_birth(engine, number);
    take_back(engine, thread);
    engine->spaces[thread->space].threads[thread->index] = 0;
    thread->state = STATE_FREE;
    thread->index = engine->free_thread;
    engine->free_thread = number + 1;
    return held;
}

struct pysc_slot *
pysc_thread_slot(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);

    return thread ? thread->slot : NULL;
}

int64_t
pysc_watch(struct pysc_engine *engine, int32_t file, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint32_t)file};

    if (epoll_ctl(engine->epoll, EPOLL_CTL_ADD, file, &event) == 0)
        return 0;
    if (errno == EEXIST && epoll_ctl(engine->epoll, EPOLL_CTL_MOD, file, &event) == 0)
        return 0;
    return -errno;
}

int64_t
pysc_unwatch(struct pysc_engine *engine, int32_t file)
{
    return epoll_ctl(engine->epoll, EPOLL_CTL_DEL, file, NULL) == 0 ? 0 : -errno;
}
