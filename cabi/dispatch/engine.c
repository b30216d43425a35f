/* Set-up: engines, spaces, threads. */

#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define GUEST_SPIN_NS 60000

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
    engine->quick_enough = 8;
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
    close(engine->epoll);
    munmap(engine, sizeof *engine);
}

void
pysc_expect(struct pysc_engine *engine, int32_t change)
{
    engine->expecting += change;
}

struct pysc_counters *
pysc_engine_counters(struct pysc_engine *engine)
{
    return &engine->counters;
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

static int64_t
listen_to(struct pysc_engine *engine, int32_t doorbell, uint32_t space)
{
    /* Edge-triggered: a ring needs no read. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = (1ULL << 32) | space};

    return epoll_ctl(engine->epoll, EPOLL_CTL_ADD, doorbell, &event) == 0 ? 0 : -errno;
}

int64_t
pysc_space_add(struct pysc_engine *engine, int32_t file, int32_t doorbell)
{
    uint32_t number = engine->free_space ? engine->free_space - 1 : engine->n_spaces;
    struct space *space = &engine->spaces[number];
    void *channel;
    int64_t failed;

    if (number >= MAX_SPACES)
        return -EAGAIN;
    channel = mmap(NULL, sizeof *space->channel, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (channel == MAP_FAILED)
        return -errno;
    failed = listen_to(engine, doorbell, number);
    if (!failed && !space->threads)
        space->threads = calloc(PYSC_SLOTS, sizeof *space->threads);
    if (failed || !space->threads) {
        munmap(channel, sizeof *space->channel);
        return failed ? failed : -ENOMEM;
    }
    if (engine->free_space)
        engine->free_space = space->next_free;
    else
        engine->n_spaces++;
    space->channel = channel;
    space->doorbell = doorbell;
    space->slots = 0;
    return number;
}

int64_t
pysc_space_remove(struct pysc_engine *engine, uint32_t number)
{
    struct space *space = &engine->spaces[number];

    if (number >= engine->n_spaces || !space->channel)
        return -ESRCH;
    for (uint32_t slot = 0; slot < space->slots; slot++) {
        if (space->threads[slot])
            pysc_thread_remove(engine, space->threads[slot] - 1);
    }
    free(space->threads);
    space->threads = NULL;
    for (uint32_t i = 0; i < N_HOT; i++) {
        if (engine->hot[i] == number + 1)
            engine->hot[i] = 0;
    }
    epoll_ctl(engine->epoll, EPOLL_CTL_DEL, space->doorbell, NULL);
    munmap(space->channel, sizeof *space->channel);
    space->channel = NULL;
    space->next_free = engine->free_space;
    engine->free_space = number + 1;
    return 0;
}

struct pysc_channel *
pysc_space_channel(struct pysc_engine *engine, uint32_t number)
{
    return number < engine->n_spaces ? engine->spaces[number].channel : NULL;
}

int64_t
pysc_thread_add(struct pysc_engine *engine, uint32_t number, uint32_t slot)
{
    struct space *space = &engine->spaces[number];
    uint32_t thread = engine->free_thread ? engine->free_thread - 1 : engine->n_threads;

    if (number >= engine->n_spaces || !space->channel || slot >= PYSC_SLOTS || space->threads[slot])
        return -EINVAL;
    if (thread >= MAX_THREADS)
        return -EAGAIN;
    if (engine->free_thread)
        engine->free_thread = engine->threads[thread].index;
    else
        engine->n_threads++;
    engine->threads[thread] = (struct thread){
        .slot = &space->channel->slots[slot], .space = number, .index = slot, .state = STATE_RUNNING};
    space->threads[slot] = thread + 1;
    if (slot >= space->slots)
        space->slots = slot + 1;
    return thread;
}

int64_t
pysc_thread_remove(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread)
        return -ESRCH;
    engine->spaces[thread->space].threads[thread->index] = 0;
    thread->state = STATE_FREE;
    thread->index = engine->free_thread;
    engine->free_thread = number + 1;
    return 0;
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
