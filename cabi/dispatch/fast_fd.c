/* Fast paths of descriptors.  The last reference to a description that Python has seen is Python's to drop: it releases. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#define DUPFD_CLOEXEC 1030
#define OFD_SETLK 37
#define OFD_SETLKW 38
#define SETTABLE (O_APPEND_ | O_NONBLOCK_ | O_ASYNC_ | O_DIRECT_ | O_NOATIME_)

static int
can_drop(const struct pysc_file *file)
{
    return file->references > 1 && !file->flushes && file->faced;
}

static int
close_unseen(struct call *call, struct pysc_file *file, uint32_t fd)
{
    if (!pysc_file_forget(call->objects, file->header.index))
        return HAND_OVER;
    pysc_table_remove(call->objects, call->table, fd);
    return answer(call, 0);
}

/* What is not a terminal. */
int
fast_ioctl(struct call *call)
{
    const uint64_t *a = call->event->args;
    const struct pysc_file *file = file_at_fd(call, a[0]);

    if (!file || (uint32_t)a[1] != TCGETS || file->flags & O_PATH_ ||
        (file->type != PYSC_FILE_REGULAR && file->type != PYSC_FILE_PIPE && file->type != PYSC_FILE_DIRECTORY &&
         !is_device(file)))
        return HAND_OVER;
    return answer(call, -ENOTTY);
}

int
fast_close(struct call *call)
{
    const uint64_t *a = call->event->args;
    struct pysc_file *file = file_at_fd(call, a[0]);

    if (!file) /* common: programs close all numbers up to their limit */
        return answer(call, -EBADF);
    if (!file->faced)
        return close_unseen(call, file, (uint32_t)a[0]);
    if (!can_drop(file))
        return HAND_OVER;
    object_lock(&call->table->header);
    pysc_table_remove(call->objects, call->table, (uint32_t)a[0]);
    file->references--;
    object_unlock(&call->table->header);
    return answer(call, 0);
}

/* The lowest free number from `lowest` on. */
static int
duplicate(struct call *call, struct pysc_file *file, uint32_t lowest, int cloexec)
{
    int64_t fd;

    if (is_memory_out(call->objects)) /* the table may have to grow */
        return HAND_OVER;
    object_lock(&call->table->header);
    fd = pysc_table_install(call->table, file->header.index, lowest, call->table->limit, cloexec);
    if (fd >= 0)
        file->references++;
    object_unlock(&call->table->header);
    return fd < 0 ? HAND_OVER : answer(call, fd);
}

int
fast_dup(struct call *call)
{
    struct pysc_file *file = file_at_fd(call, call->event->args[0]);

    return file ? duplicate(call, file, 0, 0) : HAND_OVER;
}

static int
replace(struct call *call, uint32_t old, uint32_t new, int cloexec)
{
    struct pysc_file *file = file_at_fd(call, old), *there = file_at_fd(call, new);
    int64_t failed;

    if (!file || old == new || new >= call->table->limit || is_memory_out(call->objects) || (there && !can_drop(there)))
        return HAND_OVER;
    if (there == file && file->references < 3) /* this one must not become the last */
        return HAND_OVER;
    object_lock(&call->table->header);
    if (there) {
        pysc_table_remove(call->objects, call->table, new);
        there->references--;
    }
    failed = pysc_table_put(call->table, new, file->header.index, cloexec);
    if (failed >= 0)
        file->references++;
    object_unlock(&call->table->header);
    return answer(call, failed < 0 ? failed : (int64_t)new);
}

int
fast_dup2(struct call *call)
{
    const uint64_t *a = call->event->args;

    return replace(call, (uint32_t)a[0], (uint32_t)a[1], 0);
}

int
fast_dup3(struct call *call)
{
    const uint64_t *a = call->event->args;
    uint32_t flags = (uint32_t)a[2];

    if (flags & ~O_CLOEXEC_)
        return HAND_OVER;
    return replace(call, (uint32_t)a[0], (uint32_t)a[1], flags != 0);
}

static int
set_flags(struct call *call, struct pysc_file *file, uint32_t flags)
{
    if (flags & (O_ASYNC_ | O_DIRECT_ | O_NOATIME_) || file->flags & (O_ASYNC_ | O_PATH_))
        return HAND_OVER;
    file->flags = (file->flags & ~SETTABLE) | (flags & SETTABLE);
    return answer(call, 0);
}

int
fast_fcntl(struct call *call)
{
    const uint64_t *a = call->event->args;
    uint32_t fd = (uint32_t)a[0], argument = (uint32_t)a[2];
    struct pysc_file *file = file_at_fd(call, fd);

    if (!file)
        return answer(call, -EBADF);
    switch ((uint32_t)a[1]) {
    case F_GETFD:
        return answer(call, pysc_table_cloexec(call->table, fd));
    case F_SETFD:
        return answer(call, pysc_table_set_cloexec(call->table, fd, argument & FD_CLOEXEC));
    case F_GETFL:
        return answer(call, file->flags);
    case F_SETFL:
        return set_flags(call, file, argument);
    case F_DUPFD:
        return argument < call->table->limit ? duplicate(call, file, argument, 0) : HAND_OVER;
    case DUPFD_CLOEXEC:
        return argument < call->table->limit ? duplicate(call, file, argument, 1) : HAND_OVER;
    case F_SETLK:
    case F_SETLKW:
        return lock_record(call, file, a[2], 0);
    case OFD_SETLK:
    case OFD_SETLKW:
        return lock_record(call, file, a[2], 1);
    default:
        return HAND_OVER;
    }
}
