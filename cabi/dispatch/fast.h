/* Private to the dispatcher: what fast paths share. */
#ifndef PYSC_FAST_H
#define PYSC_FAST_H

#include "dcache.h"
#include "engine.h"

#define AT_FDCWD_ (uint32_t)-100
#define O_ACCMODE_ 03U
#define O_APPEND_ 02000U
#define O_NONBLOCK_ 04000U
#define O_DSYNC_ 010000U
#define O_DIRECT_ 040000U
#define O_NOATIME_ 01000000U
#define O_ASYNC_ 020000U
#define O_PATH_ 010000000U
#define O_CLOEXEC_ 02000000U

#define UNBLOCKABLE (1ULL << (9 - 1) | 1ULL << (19 - 1)) /* SIGKILL, SIGSTOP */

#define EVENTS_IN 0x41   /* POLLIN, POLLRDNORM */
#define EVENTS_OUT 0x104 /* POLLOUT, POLLWRNORM */
#define EVENTS_ERR 0x8
#define EVENTS_HUP 0x10

/* A call that is being looked at. */
struct call {
    struct pysc_engine *engine;
    struct pysc_objects *objects;
    struct thread *thread;
    struct pysc_table *table;
    struct pysc_event *event;
    uint32_t number; /* the thread's */
};

/* What a read or write moves: one range, or those of an iovec.  Checked: guests may have such addresses. */
#define MAX_PARTS 8
struct parts {
    uint32_t n;
    uint64_t total;
    struct part {
        uint64_t address, size;
    } part[MAX_PARTS];
};

/* What a fast path says. */
#define HAND_OVER 0
#define ANSWERED 1

/* By number; NULL: that call is Python's. */
typedef int (*fast_path)(struct call *call);
#define N_FAST_PATHS 512
extern fast_path pysc_fast_paths[N_FAST_PATHS];

/* What a thread refers to, or NULL. */
static inline struct pysc_table *
table_of(struct pysc_objects *objects, const struct thread *thread)
{
    struct pysc_table *table = thread->table.index ? &objects->tables[thread->table.index - 1] : NULL;

    return table && is_living(&table->header, thread->table.generation) ? table : NULL;
}

static inline struct pysc_context *
context_of(struct pysc_objects *objects, const struct thread *thread)
{
    struct pysc_context *context = thread->context.index ? &objects->contexts[thread->context.index - 1] : NULL;

    return context && is_living(&context->header, thread->context.generation) ? context : NULL;
}

static inline struct pysc_handlers *
handlers_of(struct pysc_objects *objects, const struct thread *thread)
{
    struct pysc_handlers *handlers = thread->handlers.index ? &objects->handlers[thread->handlers.index - 1] : NULL;

    return handlers && is_living(&handlers->header, thread->handlers.generation) ? handlers : NULL;
}

/* The description, or NULL. */
struct pysc_file *file_in(struct pysc_objects *objects, const struct pysc_table *table, uint64_t fd);
struct pysc_file *file_at_fd(const struct call *call, uint64_t fd);
int answer(struct call *call, int64_t result);
/* Answer what the command of that index results in. */
int answer_result(struct call *call, int64_t command);
/* Answer, and let Python hear that an object moved. */
int answer_and_tell(struct call *call, int64_t result, uint32_t kind, uint32_t index, uint32_t events);
/* Answer `result`, with `size` bytes that stand at the beginning of the data area. */
int answer_with_data(struct call *call, uint64_t address, uint64_t size, int64_t result);
/* The same with `size` bytes at `data`. */
int answer_with(struct call *call, uint64_t address, const void *data, uint64_t size, int64_t result);
/* The same for bytes that go to several places; PYSC_FLAG_* say what a fault means. */
int answer_parts(struct call *call, const struct parts *parts, uint64_t size, uint32_t flags);
int answer_parts_and_tell(struct call *call, const struct parts *parts, uint64_t size, uint32_t flags, uint32_t kind,
                          uint32_t index, uint32_t events);
/* Guest memory that came with the request, or NULL.  The guest may change it at any time. */
const uint8_t *hint_at(const struct call *call, uint64_t address, uint64_t size);

static inline int
address_ok(uint64_t address, uint64_t size)
{
    return address >= PYSC_LIMIT && address <= PYSC_TASK_SIZE && size <= PYSC_TASK_SIZE - address;
}

static inline int
is_readable(const struct pysc_file *file)
{
    return (file->flags & O_ACCMODE_) != 1 && (file->flags & O_ACCMODE_) != 3 && !(file->flags & O_PATH_);
}

static inline int
is_writable(const struct pysc_file *file)
{
    return ((file->flags & O_ACCMODE_) == 1 || (file->flags & O_ACCMODE_) == 2) && !(file->flags & O_PATH_);
}

/* struct stat of x86-64 as guests have it; not the host's, though it is the same. */
struct guest_stat {
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, zero;
    uint64_t rdev;
    int64_t size, blksize, blocks;
    int64_t times[6];
    int64_t unused[3];
};

#define NS 1000000000

static inline int64_t
seconds(int64_t ns)
{
    return ns / NS - (ns % NS < 0);
}

static inline int64_t
rest(int64_t ns)
{
    return ns - seconds(ns) * NS;
}

/* fast_regular.c */
int read_regular(struct call *call, struct pysc_file *file, const struct parts *parts, int64_t offset, int moves);
int write_regular(struct call *call, struct pysc_file *file, const uint8_t *bytes, uint64_t size, int64_t offset, int moves);
int sync_regular(struct call *call, struct pysc_file *file);
int stat_regular(struct call *call, uint32_t index, uint32_t generation, uint64_t address);
int seek_regular(struct call *call, struct pysc_file *file, int64_t offset, uint64_t whence);

/* fast_queue.c: what a description is of, or NULL where that is Python's */
struct pysc_pipe *pipe_of(const struct call *call, const struct pysc_file *file);
struct pysc_counter *counter_of(const struct call *call, const struct pysc_file *file);
int read_pipe(struct call *call, struct pysc_file *file, const struct parts *parts);
int write_pipe(struct call *call, struct pysc_file *file, const uint8_t *bytes, uint64_t size);
int read_counter(struct call *call, struct pysc_file *file, const struct parts *parts);
int write_counter(struct call *call, struct pysc_file *file, const uint8_t *bytes, uint64_t size);

/* fast_device.c */
#define MAX_RW_COUNT 0x7ffff000
int read_device(struct call *call, const struct pysc_file *file, const struct parts *parts, int64_t offset);
int write_device(struct call *call, const struct parts *parts, int64_t offset);

static inline int
is_device(const struct pysc_file *file)
{
    return file->type == PYSC_FILE_NULL || file->type == PYSC_FILE_ZERO;
}

/* fast_data.c */
void serve_data(void);
/* A call that has waited for this description to be read reads it now. */
int read_file(struct call *call, struct pysc_file *file);

/* fast_poll.c: POLL* that hold now; -1: Python knows. */
int32_t poll_file(const struct call *call, const struct pysc_file *file);
void serve_poll(void);

/* fast_epoll.c */
void serve_epoll(void);

/* walk.c: what a path that came with the request leads to, from descriptor `dirfd` on, for who has these rights.  An
 * index, -errno for the guest, or NOT_OURS. */
#define WALK_FOLLOW 1    /* a link in the last place */
#define WALK_DIRECTORY 2 /* -ENOTDIR if it is none */
#define NOT_OURS INT64_MIN
struct found {
    int64_t dentry;
    uint32_t mount;
    struct view view;
};
struct found walk_path(const struct call *call, uint64_t dirfd, uint64_t address, uint32_t flags,
                       const struct pysc_access *access);
/* fast.c: the same, and whether there is something to go on with; if not, `said` is what the fast path says. */
int find_path(struct call *call, uint64_t dirfd, uint64_t address, uint32_t flags, const struct pysc_access *access,
              struct found *found, int *said);
/* Whether `access` may do what MAY_* says: 1, 0, or -1: Python knows. */
#define MAY_EXEC 1U
#define MAY_WRITE 2U
#define MAY_READ 4U
int is_permitted(const struct pysc_access *access, const struct view *view, uint32_t wanted);

/* fast.c: fstat(2) of what is open */
int stat_file(struct call *call, struct pysc_file *file, uint64_t address);

/* fast_stat.c */
int stat_dentry(struct call *call, uint32_t dentry, uint64_t address);
void serve_stat(void);

/* fast_open.c */
void serve_open(void);

/* kept.c: whether the guest half shall read that much by itself, and let it. */
enum kept_use { KEPT_NO, KEPT_YES, KEPT_ASK_PYTHON };
enum kept_use may_keep(const struct call *call, const struct pysc_file *file, struct pysc_data *data, uint64_t size);
int read_kept(struct call *call, struct pysc_file *file, struct pysc_data *data, uint64_t address, uint64_t size,
              int64_t offset, int moves);
/* Let the thread make this pread64, of a number below PYSC_LENT, by itself from now on; returns whether the guest half has
 * what it reads from. */
int lend(struct call *call, const struct pysc_data *data);
/* The verdict is about to be a read from `start` to `end`; it may come back as undone. */
void begin_read(struct call *call, struct pysc_file *file, int64_t start, int64_t end, int moves);

/* fast_self.c */
void serve_self(void);

/* fast_signal.c */
void serve_signal(void);

/* fast_mmap.c */
void serve_mmap(void);
void forget_mapping(struct space *space);
void forget_mapped(struct pysc_engine *engine, struct space *space);

/* fast_fd.c */
int fast_close(struct call *call);
int fast_dup(struct call *call);
int fast_dup2(struct call *call);
int fast_dup3(struct call *call);
int fast_fcntl(struct call *call);
/* Set a record lock, or take it away: what `address` points to, a struct flock, says. */
int lock_record(struct call *call, const struct pysc_file *file, uint64_t address, int of_description);
int fast_ioctl(struct call *call);

#endif
