/* The loop's wait: doorbells and watched descriptors in one epoll set, reports out of the channels that rang. */

#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>

#define MAX_READY 64

fast_path pysc_fast_paths[N_FAST_PATHS];

struct batch {
    struct pysc_event *events;
    uint32_t n, max;
};

/* Copy a report out of a slot, each word once.  Returns whether it is acceptable. */
static int
take_report(const struct pysc_slot *slot, struct pysc_event *event)
{
    const volatile struct pysc_slot *untrusted = slot;

    event->kind = untrusted->kind;
    event->nr = untrusted->nr;
    for (int i = 0; i < 6; i++)
        event->args[i] = untrusted->args[i];
    return (event->kind >= PYSC_KIND_SYSCALL && event->kind <= PYSC_KIND_SIGRETURN) ||
           (event->kind >= PYSC_KIND_BORN && event->kind <= PYSC_KIND_EXITING);
}

static void
take_turn(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    struct thread *thread = &engine->threads[number];
    struct pysc_event *event = &batch->events[batch->n];

    if (thread->state != STATE_RUNNING && thread->state != STATE_BUSY)
        return;
    if (__atomic_load_n(&thread->slot->turn, __ATOMIC_SEQ_CST) != PYSC_TURN_SENTRY)
        return;
    if (!take_report(thread->slot, event))
        event->kind = 0; /* the guest half is not ours any more: Python kills the space */
    event->id = number;
    thread->state = STATE_STOPPED;
    thread->n_commands = 0;
    thread->verdict = 0;
    thread->used = 0;
    if (event->kind == PYSC_KIND_SYSCALL && event->nr >= 0 && event->nr < N_FAST_PATHS && pysc_fast_paths[event->nr] &&
        pysc_fast_paths[event->nr](engine, number, event))
        return;
    batch->n++;
}

static int
scan_word(struct pysc_engine *engine, struct space *space, uint32_t word, struct batch *batch)
{
    uint64_t bits = __atomic_exchange_n(&space->channel->pending[word], 0, __ATOMIC_SEQ_CST);

    while (bits) {
        uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(bits);

        if (batch->n == batch->max) {
            __atomic_fetch_or(&space->channel->pending[word], bits, __ATOMIC_SEQ_CST);
            return -1;
        }
        bits &= bits - 1;
        if (slot < space->slots && space->threads[slot])
            take_turn(engine, space->threads[slot] - 1, batch);
    }
    return 0;
}

/* Returns -1 when the batch is full before the space is empty. */
static int
scan_space(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    struct space *space = &engine->spaces[number];

    if (number >= engine->n_spaces || !space->channel)
        return 0;
    for (uint32_t word = 0; word * 64 < space->slots; word++) {
        if (__atomic_load_n(&space->channel->pending[word], __ATOMIC_SEQ_CST) &&
            scan_word(engine, space, word, batch) < 0)
            return -1;
    }
    return 0;
}

/* A space that was not emptied must ring again by itself. */
static void
ring_again(struct pysc_engine *engine, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = (1ULL << 32) | number};

    epoll_ctl(engine->epoll, EPOLL_CTL_MOD, engine->spaces[number].doorbell, &event);
}

static void
take_ready(struct pysc_engine *engine, const struct epoll_event *ready, struct batch *batch)
{
    uint32_t id = (uint32_t)ready->data.u64;

    if (ready->data.u64 >> 32) {
        if (scan_space(engine, id, batch) < 0)
            ring_again(engine, id);
    } else if (batch->n < batch->max) {
        batch->events[batch->n++] = (struct pysc_event){.id = id, .kind = PYSC_READY, .args = {ready->events}};
    }
}

static int
sleep_in_epoll(struct pysc_engine *engine, int64_t timeout_ns, struct epoll_event *ready, int max)
{
    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    int n;

    if (timeout_ns != 0 && engine->shared)
        __atomic_store_n(&engine->shared->asleep, 1, __ATOMIC_SEQ_CST);
    n = epoll_pwait2(engine->epoll, ready, max, timeout_ns < 0 ? NULL : &timeout, NULL);
    if (n < 0)
        n = -errno;
    if (timeout_ns != 0 && engine->shared)
        __atomic_store_n(&engine->shared->asleep, 0, __ATOMIC_SEQ_CST);
    return n;
}

int64_t
pysc_wait(struct pysc_engine *engine, int64_t timeout_ns, struct pysc_event *events, uint32_t max)
{
    struct batch batch = {events, 0, max};
    struct epoll_event ready[MAX_READY];
    int n = sleep_in_epoll(engine, timeout_ns, ready, max < MAX_READY ? (int)max : MAX_READY);

    if (n < 0)
        return n == -EINTR ? 0 : n;
    for (int i = 0; i < n; i++)
        take_ready(engine, &ready[i], &batch);
    return batch.n;
}
