/* Fast paths of regular files.  Nothing here waits for long: host files are read by RWF_NOWAIT, or plainly where the host
 * refuses that and the watchdog has nothing against it; written is memory alone. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE_SIZE 4096
#define UNSUITABLE -EAGAIN
#define SMALL_READ 1024 /* a smaller one is as good a reason to send a descriptor as one of so many bytes */
#define LARGE_READ 2048 /* from here on two copies cost more than to have the guest half read */

#define F_SEAL_SEAL_ 0x1     /* forbids more seals, and nothing else */
#define ROOM_TO_SPARE 64     /* pages: with less left in a budget Python looks closely */

static int64_t
clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static struct pysc_data *
data_of(const struct call *call, const struct pysc_file *file)
{
    return pysc_data_end(call->objects, file->object, file->generation);
}

static int
is_remote(const struct call *call, const struct pysc_data *data)
{
    return data->super && call->objects->supers[data->super - 1].remote;
}

static int64_t
length_of(const struct call *call, const struct pysc_data *data)
{
    struct stat status;

    if (data->where == PYSC_DATA_MEMORY)
        return (int64_t)data->length;
    if (is_remote(call, data))
        return -EAGAIN;
    return fstat(data->file, &status) == 0 ? status.st_size : -errno;
}

static int64_t
read_plainly(const struct call *call, const struct pysc_data *data, void *to, uint64_t size, int64_t offset)
{
    ssize_t n;

    if (pysc_super_is_slow(call->objects, data->super, PYSC_SUPER_DATA))
        return UNSUITABLE;
    enter_host(call->objects, data->super, PYSC_SUPER_DATA);
    n = pread(data->file, to, size, offset);
    leave_host(call->objects);
    return n < 0 ? UNSUITABLE : n;
}

static int64_t
read_host(const struct call *call, struct pysc_data *data, void *to, uint64_t size, int64_t offset)
{
    struct iovec vector = {to, size};
    ssize_t n;

    if (data->refuses)
        return read_plainly(call, data, to, size, offset);
    n = preadv2(data->file, &vector, 1, offset, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == EINVAL)) {
        data->refuses = 1;
        return read_plainly(call, data, to, size, offset);
    }
    /* Short because of the file's end, or of what is in memory? */
    if (n >= 0 && (uint64_t)n < size && (is_remote(call, data) || length_of(call, data) > offset + n))
        return UNSUITABLE;
    return n < 0 ? UNSUITABLE : n;
}

static int64_t
read_data(const struct call *call, struct pysc_data *data, void *to, uint64_t size, int64_t offset)
{
    ssize_t n;

    if (data->where == PYSC_DATA_HOST)
        return read_host(call, data, to, size, offset);
    if ((uint64_t)offset >= data->length)
        return 0;
    if (size > data->length - (uint64_t)offset)
        size = data->length - (uint64_t)offset;
    if (data->file < 0) {
        if ((uint64_t)offset + size > data->small_size)
            return UNSUITABLE;
        memcpy(to, data->small + offset, size);
        return (int64_t)size;
    }
    n = pread(data->file, to, size, offset);
    return n < 0 ? UNSUITABLE : n;
}

/* Through the data area; `size` was asked for, and there may be more than fits. */
static int
read_by_copy(struct call *call, struct pysc_file *file, struct pysc_data *data, const struct parts *parts, uint64_t size,
             int64_t offset, int moves)
{
    int64_t n = read_data(call, data, call->thread->slot->data, size < PYSC_DATA_SIZE ? size : PYSC_DATA_SIZE, offset);

    if (n < 0 || (n == PYSC_DATA_SIZE && size > PYSC_DATA_SIZE))
        return HAND_OVER;
    begin_read(call, file, offset, offset + n, moves);
    return answer_parts(call, parts, (uint64_t)n, PYSC_FLAG_REDO);
}

int
read_regular(struct call *call, struct pysc_file *file, const struct parts *parts, int64_t offset, int moves)
{
    struct pysc_data *data = data_of(call, file);
    uint64_t size = parts->total;
    const int one = parts->n == 1, lends = one && call->event->nr == SYS_pread64 && (uint32_t)call->event->args[0] < PYSC_LENT;
    enum kept_use kept = KEPT_NO;
    int64_t there = 0;
    int result, large;

    if (!data || (moves && file->moving) || offset < 0 || size == 0 || file->flags & O_DIRECT_ ||
        offset > INT64_MAX - MAX_RW_COUNT)
        return HAND_OVER;
    if (size >= LARGE_READ || lends) {
        there = length_of(call, data) - offset; /* files of the host's proc say 0: what they have is seen below */
        there = there < MAX_RW_COUNT ? there : MAX_RW_COUNT;
    }
    large = size >= LARGE_READ && there >= LARGE_READ;
    if (large)
        size = size < (uint64_t)there ? size : (uint64_t)there;
    if (one && (large || (lends && there > 0)))
        kept = may_keep(call, file, data, large ? size : SMALL_READ);
    if (kept == KEPT_ASK_PYTHON || (kept == KEPT_NO && there > PYSC_DATA_SIZE && size > PYSC_DATA_SIZE))
        return HAND_OVER;
    if (kept == KEPT_YES && lends && lend(call, data) && !large)
        kept = KEPT_NO;
    object_lock(&file->header);
    result = kept == KEPT_YES ? read_kept(call, file, data, parts->part[0].address, size, offset, moves)
                              : read_by_copy(call, file, data, parts, size, offset, moves);
    object_unlock(&file->header);
    return result;
}

static struct pysc_budget *
budget_of(const struct call *call, const struct pysc_data *data)
{
    struct pysc_budget *budget = pysc_budget_at(call->objects, data->budget);

    return budget && is_living(&budget->header, data->budget_generation) ? budget : NULL;
}

/* Make the charge `pages`. */
static void
charge(const struct call *call, struct pysc_data *data, struct pysc_budget *budget, uint64_t pages)
{
    if (pages == data->charged)
        return;
    pysc_budget_note(call->objects, budget, (int64_t)pages - (int64_t)data->charged);
    data->charged = pages;
}

/* Store bytes; none if that needs more than a little room, or if it fails. */
static ssize_t
write_data(const struct call *call, struct pysc_data *data, const uint8_t *bytes, uint64_t size, int64_t offset)
{
    struct pysc_budget *budget = budget_of(call, data);
    uint64_t end = (uint64_t)offset + size, pages = (end + PAGE_SIZE - 1) / PAGE_SIZE;
    struct stat status;
    ssize_t n;

    if (!budget || pysc_budget_free(call->objects, budget) < (int64_t)(size / PAGE_SIZE) + ROOM_TO_SPARE)
        return -1;
    if (data->file < 0) {
        if (end > SMALL_FILE || pages > data->charged + ROOM_TO_SPARE || pysc_data_grow(data, end) < 0)
            return -1;
        memcpy(data->small + offset, bytes, size);
        data->stored |= pysc_data_pages((uint64_t)offset, end);
        charge(call, data, budget, pages > data->charged ? pages : data->charged);
        return (ssize_t)size;
    }
    n = pwrite(data->file, bytes, size, offset);
    if (n > 0 && fstat(data->file, &status) == 0)
        charge(call, data, budget, (uint64_t)status.st_blocks * 512 / PAGE_SIZE);
    return n;
}

int
write_regular(struct call *call, struct pysc_file *file, const uint8_t *bytes, uint64_t size, int64_t offset, int moves)
{
    struct pysc_data *data = data_of(call, file);
    ssize_t n;

    if (!data || (moves && file->moving) || data->where != PYSC_DATA_MEMORY || !data->writes_here ||
        call->table->bounded || data->seals & ~F_SEAL_SEAL_ || file->flags & (O_DIRECT_ | O_DSYNC_) || size == 0 ||
        size > PYSC_DATA_SIZE)
        return HAND_OVER;
    if (file->flags & O_APPEND_)
        offset = (int64_t)data->length;
    if (offset < 0 || offset > INT64_MAX - PYSC_DATA_SIZE)
        return HAND_OVER;
    object_lock(&data->header);
    n = write_data(call, data, bytes, size, offset);
    if (n > 0) {
        if ((uint64_t)offset + (uint64_t)n > data->length)
            data->length = (uint64_t)offset + (uint64_t)n;
        data->modified = clock_ns(CLOCK_REALTIME);
        if (moves)
            file->offset = offset + n;
    }
    object_unlock(&data->header);
    return n <= 0 ? HAND_OVER : answer(call, n);
}

/* What fast paths have written since: all else that stat(2) shows is a matter of versions. */
static void
show_writes(struct guest_stat *shown, const struct pysc_data *data)
{
    shown->size = (int64_t)data->length;
    shown->blocks = (int64_t)data->charged * (PAGE_SIZE / 512);
    if (!data->modified)
        return;
    shown->times[2] = shown->times[4] = seconds(data->modified);
    shown->times[3] = shown->times[5] = rest(data->modified);
}

int
stat_regular(struct call *call, uint32_t index, uint32_t generation, uint64_t address)
{
    const struct pysc_data *data = &call->objects->data[index], *end;
    struct guest_stat shown;
    uint64_t version;

    _Static_assert(sizeof shown == sizeof data->stat, "both are the guest's struct stat");
    if (!is_living(&data->header, generation) || !data->kept || !address_ok(address, sizeof data->stat))
        return HAND_OVER;
    version = pysc_data_version(call->objects, data);
    if (!version || version != data->kept_version)
        return HAND_OVER;
    memcpy(&shown, data->stat, sizeof shown);
    end = pysc_data_end(call->objects, index, generation);
    if (end && end->where == PYSC_DATA_MEMORY)
        show_writes(&shown, end);
    return answer_with(call, address, &shown, sizeof shown, 0);
}

int
seek_regular(struct call *call, struct pysc_file *file, int64_t offset, uint64_t whence)
{
    struct pysc_data *data = data_of(call, file);
    int64_t base, position;

    if (!data || file->moving)
        return HAND_OVER;
    if ((uint32_t)whence == SEEK_SET)
        base = 0;
    else if ((uint32_t)whence == SEEK_CUR)
        base = file->offset;
    else if ((uint32_t)whence == SEEK_END)
        base = length_of(call, data);
    else
        return HAND_OVER;
    if (base < 0 || __builtin_add_overflow(base, offset, &position) || position < 0)
        return HAND_OVER;
    object_lock(&file->header);
    file->offset = position;
    object_unlock(&file->header);
    return answer(call, position);
}

/* Memory is as safe as it gets. */
int
sync_regular(struct call *call, struct pysc_file *file)
{
    const struct pysc_data *data = data_of(call, file);

    return data && data->where == PYSC_DATA_MEMORY ? answer(call, 0) : HAND_OVER;
}
