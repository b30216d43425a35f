/* Reports out of the channels.  Of a few spaces that were busy last ("hot") the channels are looked at all the time: they
 * need not ring while the loop is awake. */

#define _GNU_SOURCE
#include "engine.h"

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
        return thread->pending.state >= PENDING_READ && thread->pending.state <= PENDING_REPLY;
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
    engine->counters->reports++;
    end_bearing(engine, number);
    end_birth(engine, number);
    thread->state = STATE_STOPPED;
    thread->n_commands = 0;
    thread->verdict = 0;
    thread->used = hinted(thread->slot); /* between two batches of one call, too: the hint is still looked at */
    engine->caller_cpu = *(volatile uint32_t *)&thread->slot->cpu;
    space_of(engine, number)->lively = 1;
    if (thread->pending.state != PENDING_NOTHING)
        settled = settle(engine, number, event);
    if (settled & SETTLED_TELL) {
        event[1] = event[0];
        *event++ = (struct pysc_event){.id = number, .kind = PYSC_DONATED};
        batch->n++;
    }
    if (!(settled & SETTLED_FOR_PYTHON) && event->kind == PYSC_KIND_SYSCALL && serve_call(engine, number, event)) {
        engine->counters->served++;
        return;
    }
    if (event->kind != PYSC_MOVED)
        thread->wanted = 0;
    batch->n++;
}

void
take_all_roused(struct pysc_engine *engine, struct batch *batch)
{
    while (engine->objects && engine->objects->n_roused && batch->max - batch->n >= 2) {
        uint32_t n = take_roused(engine, &batch->events[batch->n]);

        engine->counters->served += n == 0;
        batch->n += n;
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

int
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
tell_polled(struct space *space, uint8_t polled)
{
    if (space->polled == polled)
        return;
    space->polled = polled;
    __atomic_store_n(&space->channel->polled, polled, __ATOMIC_SEQ_CST);
}

/* A space is not looked at any more.  Whoever saw it polled just before has not rung: look once more, after the store. */
static void
cool(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    if (!engine->spaces[number].channel)
        return;
    tell_polled(&engine->spaces[number], 0);
    if (scan_space(engine, number, batch) < 0) {
        look_later(engine, number);
        engine->unfinished = 1;
    }
}

void
heat(struct pysc_engine *engine, uint32_t number, struct batch *batch)
{
    uint32_t *place = &engine->hot[engine->next_hot], old = *place;

    for (uint32_t i = 0; i < N_HOT; i++) {
        if (engine->hot[i] == number + 1)
            return;
    }
    *place = number + 1;
    engine->next_hot = (engine->next_hot + 1) % N_HOT;
    tell_polled(&engine->spaces[number], PYSC_POLLED);
    if (old)
        cool(engine, old - 1, batch);
    engine->spaces[number].lively = 1;
    share_spins(engine);
}

/* Those that may already and report, then others that report, then whoever may already. */
void
share_spins(struct pysc_engine *engine)
{
    int32_t left = engine->n_cpus - 1;
    uint8_t polled[N_HOT] = {0};

    for (int pass = 0; pass < 3; pass++) {
        for (uint32_t i = 0; i < N_HOT; i++) {
            const struct space *space = engine->hot[i] ? space_at(engine, engine->hot[i] - 1) : NULL;
            int may = space && space->polled & PYSC_MAY_SPIN;

            if (!space || polled[i] & PYSC_MAY_SPIN)
                continue;
            polled[i] = PYSC_POLLED;
            if (left > 0 && (pass == 0 ? may && space->lively : pass == 1 ? space->lively : may)) {
                polled[i] |= PYSC_MAY_SPIN;
                left--;
            }
        }
    }
    for (uint32_t i = 0; i < N_HOT; i++) {
        if (!polled[i])
            continue;
        engine->spaces[engine->hot[i] - 1].lively = 0;
        tell_polled(&engine->spaces[engine->hot[i] - 1], polled[i]);
    }
}

/* Look at the hot spaces, each time beginning with another one. */
void
scan_hot(struct pysc_engine *engine, struct batch *batch)
{
    uint32_t first = engine->first_hot++;

    for (uint32_t i = 0; i < N_HOT; i++) {
        uint32_t hot = engine->hot[(first + i) % N_HOT];

        if (hot && scan_space(engine, hot - 1, batch) < 0)
            return; /* its bits are still set: next time */
    }
}

