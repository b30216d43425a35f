/* Commands for stopped threads. */

#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int64_t
pysc_command(struct pysc_engine *engine, uint32_t number, uint32_t op, uint32_t flags, uint64_t a0, uint64_t a1,
             uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t extra)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread || thread->state != STATE_STOPPED)
        return -ESRCH;
    if (op >= PYSC_VERDICT)
        forget_revoked(engine, number);
    if (thread->n_commands >= PYSC_COMMANDS)
        return -ENOBUFS;
    thread->slot->commands[thread->n_commands] =
        (struct pysc_command){.op = op, .flags = flags, .args = {a0, a1, a2, a3, a4, a5}, .extra = extra};
    if (op >= PYSC_VERDICT) {
        thread->verdict = 1;
        thread->framed = (flags & PYSC_FLAG_FRAME) != 0;
        thread->unless = (flags & PYSC_FLAG_UNLESS_FAILED) != 0;
    }
    return thread->n_commands++;
}

int64_t
pysc_flush(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);
    struct pysc_slot *slot;

    if (!thread || thread->state != STATE_STOPPED)
        return -ESRCH;
    slot = thread->slot;
    slot->n_commands = thread->n_commands;
    thread->state = thread->verdict ? STATE_RUNNING : STATE_BUSY;
    __atomic_store_n(&slot->turn, PYSC_TURN_GUEST, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&slot->sleeping, __ATOMIC_SEQ_CST))
        return 0;
    engine->counters->wakes++;
    syscall(SYS_futex, &slot->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
    return 0;
}

int64_t
pysc_reply(struct pysc_engine *engine, uint32_t number, int64_t result)
{
    int64_t index = pysc_command(engine, number, PYSC_CMD_REPLY, 0, (uint64_t)result, 0, 0, 0, 0, 0, 0);

    return index < 0 ? index : pysc_flush(engine, number);
}

int64_t
pysc_reply_undoable(struct pysc_engine *engine, uint32_t number, int64_t result)
{
    int64_t index =
        pysc_command(engine, number, PYSC_CMD_REPLY, PYSC_FLAG_REDO, (uint64_t)result, 0, 0, 0, 0, 0, 0);

    if (index < 0)
        return index;
    engine->threads[number].pending.state = PENDING_REPLY;
    return pysc_flush(engine, number);
}

int64_t
pysc_reserve(struct pysc_engine *engine, uint32_t number, uint64_t size)
{
    struct thread *thread = thread_at(engine, number);
    uint32_t offset;

    if (!thread || thread->state != STATE_STOPPED)
        return -ESRCH;
    if (size > PYSC_DATA_ROOM - thread->used) {
        if (thread->n_commands || size > PYSC_DATA_ROOM)
            return -ENOBUFS;
        thread->slot->n_hints = 0; /* only hints are in the way */
        thread->used = 0;
    }
    offset = thread->used;
    thread->used += ((uint32_t)size + 7) & ~7U; /* PYSC_DATA_ROOM is a multiple of 8 */
    return offset;
}

int64_t
pysc_put(struct pysc_engine *engine, uint32_t number, uint32_t op, uint64_t address, const void *data, uint64_t size)
{
    int64_t offset = pysc_reserve(engine, number, size);

    if (offset < 0)
        return offset;
    memcpy(engine->threads[number].slot->data + offset, data, size);
    return pysc_command(engine, number, op, 0, address, size, (uint64_t)offset, 0, 0, 0, 0);
}

int64_t
pysc_result(struct pysc_engine *engine, uint32_t number, uint32_t index)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread || index >= PYSC_COMMANDS)
        return -ESRCH;
    return *(volatile int64_t *)&thread->slot->commands[index].result;
}
