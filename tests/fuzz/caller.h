/* A guest that writes anything into its channel, and files of each kind that it has open. */
#ifndef PYSC_CALLER_H
#define PYSC_CALLER_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "fast.h"

#define PICK(array) ((array)[next() % (sizeof(array) / sizeof *(array))])
#define MEMORY 0x10000000UL

static struct pysc_engine *engine;
static struct pysc_objects *objects;
static struct pysc_space_ends ends;
static struct pysc_slot *slot;
static uint32_t thread;

static inline uint64_t
some_address(void)
{
    static const uint64_t odd[] = {
        0, 8, PYSC_LIMIT - 1, PYSC_LIMIT, PYSC_TASK_SIZE - 8, PYSC_TASK_SIZE, ~0UL, 1UL << 63};

    return next() % 8 ? MEMORY + next() % 32 * 16 : PICK(odd);
}

static inline uint64_t
some_size(void)
{
    static const uint64_t odd[] = {
        0, 1, 7, 8, 9, 4096, 16384, 40000, 61440, 65535, 65536, 65537, 1 << 20, 0x7fffffff, 1UL << 32, ~0UL};

    return next() % 2 ? next() % 200 : PICK(odd);
}

static inline uint64_t
some_offset(void)
{
    static const uint64_t odd[] = {0, 100, 65536, 199999, 200000, INT64_MAX, INT64_MAX - 65536, ~0UL, 1UL << 63};

    return next() % 2 ? next() % 250000 : PICK(odd);
}

static inline uint32_t
new_file(uint32_t type, uint32_t object, uint32_t generation, uint32_t flags)
{
    struct pysc_file *file = pysc_file_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_FILE));

    file->type = type;
    file->object = object;
    file->generation = generation;
    file->flags = flags;
    file->references = 1000000; /* the last is never dropped here */
    file->faced = 1;
    return file->header.index;
}

static inline uint32_t
new_pipe_end(struct pysc_pipe *pipe, uint32_t flags)
{
    return new_file(PYSC_FILE_PIPE, pipe->header.index, pipe->header.generation, flags);
}

static inline struct pysc_data *
new_data(uint32_t where)
{
    struct pysc_data *data = pysc_data_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_DATA));

    data->where = where;
    data->file = -1;
    return data;
}

static inline void
watch(struct pysc_epoll *epoll, uint32_t file, uint32_t events)
{
    struct pysc_item *item = pysc_item_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_ITEM));

    item->events = events;
    item->data = next();
    item->file = file;
    item->generation = objects->files[file].header.generation;
    pysc_epoll_add(objects, epoll, item);
}

static struct pysc_epoll *epoll;

static inline void
make_files(struct pysc_table *table)
{
    struct pysc_pipe *pipe = pysc_pipe_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_PIPE));
    struct pysc_counter *counter = pysc_counter_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_COUNTER));
    struct pysc_data *small = new_data(PYSC_DATA_MEMORY), *host = new_data(PYSC_DATA_HOST);
    struct pysc_budget *budget = pysc_budget_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_BUDGET));
    struct pysc_locks *locks = pysc_locks_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_LOCKS));
    uint32_t files[8];

    epoll = pysc_epoll_at(objects, (uint32_t)pysc_object_new(objects, PYSC_OBJECT_EPOLL));
    pipe->capacity = 65536;
    pipe->readers = pipe->writers = 1;
    budget->limit = 10000;
    small->budget = budget->header.index;
    small->budget_generation = budget->header.generation;
    small->writes_here = 1;
    host->file = memfd_create("host", 0);
    CHECK(host->file > 0 && ftruncate(host->file, 200000) == 0);
    pysc_data_donate(objects, host, host->file);
    files[0] = new_pipe_end(pipe, O_RDONLY | O_NONBLOCK);
    files[1] = new_pipe_end(pipe, O_WRONLY | O_NONBLOCK);
    files[2] = new_file(PYSC_FILE_COUNTER, counter->header.index, counter->header.generation, O_RDWR | O_NONBLOCK);
    files[3] = new_file(PYSC_FILE_REGULAR, small->header.index, small->header.generation, O_RDWR);
    files[4] = new_file(PYSC_FILE_REGULAR, host->header.index, host->header.generation, O_RDONLY);
    files[5] = new_file(PYSC_FILE_EPOLL, epoll->header.index, epoll->header.generation, O_RDWR);
    files[6] = new_file(PYSC_FILE_OTHER, 0, 0, O_RDWR);
    files[7] = new_file(PYSC_FILE_PIPE, 77, 1, O_RDWR); /* of a pipe that is no more */
    for (uint32_t i = 3; i < 5; i++) {
        objects->files[files[i]].locks = locks->header.index + 1;
        objects->files[files[i]].locks_generation = locks->header.generation;
    }
    for (uint32_t i = 0; i < 8; i++)
        CHECK(pysc_table_put(table, i, files[i], 0) >= 0);
    CHECK(pysc_table_put(table, 3000, files[0], 0) >= 0); /* more than fit in a set */
    watch(epoll, files[0], EPOLLIN | EPOLLHUP);
    watch(epoll, files[1], EPOLLOUT | EPOLLET);
    watch(epoll, files[2], EPOLLIN | EPOLLOUT | EPOLLONESHOT);
    table->limit = 100;
}

/* Something that may be an iovec, poll structures, sets, times, paths or nothing. */
static inline void
fill_data(void)
{
    uint64_t words[64];

    for (int i = 0; i < 64; i++) {
        uint64_t choice = next() % 5;

        words[i] = choice == 0 ? some_address() : choice == 1 ? some_size() : choice == 2 ? next() % 9 : next();
        if (choice == 3)
            words[i] = next() % 12 | (next() & 0x37f) << 32; /* struct pollfd */
    }
    if (slot->nr == SYS_fcntl && next() % 2) { /* struct flock */
        words[0] = next() % 4;
        words[1] = next() % 60;
        words[2] = next() % 20;
        words[3] = next() % 8 == 0;
    }
    memcpy(slot->data, words, sizeof words);
}

static inline void
fill_hints(void)
{
    uint32_t n = next() % 4 ? (uint32_t)(next() % 6) : (uint32_t)next();

    slot->n_hints = n;
    for (uint32_t i = 0; i < PYSC_HINTS; i++) {
        uint32_t offset = next() % 8 ? (uint32_t)(next() % 40 * 16) : (uint32_t)some_size();

        slot->hints[i] =
            (struct pysc_hint){some_address(), (uint32_t)some_size(), next() % 16 ? offset : (uint32_t)next()};
    }
    if (next() % 2) /* as the guest half does it */
        slot->hints[0] = (struct pysc_hint){slot->args[1], (uint32_t)some_size(), 0};
    if (next() % 4 == 0)
        slot->hints[0] = (struct pysc_hint){slot->args[0], (uint32_t)(slot->args[1] * 8), 0};
    if (slot->nr == SYS_fcntl) {
        slot->n_hints = n % 5 + 1;
        slot->hints[0] = (struct pysc_hint){slot->args[2], 32, 0};
    }
}

static inline void
report_call(void)
{
    static const int64_t calls[] = {
        SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_preadv, SYS_pwritev, SYS_preadv2,
        SYS_pwritev2, SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6, SYS_epoll_wait, SYS_epoll_pwait, SYS_lseek,
        SYS_fstat, SYS_dup, SYS_dup2, SYS_dup3, SYS_fcntl, SYS_close};

    slot->kind = next() % 64 ? PYSC_KIND_SYSCALL : (uint32_t)(next() % 24);
    slot->nr = next() % 64 ? PICK(calls) : (int64_t)(next() % 600);
    slot->args[0] = next() % 16 ? next() % 9 : next();
    slot->args[1] = some_address();
    slot->args[2] = next() % 2 ? next() % 10 : some_size();
    slot->args[3] = next() % 2 ? some_offset() : next() % 2 ? 0 : some_address();
    slot->args[4] = next() % 2 ? 0 : some_address();
    slot->args[5] = next() % 4 ? 0 : some_address();
    if (slot->nr == SYS_poll || slot->nr == SYS_ppoll) {
        slot->args[0] = some_address();
        slot->args[1] = next() % 8 ? next() % 12 : some_size();
        slot->args[2] = next() % 2 ? 0 : some_address();
    } else if (slot->nr == SYS_select || slot->nr == SYS_pselect6) {
        slot->args[0] = next() % 4 ? next() % 130 : next() % 4 ? next() % 4000 : next();
        slot->args[2] = next() % 4 ? some_address() : 0;
    } else if (slot->nr == SYS_fcntl && next() % 2) {
        static const uint64_t commands[] = {F_SETLK, F_SETLKW, 37, 38}; /* and those of descriptions */

        slot->args[0] = 3 + next() % 2;
        slot->args[1] = PICK(commands);
        slot->args[2] = some_address();
    } else if (slot->nr == SYS_close && next() % 8) {
        slot->args[0] = 8 + next() % 90; /* keep the first */
    } else if ((slot->nr == SYS_dup2 || slot->nr == SYS_dup3) && next() % 8) {
        slot->args[1] = 8 + next() % 90;
    }
    fill_data();
    fill_hints();
}

static inline void
take_descriptors(void)
{
    uint8_t byte, control[CMSG_SPACE(8 * sizeof(int))];
    struct iovec vector = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header;

    while (recvmsg(ends.guest_socket, &message, MSG_DONTWAIT) > 0) {
        header = CMSG_FIRSTHDR(&message);
        CHECK(header && header->cmsg_len == CMSG_LEN(sizeof(int))); /* one at a time */
        close(*(int *)CMSG_DATA(header));
    }
}

/* What the guest half is told: nothing outside of the data area or of the guest's memory, and one verdict, last. */
static inline void
check_commands(void)
{
    uint32_t n = slot->n_commands;

    CHECK(n >= 1 && n <= PYSC_COMMANDS);
    for (uint32_t i = 0; i < n; i++) {
        const struct pysc_command *command = &slot->commands[i];
        const uint64_t *a = command->args;

        CHECK(command->op < PYSC_VERDICT || i == n - 1);
        if (command->op == PYSC_CMD_PUT)
            CHECK(a[1] <= PYSC_DATA_SIZE && a[2] <= PYSC_DATA_SIZE - a[1] && address_ok(a[0], a[1]));
        else if (command->op == PYSC_CMD_READ)
            CHECK(a[0] < PYSC_KEPT && a[1] && a[3] && address_ok(a[2], a[3]) && a[4] + a[3] <= 200000);
        else if (command->op == PYSC_CMD_KEEP || command->op == PYSC_CMD_FORGET)
            CHECK(a[0] < PYSC_KEPT);
        else if (command->op == PYSC_CMD_ZERO)
            CHECK(address_ok(a[0], a[1]));
        else if (command->op == PYSC_CMD_MAP)
            CHECK(a[0] == 0 || address_ok(a[0], a[1]));
        else
            CHECK(command->op == PYSC_CMD_REPLY || command->op == PYSC_CMD_RECEIVE || command->op == PYSC_CMD_CLOSE);
    }
}

static inline int
is_undoable(enum pending_state state)
{
    return state == PENDING_READ || state == PENDING_TAKE || state == PENDING_REPLY;
}

/* The next report: the end of a batch, a read that failed, or another call. */
static inline void
report_next(void)
{
    if (engine->threads[thread].state == STATE_BUSY) {
        take_descriptors();
        slot->kind = PYSC_KIND_DONE;
        for (uint32_t i = 0; i < PYSC_COMMANDS; i++)
            slot->commands[i].result = next() % 4 ? 0 : -EBUSY;
        fill_data();
        fill_hints();
    } else if (is_undoable(engine->threads[thread].pending.state) && next() % 4 == 0) {
        slot->kind = PYSC_KIND_UNDONE;
    } else {
        report_call();
    }
}

/* The engine, its only space, and the thread in it. */
static inline void
begin_guest(void)
{
    int shared = memfd_create("shared", 0);

    engine = pysc_engine_new();
    CHECK(ftruncate(shared, 4096) == 0 && pysc_engine_share(engine, shared) == 0);
    CHECK(pysc_space_new(engine, &ends) == 0);
    close(shared);
    thread = (uint32_t)pysc_thread_add(engine, 0, 0, 0);
    slot = pysc_thread_slot(engine, thread);
}

/* What stands in the slot is reported, and answered. */
static inline void
make_call(void (*take_events)(const struct pysc_event *events, int64_t n))
{
    static struct pysc_event events[64];
    uint64_t one = 1;

    __atomic_store_n(&slot->turn, PYSC_TURN_SENTRY, __ATOMIC_SEQ_CST);
    pysc_space_channel(engine, 0)->pending[0] = next() % 8 ? 1 : next() | 1;
    CHECK(send(ends.guest_socket, &one, 8, MSG_DONTWAIT) == 8 || errno == EAGAIN);
    for (int i = 0; i < 4 && slot->turn != PYSC_TURN_GUEST; i++) { /* what has happened before is told first */
        int64_t n = pysc_wait(engine, 0, events, 64);

        CHECK(n >= 0);
        take_events(events, n);
    }
    CHECK(slot->turn == PYSC_TURN_GUEST);
    check_commands();
}

#endif
