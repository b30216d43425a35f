/* Commands that do not end a stop: copies and host calls.  Offsets come from the sentry, addresses from the guest. */

#include "guest.h"

#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define PROT_RX 5
#define MAP_TYPE 15
#define MAP_PRIVATE 2

static uint8_t *
data_at(struct context *c, uint64_t offset, uint64_t size)
{
    if (offset > PYSC_DATA_SIZE || size > PYSC_DATA_SIZE - offset)
        die();
    return c->r->slot->data + offset;
}

static int64_t
copy_in(struct context *c, uint64_t address, uint64_t size, uint64_t offset)
{
    uint8_t *data = data_at(c, offset, size);

    if (!range_ok(address, size) || copy_bytes(data, (void *)address, size) != 0)
        return -EFAULT;
    return (int64_t)size;
}

static int64_t
copy_out(struct context *c, uint64_t address, uint64_t size, uint64_t offset)
{
    uint8_t *data = data_at(c, offset, size);

    if (!range_ok(address, size) || copy_bytes((void *)address, data, size) != 0)
        return -EFAULT;
    return (int64_t)size;
}

static int64_t
string_in(struct context *c, uint64_t address, uint64_t limit, uint64_t offset)
{
    uint8_t *data = data_at(c, offset, limit);
    long size;

    if (!range_ok(address, 1))
        return -EFAULT;
    size = copy_string(data, (void *)address, limit);
    return size > 0 ? size - 1 : size == 0 ? -ENAMETOOLONG : size;
}

/* Copy strings of the array at `address`, from index `first` on, one after the other with their NULs, while they fit.
 * Returns how many; `used` becomes their size, and `done` 1 when the array's end was reached. */
int64_t
copy_strings(uint8_t *data, uint64_t limit, uint64_t address, uint64_t first, uint32_t *used, uint32_t *done)
{
    uint64_t string;
    int64_t count = 0;

    *used = *done = 0;
    for (uint64_t i = first;; i++, count++) {
        long size;

        if (i >= PYSC_TASK_SIZE / 8 || !range_ok(address + i * 8, 8) || copy_bytes(&string, (void *)(address + i * 8), 8) != 0)
            return -EFAULT;
        if (string == 0) {
            *done = 1;
            return count;
        }
        if (!range_ok(string, 1))
            return -EFAULT;
        size = copy_string(data + *used, (void *)string, limit - *used);
        if (size < 0)
            return size;
        if (size == 0)
            return count;
        *used += (uint32_t)size;
    }
}

/* At `offset` come `used` and `done` (u32), then the strings. */
static int64_t
strings_in(struct context *c, uint64_t address, uint64_t first, uint64_t limit, uint64_t offset)
{
    uint8_t *data = data_at(c, offset, limit);
    uint32_t header[2];
    int64_t count;

    if (limit < sizeof header)
        die();
    count = copy_strings(data + sizeof header, limit - sizeof header, address, first, &header[0], &header[1]);
    memcpy(data, header, sizeof header);
    return count;
}

static int64_t
host_call(struct context *c, const struct pysc_command *command)
{
    const uint64_t *a = command->args;
    long result = memory_call(c->r->space, (long)a[0], (uint64_t[6]){a[1], a[2], a[3], a[4], a[5], command->extra});

    c->regs.fs_base = read_fs_base(); /* it may have been arch_prctl */
    return result;
}

/* Take one message of up to four descriptors from the socket. */
int64_t
receive_files(struct record *r)
{
    uint8_t byte;
    struct {
        void *base;
        uint64_t size;
    } vector = {&byte, 1};
    struct {
        uint64_t size;
        int32_t level, type;
        int32_t files[4];
    } control;
    struct {
        void *name;
        uint64_t name_size;
        void *vectors;
        uint64_t n_vectors;
        void *control;
        uint64_t control_size;
        uint64_t flags;
    } message = {0, 0, &vector, 1, &control, sizeof control, 0};
    long result;

    do
        result = host(__NR_recvmsg, r->space->socket, &message, 0);
    while (result == -EINTR);
    r->n_files = 0;
    if (result < 0)
        return result;
    if (message.control_size < 16 || control.level != SOL_SOCKET || control.type != SCM_RIGHTS || control.size < 16)
        return -EBADF;
    for (uint64_t i = 0; i < (control.size - 16) / 4 && i < 4; i++)
        r->files[r->n_files++] = control.files[i];
    return r->n_files;
}

int64_t
close_files(struct record *r)
{
    for (uint32_t i = 0; i < r->n_files; i++)
        host(__NR_close, r->files[i]);
    r->n_files = 0;
    return 0;
}

static int64_t
map(struct context *c, const struct pysc_command *command)
{
    const uint64_t *a = command->args;
    uint64_t args[6] = {a[0], a[1], a[2], a[3], UINT64_MAX, a[5]};
    int64_t result;

    if (a[4] != UINT64_MAX) {
        if (a[4] >= c->r->n_files)
            return -ENOMEM; /* it could not be received */
        args[4] = (uint64_t)c->r->files[a[4]];
    }
    if (command->flags & PYSC_FLAG_IMAGE)
        return map_image(c->r->space, args);
    result = memory_call(c->r->space, __NR_mmap, args);
    if (result > 0 && a[4] != UINT64_MAX && a[2] == PROT_RX && (a[3] & MAP_TYPE) == MAP_PRIVATE && c->r->channel->fastpath)
        note_text(c->r->space, (uint64_t)result, a[1]);
    return result;
}

static int64_t
zero(uint64_t address, uint64_t size)
{
    return range_ok(address, size) && zero_bytes((void *)address, size) == 0 ? (int64_t)size : -EFAULT;
}

int64_t
run_command(struct context *c, struct pysc_command *command)
{
    const uint64_t *a = command->args;

    switch (command->op) {
    case PYSC_CMD_COPY_IN:
        return copy_in(c, a[0], a[1], a[2]);
    case PYSC_CMD_COPY_OUT:
    case PYSC_CMD_PUT:
        return copy_out(c, a[0], a[1], a[2]);
    case PYSC_CMD_STRING_IN:
        return string_in(c, a[0], a[1], a[2]);
    case PYSC_CMD_STRINGS_IN:
        return strings_in(c, a[0], a[1], a[2], a[3]);
    case PYSC_CMD_HOST:
        return host_call(c, command);
    case PYSC_CMD_RECEIVE:
        return receive_files(c->r);
    case PYSC_CMD_MAP:
        return map(c, command);
    case PYSC_CMD_ZERO:
        return zero(a[0], a[1]);
    case PYSC_CMD_CLOSE:
        return close_files(c->r);
    case PYSC_CMD_KEEP:
        return keep_file(c, a[0], a[1]);
    case PYSC_CMD_FORGET:
        return forget_file(c, a[0]);
    case PYSC_CMD_FORK:
        return fork_space(c);
    case PYSC_CMD_CLONE:
        return clone_into(c, command);
    case PYSC_CMD_BRK:
        return move_heap(c, a[0]);
    case PYSC_CMD_WAKE_OP:
        return futex_wake_op(a);
    default:
        return -ENOSYS;
    }
}
