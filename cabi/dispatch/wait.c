/* The loop's wait: guests' sockets and watched descriptors in one epoll set, reports out of the channels.
 *
 * Where requests come close together the sentry spins over the channels of those that were busy last; where they are rare
 * it sleeps, on the caller's core, since to wake a sleeper on another core costs many times as much.  Idle is asleep. */

#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <time.h>

#define MAX_READY 64
#define QUICK_NS 300000     /* a report that comes so soon after the last work could have been spun for */
#define QUICK_MOST 64       /* so many after spins that did not pay */
#define LOST_NS 300000      /* a moment's spin that took so long: others had the core */
#define GAINED_NS 20000     /* a spin that ended well */
#define LOST_MOST 20000000   /* so much more lost than gained: others want the core: CROWDED_NS, twice as long each time */
#define CROWDED_MOST 80000000
#define MANY_GOOD 100      /* after so many good ones in a dense time nothing of that is remembered */
#define PAID 16             /* a dense time with so many good spins has paid */
#define SPIN_NS 300000      /* spin for so long before sleeping */
#define LOOK_AT_FILES_NS 100000 /* watched descriptors are looked at at least so often while reports are dense */

static int64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void
take_ready(struct pysc_engine *engine, const struct epoll_event *ready, struct batch *batch)
{
    uint32_t id = (uint32_t)ready->data.u64;

    if (ready->data.u64 >> 32) {
        take_ring(engine, id, batch);
    } else if (id == (uint32_t)engine->listener) {
        answer_notification(engine);
    } else if (batch->n < batch->max) {
        batch->events[batch->n++] = (struct pysc_event){.id = id, .kind = PYSC_READY, .args = {ready->events}};
    }
}

/* The loop is going to sleep, if there is nothing to be done. */
static void
note_sleep(struct pysc_engine *engine)
{
    if (engine->pulse)
        __atomic_store_n(&engine->pulse->asleep, 1, __ATOMIC_RELAXED);
}

/* Where the watchdog slept, it does so no more: once in a while, since it does not fall asleep at once. */
static void
note_awake(struct pysc_engine *engine)
{
    if (engine->shared)
        __atomic_store_n(&engine->shared->asleep, 0, __ATOMIC_SEQ_CST);
    if (!engine->pulse)
        return;
    __atomic_store_n(&engine->pulse->asleep, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&engine->pulse->dozing, __ATOMIC_SEQ_CST))
        rouse_watchdog(engine->pulse);
}

static int
look_at_files(struct pysc_engine *engine, int64_t timeout_ns, struct batch *batch)
{
    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    struct epoll_event ready[MAX_READY];
    uint32_t room = batch->max - batch->n;
    int n, failed;

    if (room == 0)
        return 0;
    if (timeout_ns != 0)
        note_sleep(engine);
    n = epoll_pwait2(engine->epoll, ready, room < MAX_READY ? (int)room : MAX_READY, timeout_ns < 0 ? NULL : &timeout, NULL);
    failed = n < 0 ? -errno : 0;
    if (timeout_ns != 0)
        note_awake(engine);
    if (failed)
        return failed;
    for (int i = 0; i < n; i++)
        take_ready(engine, &ready[i], batch);
    return 0;
}

/* Be on the caller's core (near), or on another one.  A move costs some 25 us, less than to be woken from another core
 * once.  Returns whether it is there; where the host forbids it, it is wherever the host likes, and nothing is lost but
 * time. */
static int
place(struct pysc_engine *engine, int near)
{
    uint32_t cpu = engine->caller_cpu;
    int64_t wanted = near ? (int64_t)cpu + 1 : -(int64_t)cpu - 1;
    cpu_set_t set = engine->cpus;

    if (engine->placed == wanted)
        return 1;
    if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &engine->cpus))
        return 0;
    if (!near && sched_getcpu() != (int)cpu)
        return 1;
    if (near) {
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
    } else {
        CPU_CLR(cpu, &set);
    }
    engine->placed = sched_setaffinity(0, sizeof set, &set) == 0 ? wanted : 0;
    return engine->placed == wanted;
}

/* A spin ended well: that makes up for some of what was lost. */
static void
note_gain(struct pysc_engine *engine)
{
    engine->counters->spins++;
    if (++engine->good_spins == PAID)
        engine->quick_enough = QUICK_ENOUGH;
    engine->lost -= GAINED_NS;
    if (engine->lost > 0)
        return;
    engine->lost = 0;
    if (engine->good_spins > MANY_GOOD)
        engine->crowded_for = CROWDED_NS;
}

static void
note_vain(struct pysc_engine *engine, int64_t now, int64_t took)
{
    engine->counters->vain++;
    if (engine->good_spins < PAID && engine->quick_enough < QUICK_MOST)
        engine->quick_enough *= 2;
    if (took < LOST_NS)
        return;
    engine->lost += took;
    if (engine->lost < LOST_MOST)
        return;
    engine->lost = 0;
    engine->crowded_until = now + engine->crowded_for;
    if (engine->crowded_for < CROWDED_MOST)
        engine->crowded_for *= 2;
}

/* Returns whether a report came, answered already or for Python. */
static int
spin(struct pysc_engine *engine, int64_t now, int64_t until, struct batch *batch)
{
    uint64_t reports = engine->counters->reports;
    int64_t before;

    do {
        before = now;
        for (int i = 0; i < 32; i++) {
            scan_hot(engine, batch);
            if (engine->counters->reports != reports) {
                note_gain(engine);
                return 1;
            }
            __builtin_ia32_pause();
        }
        if (engine->bearing && (look_at_files(engine, 0, batch) != 0 || batch->n))
            return 1;
        now = now_ns();
    } while (now < until && now - before < LOST_NS);
    note_vain(engine, now, now - before);
    return 0;
}

/* Keep the record of how dense reports are: how long this one was waited for. */
static void
note_arrival(struct pysc_engine *engine, int64_t idle_since)
{
    int64_t now = now_ns();

    if (now - idle_since < QUICK_NS) {
        if (!engine->dense && ++engine->quick >= engine->quick_enough && engine->n_cpus > 1 &&
            now >= engine->crowded_until) {
            engine->dense = place(engine, 0);
            engine->good_spins = 0;
            engine->shared->spin_cycles = engine->dense ? engine->spin_cycles : 0;
        }
    } else {
        engine->quick = 0;
    }
}

/* Python begins or ends a turn. */
static void
note_turn(struct pysc_engine *engine)
{
    if (engine->pulse)
        __atomic_store_n(&engine->pulse->turn, engine->pulse->turn + 1, __ATOMIC_RELAXED);
}

static int
sleep_until(struct pysc_engine *engine, int64_t timeout_ns, struct batch *batch)
{
    int failed;

    engine->counters->sleeps++;
    if (engine->dense)
        engine->quick = 0; /* while reports are rare each is slept for: that says nothing of how close they come */
    engine->dense = 0;
    engine->shared->spin_cycles = 0;
    if (engine->n_cpus > 1)
        place(engine, 1);
    __atomic_store_n(&engine->shared->asleep, 1, __ATOMIC_SEQ_CST);
    scan_hot(engine, batch);
    if (batch->n == 0)
        hear_all(engine, batch);
    failed = look_at_files(engine, batch->n || engine->n_unheard ? 0 : timeout_ns, batch);
    __atomic_store_n(&engine->shared->asleep, 0, __ATOMIC_SEQ_CST);
    return failed;
}

/* Look, then spin or sleep until `deadline`; reports that fast paths answer leave nothing in the batch. */
static int
wait_once(struct pysc_engine *engine, int64_t now, int64_t deadline, struct batch *batch)
{
    int failed = 0;

    if (engine->unfinished)
        hear_all(engine, batch);
    scan_hot(engine, batch);
    if (now - engine->last_look > LOOK_AT_FILES_NS || (batch->n == 0 && now >= deadline)) {
        engine->last_look = now;
        share_spins(engine);
        engine->unfinished |= engine->n_unheard; /* a full socket would not ring: not much later */
        failed = look_at_files(engine, 0, batch);
    }
    if (batch->n || failed || now >= deadline)
        return failed;
    if (engine->dense && spin(engine, now, deadline - now < SPIN_NS ? deadline : now + SPIN_NS, batch))
        return 0;
    return sleep_until(engine, deadline == INT64_MAX ? -1 : deadline - now, batch);
}

int64_t
pysc_wait(struct pysc_engine *engine, int64_t timeout_ns, struct pysc_event *events, uint32_t max)
{
    struct batch batch = {events, 0, max};
    int64_t deadline = timeout_ns < 0 ? INT64_MAX : now_ns() + timeout_ns;
    int failed;

    if (!engine->shared || max < 2)
        return -EINVAL; /* pysc_engine_share comes first */
    engine->told = 0;
    note_turn(engine);
    if (engine->pulse && engine->pulse->stalled)
        take_stall(engine, &events[batch.n++]);
    take_all_roused(engine, &batch);
    if (batch.n)
        timeout_ns = 0;
    do {
        uint64_t reports = engine->counters->reports;
        int64_t now = now_ns();

        failed = wait_once(engine, now, deadline, &batch);
        if (engine->counters->reports != reports)
            note_arrival(engine, now);
    } while (batch.n == 0 && !failed && timeout_ns != 0 && (timeout_ns < 0 || now_ns() < deadline));
    note_turn(engine);
    /* -EINTR: Python's handlers want to run. */
    return failed && failed != -EINTR ? failed : (int64_t)batch.n;
}
