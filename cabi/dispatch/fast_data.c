/* Fast paths of read(2), write(2) and their kin: what they move, and to which kind of description. */

#define _GNU_SOURCE
#include "fast.h"

#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum what { ONE, VECTOR };
enum where { AT_OFFSET, AT_ARGUMENT, AT_ARGUMENT_OR_OFFSET }; /* the last: preadv2(2), where -1 means the offset */

static int
take_one(struct parts *parts, const uint64_t *a)
{
    *parts = (struct parts){.n = 1, .total = a[2], .part = {{a[1], a[2]}}};
    return address_ok(a[1], a[2]);
}

/* An iovec that came with the request, without its empty parts.  Few parts: anything else is Python's. */
static int
take_vector(const struct call *call, struct parts *parts, const uint64_t *a)
{
    struct iovec vector[MAX_PARTS];
    const uint8_t *bytes;

    parts->n = 0;
    parts->total = 0;
    if (a[2] == 0 || a[2] > MAX_PARTS || !(bytes = hint_at(call, a[1], a[2] * sizeof *vector)))
        return 0;
    memcpy(vector, bytes, a[2] * sizeof *vector);
    for (uint32_t i = 0; i < a[2]; i++) {
        uint64_t address = (uint64_t)vector[i].iov_base, size = vector[i].iov_len;

        if (!size)
            continue;
        if (!address_ok(address, size)) /* so the sum of eight cannot overflow */
            return 0;
        parts->part[parts->n++] = (struct part){address, size};
        parts->total += size;
    }
    return parts->n > 0;
}

static int
take_parts(const struct call *call, struct parts *parts, enum what what)
{
    const uint64_t *a = call->event->args;

    return what == ONE ? take_one(parts, a) : take_vector(call, parts, a);
}

/* The bytes of all parts, if they came with the request, one after the other; else NULL. */
static const uint8_t *
bytes_of(const struct call *call, const struct parts *parts)
{
    const uint8_t *bytes = hint_at(call, parts->part[0].address, parts->part[0].size);
    uint64_t done = parts->part[0].size;

    for (uint32_t i = 1; bytes && i < parts->n; i++) {
        if (hint_at(call, parts->part[i].address, parts->part[i].size) != bytes + done)
            return NULL;
        done += parts->part[i].size;
    }
    return bytes;
}

/* Where it begins, and whether that moves the description's offset; 0: not an ordinary place. */
static int
place(const struct call *call, const struct pysc_file *file, enum where where, int64_t *offset, int *moves)
{
    const uint64_t *a = call->event->args;

    *moves = where == AT_OFFSET || (where == AT_ARGUMENT_OR_OFFSET && a[3] == UINT64_MAX);
    *offset = *moves ? file->offset : (int64_t)a[3];
    if (where == AT_ARGUMENT_OR_OFFSET && (uint32_t)a[5] != 0) /* RWF_* */
        return 0;
    return *moves || file->type == PYSC_FILE_REGULAR || is_device(file);
}

/* Whether it has a name, by which somebody might watch it (inotify). */
static int
is_named(const struct pysc_file *file)
{
    return file->flushes || !file->faced;
}

static int
read_parts_of(struct call *call, struct pysc_file *file, enum what what, enum where where)
{
    struct parts parts;
    int64_t offset;
    int moves;

    if (!file || !is_readable(file) ||
        (call->objects->reads_watched && is_named(file)) || !place(call, file, where, &offset, &moves) || !take_parts(call, &parts, what))
        return HAND_OVER;
    switch (file->type) {
    case PYSC_FILE_REGULAR:
        return read_regular(call, file, &parts, offset, moves);
    case PYSC_FILE_PIPE:
        return read_pipe(call, file, &parts);
    case PYSC_FILE_COUNTER:
        return read_counter(call, file, &parts);
    case PYSC_FILE_NULL:
    case PYSC_FILE_ZERO:
        return read_device(call, file, &parts, offset);
    default:
        return HAND_OVER;
    }
}

static int
read_parts(struct call *call, enum what what, enum where where)
{
    return read_parts_of(call, file_at_fd(call, call->event->args[0]), what, where);
}

int
read_file(struct call *call, struct pysc_file *file)
{
    switch (call->event->nr) {
    case SYS_read:
        return read_parts_of(call, file, ONE, AT_OFFSET);
    case SYS_readv:
        return read_parts_of(call, file, VECTOR, AT_OFFSET);
    case SYS_preadv2:
        return read_parts_of(call, file, VECTOR, AT_ARGUMENT_OR_OFFSET);
    default: /* what waits has no positions */
        return HAND_OVER;
    }
}

static int
write_parts(struct call *call, enum what what, enum where where)
{
    const uint8_t *bytes;
    struct pysc_file *file;
    struct parts parts;
    int64_t offset;
    int moves;

    if (!(file = file_at_fd(call, call->event->args[0])) || !is_writable(file) ||
        (call->objects->watched && is_named(file)) || !place(call, file, where, &offset, &moves) || !take_parts(call, &parts, what))
        return HAND_OVER;
    if (is_device(file))
        return write_device(call, &parts, offset);
    if (!(bytes = bytes_of(call, &parts)))
        return HAND_OVER;
    switch (file->type) {
    case PYSC_FILE_REGULAR:
        return write_regular(call, file, bytes, parts.total, offset, moves);
    case PYSC_FILE_PIPE:
        return write_pipe(call, file, bytes, parts.total);
    case PYSC_FILE_COUNTER: /* of an iovec each part is a write of its own */
        return what == ONE ? write_counter(call, file, bytes, parts.total) : HAND_OVER;
    default:
        return HAND_OVER;
    }
}

#define CALL(name, what, where, parts) \
    static int fast_##name(struct call *call) \
    { \
        return parts(call, what, where); \
    }

CALL(read, ONE, AT_OFFSET, read_parts)
CALL(pread64, ONE, AT_ARGUMENT, read_parts)
CALL(readv, VECTOR, AT_OFFSET, read_parts)
CALL(preadv, VECTOR, AT_ARGUMENT, read_parts)
CALL(preadv2, VECTOR, AT_ARGUMENT_OR_OFFSET, read_parts)
CALL(write, ONE, AT_OFFSET, write_parts)
CALL(pwrite64, ONE, AT_ARGUMENT, write_parts)
CALL(writev, VECTOR, AT_OFFSET, write_parts)
CALL(pwritev, VECTOR, AT_ARGUMENT, write_parts)
CALL(pwritev2, VECTOR, AT_ARGUMENT_OR_OFFSET, write_parts)

void
serve_data(void)
{
    pysc_fast_paths[SYS_read] = fast_read;
    pysc_fast_paths[SYS_pread64] = fast_pread64;
    pysc_fast_paths[SYS_readv] = fast_readv;
    pysc_fast_paths[SYS_preadv] = fast_preadv;
    pysc_fast_paths[SYS_preadv2] = fast_preadv2;
    pysc_fast_paths[SYS_write] = fast_write;
    pysc_fast_paths[SYS_pwrite64] = fast_pwrite64;
    pysc_fast_paths[SYS_writev] = fast_writev;
    pysc_fast_paths[SYS_pwritev] = fast_pwritev;
    pysc_fast_paths[SYS_pwritev2] = fast_pwritev2;
}
