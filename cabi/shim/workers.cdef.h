/* Threads that make blocking host calls for a loop that must not block.
 *
 * Made before lock-down (and after the last change of credentials); they never see Python or its lock.  Jobs go in by a
 * queue, results come out of another one, and an eventfd says that there are some.  Buffers and paths stay the caller's,
 * and must live until the result has been reaped. */

enum pysc_op {
    PYSC_OP_PREAD = 1,      /* fd, address, size, offset (-1: the descriptor's own), flags: RWF_* */
    PYSC_OP_PWRITE = 2,     /* the same */
    PYSC_OP_FSYNC = 3,      /* fd */
    PYSC_OP_FDATASYNC = 4,  /* fd */
    PYSC_OP_OPEN_READ = 5,  /* as pysc_open_read of `path` below fd, with flags */
    PYSC_OP_READ_FILE = 6,  /* open `path` below fd, read up to size bytes from offset on into address, close */
    PYSC_OP_VM_READ = 7,    /* process_vm_readv: fd is the pid, offset the remote address */
    PYSC_OP_VM_WRITE = 8,   /* process_vm_writev: the same */
    PYSC_OP_READ_LINK = 9,  /* as pysc_readlink of `path` below fd, into address */
    PYSC_OP_STAT = 10,      /* as pysc_statx of `path` below fd, into the struct pysc_attributes at address */
    PYSC_OP_LOOK = 11,      /* the same; the result is the magic number of its file system */
    PYSC_OP_STATFS = 12,    /* as pysc_statfs of fd, into the 10 words at address */
    PYSC_OP_LIST = 13,      /* as pysc_list of fd from offset on: cookie and end, a word each, then records at address */
    PYSC_OP_SEEK = 14,      /* lseek(2) of fd: offset, and whence in flags */
    PYSC_OP_CLOSE = 15,     /* fd */
};

struct pysc_job {
    uint64_t id;
    uint64_t address;
    uint64_t size;
    int64_t offset;
    uint32_t op;
    int32_t fd;
    uint32_t flags;
    uint32_t path_length;
    uint32_t spare;
    uint64_t path; /* its address */
};

struct pysc_result {
    uint64_t id;
    int64_t result; /* what the call returned, or -errno */
    int64_t took;   /* ns */
};

/* Start `count` threads (1 to 64); NULL with *error set if that is impossible. */
struct pysc_workers *pysc_workers_start(uint32_t count, int32_t *error);

/* The eventfd; it belongs to the pool. */
int32_t pysc_workers_fd(const struct pysc_workers *workers);

/* 0, -EINVAL for a malformed job, or -EAGAIN if 1024 are in work. */
int32_t pysc_workers_submit(struct pysc_workers *workers, const struct pysc_job *job);

/* Take up to `max` results and clear the eventfd if none are left: their number. */
int64_t pysc_workers_reap(struct pysc_workers *workers, struct pysc_result *results, uint64_t max);

/* Let the threads finish what they do, drop what waits, and free everything. */
void pysc_workers_stop(struct pysc_workers *workers);
