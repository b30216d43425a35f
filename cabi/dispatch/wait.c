/* The loop's wait: guests' sockets and watched descriptors in one epoll set, reports out of the channels.
 *
 * Where requests come close together the sentry spins over the few channels that were busy last ("hot": they need not
 * ring while it is awake); where they are rare it sleeps, on the caller's core, since to wake a sleeper on another core
 * costs many times as much.  Idle is asleep. */

#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <x86intrin.h>

#define MAX_READY 64
#define QUICK_NS 100000     /* a report that comes so soon after the last work could have been spun for */
#define QUICK_MOST 64       /* so many after spins that did not pay */
#define LOST_NS 300000      /* a moment's spin that took so long: others had the core */
#define GAINED_NS 20000     /* a spin that ended well */
#define LOST_MOST 20000000   /* so much more lost than gained: others want the core: CROWDED_NS, twice as long each time */
#define CROWDED_MOST 80000000
#define MANY_GOOD 100      /* after so many good ones in a dense time nothing of that is remembered */
#define PAID 16             /* a dense time with so many good spins has paid */
#define SPIN_NS 100000      /* spin for so long before sleeping */
#define WAKE_NS 200000      /* and for so long after waking a caller on another core */
#define MOST_HEARD 256      /* more than a socket holds */
#define MOST_UNHEARD 8      /* it has room for many times as many */
#define LOOK_AT_FILES_NS 100000 /* watched descriptors are looked at at least so often while reports are dense */

struct batch {
    struct pysc_event *events;
    uint32_t n, max;
};

static int64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Copy a report out of a slot, each word once.  Returns whether it is one that may come now. */
static int
take_report(const struct thread *thread, struct pysc_event *event)
{
    const volatile struct pysc_slot *untrusted = thread->slot;

    event->kind = untrusted->kind;
    event->nr = untrusted->nr;
    for (int i = 0; i < 6; i++)
        event->args[i] = untrusted->args[i];
    if (thread->state == STATE_BUSY)
        return event->kind == PYSC_KIND_DONE;
    if (event->kind == PYSC_KIND_DONE)
        return thread->unless;
    if (event->kind == PYSC_KIND_UNDONE)
        return thread->pending.state == PENDING_READ;
    return (event->kind >= PYSC_KIND_SYSCALL && event->kind <= PYSC_KIND_SIGRETURN) || event->kind == PYSC_KIND_BORN ||
           (event->kind == PYSC_KIND_FRAME_FAULT && thread->framed);
}

/* How much of the data area buffers that came as hints take. */
static uint32_t
hinted(const struct pysc_slot *slot)
{
    const volatile struct pysc_slot *untrusted = slot;
    uint32_t n = untrusted->n_hints, used = 0;

    for (uint32_t i = 0; i < n && i < PYSC_HINTS; i++) {
        uint64_t offset = untrusted->hints[i].offset, end = offset + untrusted->hints[i].size;

        if (offset < PYSC_DATA_ROOM && end > used)
            used = end < PYSC_DATA_ROOM ? (uint32_t)end : PYSC_DATA_ROOM;
    }
    return (used + 7) & ~7U;
}

/* Room for two events is there. */
static void
take_turn(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    struct thread *thread = &engine->threads[number];
    struct pysc_event *event = &batch->events[batch->n];
    int settled = 0;

    if (thread->state != STATE_RUNNING && thread->state != STATE_BUSY)
        return;
    if (__atomic_load_n(&thread->slot->turn, __ATOMIC_SEQ_CST) != PYSC_TURN_SENTRY)
        return;
    if (!take_report(thread, event))
        event->kind = 0; /* the guest half is not ours any more: Python kills the space */
    event->id = number;
    engine->counters.reports++;
    end_bearing(engine, number);
    if (thread->mother)
        end_bearing(engine, thread->mother - 1);
    thread->state = STATE_STOPPED;
    thread->n_commands = 0;
    thread->verdict = 0;
    thread->used = hinted(thread->slot); /* between two batches of one call, too: the hint is still looked at */
    engine->caller_cpu = *(volatile uint32_t *)&thread->slot->cpu;
    if (thread->pending.state != PENDING_NOTHING)
        settled = settle(engine, number, event);
    if (settled & SETTLED_TELL) {
        event[1] = event[0];
        *event++ = (struct pysc_event){.id = number, .kind = PYSC_DONATED};
        batch->n++;
    }
    if (!(settled & SETTLED_FOR_PYTHON) && event->kind == PYSC_KIND_SYSCALL && serve_call(engine, number, event)) {
        engine->counters.served++;
        return;
    }
    if (event->kind != PYSC_MOVED)
        thread->wanted = 0;
    batch->n++;
}

/* Those that waited for what has come meanwhile. */
static void
take_all_roused(struct pysc_engine *engine, struct batch *batch)
{
    while (engine->objects && engine->objects->n_roused && batch->max - batch->n >= 2) {
        if (take_roused(engine, &batch->events[batch->n]))
            engine->counters.served++;
        else
            batch->n++;
    }
}

static int
scan_word(struct pysc_engine *engine, struct space *space, uint32_t word, struct batch *batch)
{
    uint64_t bits = __atomic_exchange_n(&space->channel->pending[word], 0, __ATOMIC_SEQ_CST);

    while (bits) {
        uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(bits);

        if (batch->max - batch->n < 2) { /* what one report may be */
            __atomic_fetch_or(&space->channel->pending[word], bits, __ATOMIC_SEQ_CST);
            return -1;
        }
        bits &= bits - 1;
        if (slot < space->slots && space->threads[slot])
            take_turn(engine, space->threads[slot] - 1, batch);
        take_all_roused(engine, batch);
    }
    return 0;
}

/* Returns -1 when the batch is full before the space is empty. */
static int
scan_space(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    struct space *space = space_at(engine, number);

    if (!space)
        return 0;
    for (uint32_t word = 0; word * 64 < space->slots; word++) {
        if (__atomic_load_n(&space->channel->pending[word], __ATOMIC_SEQ_CST) &&
            scan_word(engine, space, word, batch) < 0)
            return -1;
    }
    return 0;
}

static void
look_later(struct pysc_engine *engine, uint32_t number)
{
    struct space *space = &engine->spaces[number];

    if (!space->unheard)
        engine->unheard[engine->n_unheard++] = number;
    space->unheard = 1;
}

/* Who sent the message, as the host says; 0: it does not. */
static int32_t
sender(struct msghdr *message)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    struct ucred who;

    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS ||
        header->cmsg_len < CMSG_LEN(sizeof who))
        return 0;
    memcpy(&who, CMSG_DATA(header), sizeof who);
    return who.pid;
}

static void
announce(struct pysc_engine *engine, uint32_t number, int32_t pid, struct batch *batch)
{
    struct space *space = &engine->spaces[number];

    for (uint32_t slot = 0; slot < space->slots; slot++) {
        if (space->threads[slot] && engine->threads[space->threads[slot] - 1].mother)
            end_bearing(engine, engine->threads[space->threads[slot] - 1].mother - 1);
    }
    space->announced = 1;
    batch->events[batch->n++] = (struct pysc_event){.id = number, .kind = PYSC_BORN, .nr = pid};
}

/* Empty a space's socket.  What guests say there is that they are there; the first to say so is who the space belongs to,
 * and if all who could have ended before, nobody is.  Returns whether that was all. */
static int
hear(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    struct space *space = &engine->spaces[number];

    space->rings = 0;
    for (int i = 0; i < MOST_HEARD; i++) {
        union {
            struct cmsghdr header;
            char space[CMSG_SPACE(sizeof(struct ucred))];
        } control;
        uint64_t nothing;
        struct iovec vector = {&nothing, sizeof nothing};
        struct msghdr message = {
            .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t got;

        if (!space->announced && batch->n == batch->max)
            return 0;
        got = recvmsg(space->ends.socket, &message, MSG_DONTWAIT);
        if (!space->announced && got >= 0)
            announce(engine, number, got ? sender(&message) : 0, batch);
        if (got <= 0)
            return 1;
    }
    return 0;
}

/* Hear those that rang, and look at each once more: what was heard does not ring again. */
static void
hear_all(struct pysc_engine *engine, struct batch *batch)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < engine->n_unheard; i++) {
        uint32_t number = engine->unheard[i];

        if (space_at(engine, number) && (!hear(engine, number, batch) || scan_space(engine, number, batch) < 0))
            engine->unheard[left++] = number;
        else
            engine->spaces[number].unheard = 0;
    }
    engine->n_unheard = engine->unfinished = left;
}

/* A space is not looked at any more.  Whoever saw it polled just before has not rung: look once more, after the store. */
static void
cool(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    if (!engine->spaces[number].channel)
        return;
    __atomic_store_n(&engine->spaces[number].channel->polled, 0, __ATOMIC_SEQ_CST);
    if (scan_space(engine, number, batch) < 0) {
        look_later(engine, number);
        engine->unfinished = 1;
    }
}

/* A space that rang becomes hot, and the one that has been so for longest is not any more. */
static void
heat(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    uint32_t *place = &engine->hot[engine->next_hot], old = *place;

    for (uint32_t i = 0; i < N_HOT; i++) {
        if (engine->hot[i] == number + 1)
            return;
    }
    *place = number + 1;
    engine->next_hot = (engine->next_hot + 1) % N_HOT;
    __atomic_store_n(&engine->spaces[number].channel->polled, 1, __ATOMIC_SEQ_CST);
    if (old)
        cool(engine, old - 1, batch);
}

/* Look at the hot spaces, each time beginning with another one. */
static void
scan_hot(struct pysc_engine *engine, struct batch *batch)
{
    uint32_t first = engine->first_hot++;

    for (uint32_t i = 0; i < N_HOT; i++) {
        uint32_t hot = engine->hot[(first + i) % N_HOT];

        if (hot && scan_space(engine, hot - 1, batch) < 0)
            return; /* its bits are still set: next time */
    }
}

/* A space rang: who rings is served first, and the socket emptied when there is nothing else to do. */
static void
take_ring(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    struct space *space = space_at(engine, number);

    if (!space)
        return;
    /* A thread that is alone rings once for a report, or now and then again while this is on its way. */
    if (!space->announced || ++space->rings > MOST_UNHEARD || !is_alone(space))
        look_later(engine, number);
    if (!space->announced)
        hear(engine, number, batch); /* before anything that it reports */
    heat(engine, number, batch);     /* before the scan: what comes after it is found by the next one */
    if (!space->announced || batch->n || scan_space(engine, number, batch) < 0) {
        look_later(engine, number); /* what is told already is Python's to hear before there is more */
        engine->unfinished = 1;
    }
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
    engine->counters.spins++;
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
    engine->counters.vain++;
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
    uint64_t reports = engine->counters.reports;
    int64_t before;

    do {
        before = now;
        for (int i = 0; i < 32; i++) {
            scan_hot(engine, batch);
            if (engine->counters.reports != reports) {
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

    engine->counters.sleeps++;
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
    int64_t until;
    int failed = 0;

    if (engine->unfinished)
        hear_all(engine, batch);
    scan_hot(engine, batch);
    if (now - engine->last_look > LOOK_AT_FILES_NS || (batch->n == 0 && now >= deadline)) {
        engine->last_look = now;
        engine->unfinished |= engine->n_unheard; /* a full socket would not ring: not much later */
        failed = look_at_files(engine, 0, batch);
    }
    if (batch->n || failed || now >= deadline)
        return failed;
    until = now + (engine->counters.wakes == engine->wakes_seen ? SPIN_NS : WAKE_NS);
    engine->wakes_seen = engine->counters.wakes;
    if (engine->dense && spin(engine, now, until < deadline ? until : deadline, batch))
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
        uint64_t reports = engine->counters.reports;
        int64_t now = now_ns();

        failed = wait_once(engine, now, deadline, &batch);
        if (engine->counters.reports != reports)
            note_arrival(engine, now);
    } while (batch.n == 0 && !failed && timeout_ns != 0 && (timeout_ns < 0 || now_ns() < deadline));
    note_turn(engine);
    /* -EINTR: Python's handlers want to run. */
    return failed && failed != -EINTR ? failed : (int64_t)batch.n;
}
