/* Fast paths: ordinary calls on common objects, answered without Python.  Whatever is not entirely ordinary is handed
 * over before anything has been changed, for Python's general path, which handles every case. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

fast_path pysc_fast_paths[N_FAST_PATHS];

int
serve_call(struct pysc_engine *engine, uint32_t number, struct pysc_event *event)
{
    struct thread *thread = &engine->threads[number];
    struct pysc_table *table;

    if (event->nr < 0 || event->nr >= N_FAST_PATHS || !pysc_fast_paths[event->nr] || !engine->objects ||
        !(table = table_of(engine->objects, thread)))
        return HAND_OVER;
    return pysc_fast_paths[event->nr](&(struct call){engine, engine->objects, thread, table, event, number});
}

struct pysc_file *
file_in(struct pysc_objects *objects, const struct pysc_table *table, uint64_t fd)
{
    uint32_t number = (uint32_t)fd;

    if (number >= table->capacity || !table->files[number])
        return NULL;
    return &objects->files[table->files[number] - 1];
}

struct pysc_file *
file_at_fd(const struct call *call, uint64_t fd)
{
    return file_in(call->objects, call->table, fd);
}

int
answer(struct call *call, int64_t result)
{
    pysc_reply(call->engine, call->number, result);
    return ANSWERED;
}

int
answer_result(struct call *call, int64_t command)
{
    pysc_command(call->engine, call->number, PYSC_CMD_REPLY, PYSC_FLAG_RESULT, (uint64_t)command, 0, 0, 0, 0, 0, 0);
    pysc_flush(call->engine, call->number);
    return ANSWERED;
}

static int
tell(struct call *call, uint32_t kind, uint32_t index, uint32_t events)
{
    *call->event = (struct pysc_event){.id = index, .kind = PYSC_MOVED, .nr = kind, .args = {events}};
    call->engine->told = 1;
    return HAND_OVER;
}

int
answer_and_tell(struct call *call, int64_t result, uint32_t kind, uint32_t index, uint32_t events)
{
    answer(call, result);
    return events ? tell(call, kind, index, events) : ANSWERED;
}

int
answer_with_data(struct call *call, uint64_t address, uint64_t size, int64_t result)
{
    if (size)
        pysc_command(call->engine, call->number, PYSC_CMD_PUT, 0, address, size, 0, 0, 0, 0, 0);
    return answer(call, result);
}

int
answer_with(struct call *call, uint64_t address, const void *data, uint64_t size, int64_t result)
{
    memcpy(call->thread->slot->data, data, size);
    return answer_with_data(call, address, size, result);
}

int
answer_parts(struct call *call, const struct parts *parts, uint64_t size, uint32_t flags)
{
    uint64_t done = 0;

    for (uint32_t i = 0; i < parts->n && done < size; i++) {
        uint64_t part = parts->part[i].size < size - done ? parts->part[i].size : size - done;

        pysc_command(call->engine, call->number, PYSC_CMD_PUT, 0, parts->part[i].address, part, done, 0, 0, 0, 0);
        done += part;
    }
    pysc_command(call->engine, call->number, PYSC_CMD_REPLY, flags, size, 0, 0, 0, 0, 0, 0);
    pysc_flush(call->engine, call->number);
    return ANSWERED;
}

int
answer_parts_and_tell(struct call *call, const struct parts *parts, uint64_t size, uint32_t flags, uint32_t kind,
                      uint32_t index, uint32_t events)
{
    answer_parts(call, parts, size, flags);
    return events ? tell(call, kind, index, events) : ANSWERED;
}

const uint8_t *
hint_at(const struct call *call, uint64_t address, uint64_t size)
{
    const volatile struct pysc_slot *slot = call->thread->slot;
    uint32_t n = slot->n_hints;

    for (uint32_t i = 0; i < n && i < PYSC_HINTS; i++) {
        uint64_t start = slot->hints[i].address, length = slot->hints[i].size, offset = slot->hints[i].offset;

        if (offset + length <= PYSC_DATA_SIZE && address >= start && address - start <= length &&
            size <= length - (address - start))
            return call->thread->slot->data + offset + (address - start);
    }
    return NULL;
}

int
find_path(struct call *call, uint64_t dirfd, uint64_t address, uint32_t flags, const struct pysc_access *access,
          struct found *found, int *said)
{
    *found = walk_path(call, dirfd, address, flags, access);
    if (found->dentry >= 0)
        return 1;
    *said = found->dentry == NOT_OURS ? HAND_OVER : answer(call, found->dentry);
    return 0;
}

static int
fast_lseek(struct call *call)
{
    const uint64_t *a = call->event->args;
    struct pysc_file *file;

    if (!(file = file_at_fd(call, a[0])) || file->type != PYSC_FILE_REGULAR || file->flags & O_PATH_)
        return HAND_OVER;
    return seek_regular(call, file, (int64_t)a[1], a[2]);
}

/* fsync(2), fdatasync(2).  A directory that a fast path could open is in memory, or does not change. */
static int
fast_sync(struct call *call)
{
    struct pysc_file *file;

    if (!(file = file_at_fd(call, call->event->args[0])) || file->flags & O_PATH_)
        return HAND_OVER;
    if (file->type == PYSC_FILE_DIRECTORY && !file->faced)
        return answer(call, 0);
    return file->type == PYSC_FILE_REGULAR ? sync_regular(call, file) : HAND_OVER;
}

int
stat_file(struct call *call, struct pysc_file *file, uint64_t address)
{
    if (file->dentry && !file->faced)
        return stat_dentry(call, file->dentry - 1, address);
    return file->type == PYSC_FILE_REGULAR ? stat_regular(call, file->object, file->generation, address)
                                            : HAND_OVER;
}

static int
fast_fstat(struct call *call)
{
    const uint64_t *a = call->event->args;
    struct pysc_file *file = file_at_fd(call, a[0]);

    return file ? stat_file(call, file, a[1]) : answer(call, -EBADF);
}

void
pysc_engine_serve(struct pysc_engine *engine, struct pysc_objects *objects)
{
    engine->objects = objects;
    serve_data();
    serve_poll();
    serve_epoll();
    pysc_fast_paths[SYS_lseek] = fast_lseek;
    pysc_fast_paths[SYS_fstat] = fast_fstat;
    pysc_fast_paths[SYS_fsync] = fast_sync;
    pysc_fast_paths[SYS_fdatasync] = fast_sync;
    pysc_fast_paths[SYS_close] = fast_close;
    pysc_fast_paths[SYS_dup] = fast_dup;
    pysc_fast_paths[SYS_dup2] = fast_dup2;
    pysc_fast_paths[SYS_dup3] = fast_dup3;
    pysc_fast_paths[SYS_fcntl] = fast_fcntl;
    pysc_fast_paths[SYS_ioctl] = fast_ioctl;
    serve_stat();
    serve_open();
    serve_self();
    serve_signal();
    serve_mmap();
}

/* Refer to object `index` of a kind from now on; negative: to none. */
static int64_t
refer(const struct pysc_engine *engine, struct reference *reference, int64_t index, const struct pysc_header *header)
{
    reference->index = 0;
    if (index < 0 || !engine->objects)
        return 0;
    if (!header)
        return -EINVAL;
    *reference = (struct reference){(uint32_t)index + 1, header->generation};
    return 0;
}

/* Headers come first. */
#define USE(kind)                                                                                            \
    int64_t pysc_thread_use_##kind(struct pysc_engine *engine, uint32_t number, int64_t index)                \
    {                                                                                                        \
        struct thread *thread = thread_at(engine, number);                                                   \
        const void *object = index < 0 || !engine->objects ? NULL : pysc_##kind##_at(engine->objects, (uint32_t)index); \
                                                                                                             \
        if (!thread)                                                                                         \
            return -ESRCH;                                                                                   \
        take_back(engine, thread);                                                                           \
        return refer(engine, &thread->kind, index, object);                                                  \
    }

USE(table)
USE(context)
USE(handlers)

int64_t
pysc_thread_set_pid(struct pysc_engine *engine, uint32_t number, int32_t pid)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread)
        return -ESRCH;
    thread->pid = pid;
    return 0;
}

int64_t
pysc_thread_set_access(struct pysc_engine *engine, uint32_t number, const struct pysc_access *access)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread)
        return -ESRCH;
    thread->access = *access;
    return 0;
}
