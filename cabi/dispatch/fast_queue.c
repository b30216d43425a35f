/* Fast paths of pipes and event counters.  Whoever would have to wait is handed over, and Python, which keeps those that
 * wait, hears of each move that they may have waited for. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <string.h>

struct pysc_pipe *
pipe_of(const struct call *call, const struct pysc_file *file)
{
    struct pysc_pipe *pipe = &call->objects->pipes[file->object];

    return is_living(&pipe->header, file->generation) && !pipe->packets ? pipe : NULL;
}

static uint64_t
room_in(const struct pysc_pipe *pipe)
{
    return pipe->size < pipe->capacity ? pipe->capacity - pipe->size : 0;
}

/* The call waits here for bytes: as if the thread were still about to make it, but for who asks (pysc_thread_waits), and
 * for the description, which it has already, whatever becomes of the number. */
static int
wait_for_bytes(struct call *call, struct pysc_file *file, struct pysc_pipe *pipe)
{
    if (pipe->reader || pipe->waits & PYSC_WAITS_BYTES || !call->thread->quiet || call->thread->wanted ||
        call->thread->held) /* of a thread that Python has given up */
        return HAND_OVER;
    pipe->reader = call->number + 1;
    pysc_thread_let_wait(call->engine, call->number);
    file->references++;
    call->thread->held = file->header.index + 1;
    call->thread->pending = (struct pending){.state = PENDING_BYTES, .call = *call->event};
    return ANSWERED;
}

/* What has been taken comes back if the reader cannot store it (Linux moves the head after each copy). */
static void
begin_take(struct call *call, struct pysc_pipe *pipe, uint64_t size)
{
    pysc_pipe_owe(pipe, call->number + 1, size);
    call->thread->pending.state = PENDING_TAKE;
    call->thread->pending.file = pipe->header.index + 1;
    call->thread->pending.generation = pipe->header.generation;
}

void
end_take(struct pysc_engine *engine, uint32_t number, const struct pending *pending, int undone)
{
    struct pysc_pipe *pipe = &engine->objects->pipes[pending->file - 1];

    if (is_living(&pipe->header, pending->generation))
        pysc_pipe_settle(pipe, number + 1, undone);
}

int
read_pipe(struct call *call, struct pysc_file *file, const struct parts *parts)
{
    struct pysc_pipe *pipe = pipe_of(call, file);
    uint64_t size = parts->total;
    uint32_t events = 0, waits; /* pollers hear of room where there was none (Pipe.take) */
    int64_t n;

    if (!pipe || size == 0)
        return HAND_OVER;
    if (pipe->size == 0) {
        if (pipe->writers == 0)
            return answer(call, 0);
        return file->flags & O_NONBLOCK_ ? answer(call, -EAGAIN) : wait_for_bytes(call, file, pipe);
    }
    if (size > PYSC_DATA_SIZE && pipe->size > PYSC_DATA_SIZE) /* all that is there and fits, in one call */
        return HAND_OVER;
    object_lock(&pipe->header);
    waits = pipe->waits & (PYSC_WAITS_ROOM | (room_in(pipe) < PIPE_BUF_SIZE ? PYSC_WAITS_POLL_ROOM : 0));
    n = pysc_pipe_take(pipe, call->thread->slot->data, size < PYSC_DATA_SIZE ? size : PYSC_DATA_SIZE);
    begin_take(call, pipe, (uint64_t)n);
    if (waits && room_in(pipe) >= PIPE_BUF_SIZE)
        events = EVENTS_OUT;
    object_unlock(&pipe->header);
    return answer_parts_and_tell(call, parts, (uint64_t)n, PYSC_FLAG_REDO, PYSC_OBJECT_PIPE, pipe->header.index, events);
}

int
write_pipe(struct call *call, struct pysc_file *file, const uint8_t *bytes, uint64_t size)
{
    struct pysc_pipe *pipe = pipe_of(call, file);
    int64_t failed;

    if (!pipe || size == 0 || pipe->readers == 0 || file->flags & O_DIRECT_ || size > room_in(pipe))
        return HAND_OVER;
    object_lock(&pipe->header);
    failed = pysc_pipe_put(call->objects, pipe, bytes, size);
    object_unlock(&pipe->header);
    if (failed)
        return HAND_OVER;
    pysc_pipe_rouse(call->objects, pipe);
    return answer_and_tell(call, (int64_t)size, PYSC_OBJECT_PIPE, pipe->header.index,
                           pipe->waits & (PYSC_WAITS_BYTES | PYSC_WAITS_POLL) ? EVENTS_IN : 0);
}

static struct pysc_pipe *
awaited(struct pysc_engine *engine, const struct thread *thread)
{
    const struct pysc_file *file = &engine->objects->files[thread->held - 1];
    struct pysc_pipe *pipe = &engine->objects->pipes[file->object];

    return is_living(&pipe->header, file->generation) ? pipe : NULL;
}

void
pysc_thread_let_wait(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);

    if (thread && thread->state == STATE_STOPPED) /* not while it carries out commands: their end is not far */
        __atomic_store_n(&thread->slot->waits, 1, __ATOMIC_RELAXED);
}

int32_t
pysc_thread_waits(struct pysc_engine *engine, uint32_t number)
{
    const struct thread *thread = thread_at(engine, number);

    return thread && thread->pending.state == PENDING_BYTES;
}

int32_t
pysc_thread_has_turn(struct pysc_engine *engine, uint32_t number)
{
    const struct thread *thread = thread_at(engine, number);

    return thread && __atomic_load_n(&thread->slot->turn, __ATOMIC_SEQ_CST) == PYSC_TURN_GUEST;
}

int32_t
pysc_thread_rouse(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);
    struct pysc_pipe *pipe;

    if (!thread)
        return 0;
    thread->wanted = 1;
    if (thread->pending.state != PENDING_BYTES)
        return 0;
    pipe = awaited(engine, thread);
    if (pipe && pipe->reader == number + 1)
        pysc_pipe_rouse(engine->objects, pipe);
    return 1;
}

void
forget_waiting(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = &engine->threads[number];
    struct pysc_pipe *pipe;

    if (thread->pending.state != PENDING_BYTES)
        return;
    thread->pending.state = PENDING_NOTHING;
    pipe = awaited(engine, thread);
    if (pipe && pipe->reader == number + 1)
        pipe->reader = 0;
}

int64_t
pysc_thread_take_held(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);
    uint32_t held = thread ? thread->held : 0;

    if (!held)
        return -ENOENT;
    thread->held = 0;
    return held - 1;
}

/* The call goes on by itself if it can, and with the same description. */
static int
go_on(struct pysc_engine *engine, uint32_t number, struct pysc_file *file, struct pysc_event *event)
{
    struct thread *thread = &engine->threads[number];
    struct pysc_table *table = table_of(engine->objects, thread);

    if (thread->wanted || !table)
        return HAND_OVER;
    return read_file(&(struct call){engine, engine->objects, thread, table, event, number}, file);
}

uint32_t
take_roused(struct pysc_engine *engine, struct pysc_event *events)
{
    struct pysc_objects *objects = engine->objects;
    uint32_t number = objects->roused[--objects->n_roused], n;
    struct thread *thread = thread_at(engine, number);
    struct pysc_file *file;

    if (!thread || thread->pending.state != PENDING_BYTES)
        return 0; /* it has ended */
    *events = thread->pending.call;
    thread->pending.state = PENDING_NOTHING;
    file = &objects->files[thread->held - 1];
    thread->held = 0;
    n = go_on(engine, number, file, events) == HAND_OVER;
    if (n && events->kind == PYSC_KIND_SYSCALL) {
        events->kind = PYSC_RESUMED;
        thread->held = file->header.index + 1; /* until Python takes it */
        thread->wanted = 0;
        return 1;
    }
    if (file->references > 1)
        file->references--;
    else
        events[n++] = (struct pysc_event){.id = file->header.index, .kind = PYSC_LEFT};
    return n;
}

struct pysc_counter *
counter_of(const struct call *call, const struct pysc_file *file)
{
    struct pysc_counter *counter = &call->objects->counters[file->object];

    return is_living(&counter->header, file->generation) ? counter : NULL;
}

int
read_counter(struct call *call, struct pysc_file *file, const struct parts *parts)
{
    struct pysc_counter *counter = counter_of(call, file);
    uint64_t taken;

    if (!counter || parts->total < 8)
        return HAND_OVER;
    if (counter->count == 0)
        return file->flags & O_NONBLOCK_ ? answer(call, -EAGAIN) : HAND_OVER;
    object_lock(&counter->header);
    taken = counter->semaphore ? 1 : counter->count;
    counter->count -= taken;
    object_unlock(&counter->header);
    memcpy(call->thread->slot->data, &taken, 8);
    return answer_parts_and_tell(call, parts, 8, 0, PYSC_OBJECT_COUNTER, counter->header.index,
                                 counter->waits ? EVENTS_OUT : 0);
}

int
write_counter(struct call *call, struct pysc_file *file, const uint8_t *bytes, uint64_t size)
{
    struct pysc_counter *counter = counter_of(call, file);
    uint64_t added;

    if (!counter || size < 8)
        return HAND_OVER;
    memcpy(&added, bytes, 8);
    if (added == UINT64_MAX || counter->count >= UINT64_MAX - added) /* it would have to wait */
        return HAND_OVER;
    object_lock(&counter->header);
    counter->count += added;
    object_unlock(&counter->header);
    return answer_and_tell(call, 8, PYSC_OBJECT_COUNTER, counter->header.index, counter->waits ? EVENTS_IN : 0);
}
