/* Objects of the kernel whose state fast paths and Python share: descriptor tables, descriptions, file contents, pipes,
 * event counters.  The state is here and nowhere else; Python's classes are faces of it.
 *
 * An object is named by its kind and index; its generation tells it from those that had the index before.  No object
 * holds a pointer to another.  `lock` is held while the state changes; Python holds the only thread that does so now.
 */
struct pysc_objects;

#define PYSC_OBJECT_TABLE 0
#define PYSC_OBJECT_FILE 1
#define PYSC_OBJECT_DATA 2
#define PYSC_OBJECT_PIPE 3
#define PYSC_OBJECT_COUNTER 4
#define PYSC_OBJECT_BUDGET 5
#define PYSC_OBJECT_CONTEXT 6
#define PYSC_OBJECT_DCACHE 7
#define PYSC_OBJECT_DENTRY 8
#define PYSC_OBJECT_INODE 9
#define PYSC_OBJECT_EPOLL 10
#define PYSC_OBJECT_ITEM 11
#define PYSC_OBJECT_HANDLERS 12
#define PYSC_OBJECT_SUPER 13
#define PYSC_OBJECT_LOCKS 14
#define PYSC_OBJECT_KINDS 15

struct pysc_header {
    uint32_t lock;
    uint32_t generation; /* odd while the object lives */
    uint32_t index;
    uint32_t next_free; /* index + 1 */
};

/* files_struct: what CLONE_FILES shares. */
struct pysc_table {
    struct pysc_header header;
    uint32_t capacity; /* a multiple of 64 */
    uint32_t count;    /* open numbers */
    uint32_t lowest;   /* no number below is free */
    uint32_t limit;    /* fast paths give no number from here on: the lowest RLIMIT_NOFILE of its users, or less */
    uint32_t bounded;  /* a user has an RLIMIT_FSIZE */
    uint32_t lent;     /* guest halves may read from some of its numbers */
    uint32_t *files;   /* index + 1 */
    uint64_t *used;
    uint64_t *cloexec;
};

/* A description.  What `object` means is said by `type`. */
#define PYSC_FILE_OTHER 0
#define PYSC_FILE_REGULAR 1
#define PYSC_FILE_PIPE 2
#define PYSC_FILE_COUNTER 3
#define PYSC_FILE_DIRECTORY 4 /* one that a fast path opened and Python has not seen yet */
#define PYSC_FILE_EPOLL 5
#define PYSC_FILE_NULL 6 /* /dev/null */
#define PYSC_FILE_ZERO 7 /* /dev/zero */

struct pysc_file {
    struct pysc_header header;
    uint32_t references; /* descriptors, messages in flight, calls in progress */
    uint32_t flags;      /* O_* */
    int64_t offset;
    uint32_t type;
    uint32_t object;
    uint32_t generation; /* of the object */
    uint32_t flushes;    /* closing a descriptor has effects beyond the reference */
    uint32_t faced;      /* Python has an object for it; else a fast path opened it, and it is all here */
    uint32_t dentry;     /* where that was: index + 1, in use */
    uint32_t mount;      /* and through which mount, by its id */
    uint32_t era;        /* of the dentry then: another one means that it is another place now */
    uint32_t owns;       /* `object` is this one's alone */
    uint32_t moving;     /* Python waits with the offset in its hands (f_pos_lock) */
    uint32_t locks;      /* its inode's, where nobody else sees them: index + 1 */
    uint32_t locks_generation;
};

/* Where the bytes of a regular file are. */
#define PYSC_DATA_NONE 0
#define PYSC_DATA_HOST 1   /* `file`, of the host, which may be slow */
#define PYSC_DATA_MEMORY 2 /* `small`, or `file`, a memfd */
#define PYSC_DATA_OTHER 3  /* those of the object `target` */

struct pysc_data {
    struct pysc_header header;
    uint32_t where;
    int32_t file;
    uint32_t target;
    uint32_t target_generation;
    uint32_t seals;      /* F_SEAL_* */
    uint32_t refuses;    /* the host refuses RWF_NOWAIT for `file` */
    uint32_t writes_here; /* fast paths may write */
    uint32_t stored;      /* pages of `small` that were written, by bits; the others are holes */
    uint32_t super;      /* of HOST: the superblock, index + 1; 0: not known */
    uint32_t missing;    /* of NONE: HOST or MEMORY, since it was loaded; whose `file` has not come yet (pysc_data_set_file) */
    uint64_t length;     /* of MEMORY */
    uint64_t charged;    /* pages that its budget has */
    int64_t modified;    /* CLOCK_REALTIME, ns: when a fast path wrote last; 0: Python knows it */
    uint64_t small_size; /* bytes allocated at `small`; zero from `length` on */
    uint8_t *small;
    uint32_t budget; /* that MEMORY is charged to */
    uint32_t budget_generation;
    uint64_t version; /* grows with every change that stat(2) shows, but for what fast paths write to memory */
    uint32_t uncertain; /* others may change the file: nothing is kept */
    uint32_t kept;
    uint64_t kept_version; /* the versions of this and all that it redirects to when `stat` was kept */
    uint8_t stat[144];     /* the guest's struct stat */
    int32_t donable;   /* a descriptor that may be sent to who may read, for it is open for reading only; <= 0: none */
    uint32_t opened;   /* grows when that changes */
    uint32_t donated;  /* guest halves have it */
    uint32_t offer;    /* PYSC_OFFER_*: of what fast paths look at first, where this redirects */
    uint64_t served;   /* bytes read from here in large pieces, by copies */
};

/* A file system of the host's behind one of our mounts: whether the loop may call it. */
#define PYSC_SUPER_NAMES 0 /* looking, opening, listing, closing */
#define PYSC_SUPER_DATA 1
struct pysc_super {
    struct pysc_header header;
    uint32_t remote;       /* over a network, or a process answers: the loop makes no call that may wait */
    uint32_t spare;
    int64_t slow_until[2]; /* CLOCK_MONOTONIC, ns, of names and of data: the watchdog's; 0: quick */
};

/* What the loop is at, in plain stores of its own, for the watchdog to read (watchdog.c). */
#define PYSC_AT_SEEN 0x80000000U /* set by the watchdog: whatever the loop does next takes it away */
struct pysc_pulse {
    uint32_t at;       /* in a host call on a superblock: (index + 1) << 1 | PYSC_SUPER_*; 0: in none */
    uint32_t turn;     /* grows when the loop begins to wait, and when it goes on: odd while Python runs */
    uint32_t asleep;   /* it waits on the host */
    uint32_t dozing;   /* a futex: the watchdog waits until it is told that the loop is awake */
    int64_t stalled;   /* ns: how long the loop has been away, where that was too long; 0: it was not */
    int64_t blocked;   /* of these, not running */
    uint32_t stalled_at; /* `at` when it was seen blocked last */
    uint32_t spare;
};

/* Shall there be a descriptor to be sent?  Fast paths ask, Python tries once. */
#define PYSC_OFFER_WANTED 1
#define PYSC_OFFER_DONE 2

/* Pages that may be used, and are; a charge goes to all the budgets above, too. */
struct pysc_budget {
    struct pysc_header header;
    int64_t limit, used;
    uint32_t parent; /* index + 1 */
    uint32_t spare;
};

/* What somebody waits for. */
#define PYSC_WAITS_BYTES 1
#define PYSC_WAITS_ROOM 2
#define PYSC_WAITS_POLL 4      /* pollers, for bytes */
#define PYSC_WAITS_POLL_ROOM 8 /* pollers, for room */

/* What of an inode of Python's fast paths look at. */
struct pysc_inode {
    struct pysc_header header;
    uint32_t mode, uid, gid;
    uint32_t data; /* of a regular file: index + 1 */
    uint32_t data_generation;
    uint32_t withdrawn; /* opening and closing it is Python's */
};

/* fs_struct: what CLONE_FS shares.  Places that fast paths do not know are 0. */
struct pysc_context {
    struct pysc_header header;
    uint32_t root, working; /* dentries: index + 1, in use */
    uint32_t root_mount, working_mount;
    uint32_t root_era, working_era;
};

struct pysc_pipe {
    struct pysc_header header;
    uint64_t capacity;
    uint64_t head;      /* of the ring at `bytes` */
    uint64_t size;      /* bytes held */
    uint64_t allocated; /* 0, or a power of two */
    uint32_t readers, writers;
    uint32_t packets; /* there are boundaries, which Python keeps */
    uint32_t waits;   /* PYSC_WAITS_*: tell Python of moves */
    uint32_t reader;  /* a thread that waits for bytes, and Python does not know: number + 1 */
    uint32_t taker;   /* a thread that may still find that it cannot store what it took last: number + 1 */
    uint64_t owed;    /* that many bytes before the head: they come back then */
    uint64_t moves;   /* of the head: who has looked at what is there sees whether it still is */
    uint8_t *bytes;
};

struct pysc_counter {
    struct pysc_header header;
    uint64_t count;
    uint32_t semaphore;
    uint32_t waits;
};

/* What signals do (sighand_struct): CLONE_SIGHAND shares it. */
struct pysc_action {
    uint64_t handler, flags, restorer, mask; /* as rt_sigaction(2) has them */
};

struct pysc_handlers {
    struct pysc_header header;
    struct pysc_action actions[64]; /* by signal - 1 */
};

/* A record lock (fcntl(2)): bytes `start` to `end`, both included. */
#define PYSC_LOCK_END 0x7fffffffffffffff /* to the end of the file, however long it grows */
struct pysc_lock {
    uint64_t owner; /* pysc_lock_owner() */
    uint64_t start, end;
    int32_t pid; /* who took it; -1 for a description */
    uint32_t exclusive;
};

/* Those of an inode, by their start.  Those of one owner do not overlap, equal ones do not touch; no two conflict. */
#define PYSC_LOCKS_MAX 65536 /* no more are taken; to give some up may cut others in two */
struct pysc_locks {
    struct pysc_header header;
    uint32_t n, room;
    uint32_t awaited; /* somebody waits for a change, and Python is to tell them */
    uint32_t spare;
    struct pysc_lock *records;
};

/* An epoll instance: its ready list. */
struct pysc_epoll {
    struct pysc_header header;
    uint32_t first, last; /* items: index + 1 */
    uint32_t waits;       /* somebody waits in it: tell Python when some are left */
    uint32_t spare;
};

/* A description that is watched by an epoll instance. */
struct pysc_item {
    struct pysc_header header;
    uint64_t data;
    uint32_t events; /* EPOLL*; only modes once a one-shot item has fired */
    uint32_t file;
    uint32_t generation;     /* of the description */
    uint32_t next, previous; /* on the ready list: index + 1 */
    uint32_t ready;          /* it is on the list */
};

/* NULL without memory. */
struct pysc_objects *pysc_objects_new(void);
void pysc_objects_free(struct pysc_objects *objects);

/* The sentry's own memory, which all that is kept for guests takes.  With more than `most` bytes beyond what there was when
 * the watchdog first looked (watchdog.c) it is short of what outlives processes: a file in memory, say.  With half as much
 * again nothing is begun that keeps more, so there is room for who takes such things away.  0: it never is. */
#define PYSC_MEMORY_ENOUGH 0
#define PYSC_MEMORY_SHORT 1
#define PYSC_MEMORY_OUT 2
void pysc_memory_limit(struct pysc_objects *objects, uint64_t most);
uint32_t pysc_memory_state(const struct pysc_objects *objects);

/* How many of the host's descriptors this process may have (RLIMIT_NOFILE), as it was when that was asked for last: once
 * when there are objects, and again by who raises it.  Under the sentry's filter nothing changes it, and where the host's
 * administrator does (prlimit(1)) opening more fails, or fewer are used. */
uint32_t pysc_descriptors(const struct pysc_objects *objects);
void pysc_descriptors_ask(struct pysc_objects *objects);

/* The index of a new, zeroed object, or -ENFILE, or -ENOMEM if memory is out. */
int64_t pysc_object_new(struct pysc_objects *objects, uint32_t kind);
/* Free an object and its memory; an index that names none is ignored. */
void pysc_object_free(struct pysc_objects *objects, uint32_t kind, uint32_t index);
/* How many of a kind live. */
uint32_t pysc_object_count(struct pysc_objects *objects, uint32_t kind);
/* The next living object of a kind from `index` on, or -1. */
int64_t pysc_object_next(const struct pysc_objects *objects, uint32_t kind, uint32_t index);

/* Objects as records, which mean the same in another process (saved.c): whoever begins there has objects of the same names.
 * While they are saved or loaded nothing else happens to any. */
#define PYSC_SAVED_VERSION 1
/* The next to be saved from `index` on, or -1: dentries that are there to be found sooner, no more, are not.  Begin with 0. */
int64_t pysc_saved_next(struct pysc_objects *objects, uint32_t kind, uint32_t index);
/* How long the record is; it is written if there is so much room.  -ENOENT. */
int64_t pysc_object_dump(struct pysc_objects *objects, uint32_t kind, uint32_t index, void *record, uint64_t room);
/* Make the object of a record, of which nothing is believed: 0, -EBADMSG, -ENOMEM.  In one that has its name already it is
 * made in place.  What was loaded is nothing until all of it has been checked; if either fails no object is left. */
int64_t pysc_object_load(struct pysc_objects *objects, const void *record, uint64_t size);
/* Check all together (sound.c), and make what records do not say: 0, -ENOMEM, or -EBADMSG, and what is wrong with which. */
struct pysc_refusal {
    uint32_t kind, index;
    const char *expected;
};
int64_t pysc_objects_check(struct pysc_objects *objects, struct pysc_refusal *refusal);
/* The descriptor of what is `missing` it, as long as it is: -EINVAL else, or -errno. */
int64_t pysc_data_set_file(struct pysc_data *data, int32_t file);
int64_t pysc_dcache_set_tree(struct pysc_objects *objects, uint32_t cache, int32_t tree);

/* NULL if there is no such object. */
struct pysc_table *pysc_table_at(struct pysc_objects *objects, uint32_t index);
struct pysc_file *pysc_file_at(struct pysc_objects *objects, uint32_t index);
struct pysc_data *pysc_data_at(struct pysc_objects *objects, uint32_t index);
struct pysc_pipe *pysc_pipe_at(struct pysc_objects *objects, uint32_t index);
struct pysc_counter *pysc_counter_at(struct pysc_objects *objects, uint32_t index);
struct pysc_budget *pysc_budget_at(struct pysc_objects *objects, uint32_t index);
struct pysc_epoll *pysc_epoll_at(struct pysc_objects *objects, uint32_t index);
struct pysc_item *pysc_item_at(struct pysc_objects *objects, uint32_t index);
struct pysc_handlers *pysc_handlers_at(struct pysc_objects *objects, uint32_t index);
struct pysc_locks *pysc_locks_at(struct pysc_objects *objects, uint32_t index);

/* The index of a copy, or -ENFILE; of what is ignored only, the rest is default, if `renewed`. */
int64_t pysc_handlers_copy(struct pysc_objects *objects, const struct pysc_handlers *handlers, int32_t renewed);
/* The signals that are ignored, or those that have a handler: a bit each. */
uint64_t pysc_handlers_ignored(const struct pysc_handlers *handlers);
uint64_t pysc_handlers_caught(const struct pysc_handlers *handlers);

/* Who has record locks: a descriptor table (POSIX locks), or a description (its own locks). */
uint64_t pysc_table_lock_owner(const struct pysc_table *table);
uint64_t pysc_file_lock_owner(const struct pysc_file *file);
/* The first lock of another owner's that stands in the way of `wanted`, or -1. */
int64_t pysc_locks_conflict(const struct pysc_locks *locks, const struct pysc_lock *wanted);
/* Cut the range of `given` out of what its owner has, and put it there if it is to be kept, which the caller knows to
 * conflict with nothing.  0; -ENOLCK: there are too many. */
int64_t pysc_locks_change(struct pysc_locks *locks, const struct pysc_lock *given, int32_t keep);
/* Be exactly these, which stand in order: the bytes of so many struct pysc_lock.  0 or -ENOLCK. */
int64_t pysc_locks_set(struct pysc_locks *locks, const void *records, uint32_t n);
/* Take all of an owner's away. */
void pysc_locks_release(struct pysc_locks *locks, uint64_t owner);

/* Ready lists: put an item at the end, where it is not on it yet; take it off; the first one, or -1. */
void pysc_epoll_add(struct pysc_objects *objects, struct pysc_epoll *epoll, struct pysc_item *item);
void pysc_epoll_drop(struct pysc_objects *objects, struct pysc_epoll *epoll, struct pysc_item *item);
int64_t pysc_epoll_first(const struct pysc_epoll *epoll);

struct pysc_super *pysc_super_at(struct pysc_objects *objects, uint32_t index);
struct pysc_pulse *pysc_objects_pulse(struct pysc_objects *objects);
/* Whether calls on a superblock (index + 1) of PYSC_SUPER_* `what` are to be made by workers, now. */
int32_t pysc_super_is_slow(struct pysc_objects *objects, uint32_t super, uint32_t what);

/* So many more want to be told of what is done with files, or of reads, too: while there are such, that is no matter of
 * fast paths. */
void pysc_objects_watch(struct pysc_objects *objects, int32_t more);
void pysc_reads_watch(struct pysc_objects *objects, int32_t more);
/* What guest halves were lent to read from by themselves (kept.c) is theirs no more: a number, or what it is of, changes. */
void pysc_lent_end(struct pysc_objects *objects);

/* Descriptor tables.  References are the caller's: a number that is added takes over one, a removed one gives it up.
 * Indices of files are checked by nobody: callers pass what they hold. */
int64_t pysc_table_get(const struct pysc_table *table, int64_t fd);
/* The lowest free number, which may be beyond all limits. */
int64_t pysc_table_lowest(const struct pysc_table *table);
/* The lowest free number from `lowest` on, now for `file`; -EMFILE if there is none below `limit`; -ENOMEM. */
int64_t pysc_table_install(struct pysc_table *table, uint32_t file, uint32_t lowest, uint32_t limit, int32_t cloexec);
/* Give a free number, below 1 << 20. */
int64_t pysc_table_put(struct pysc_table *table, uint32_t fd, uint32_t file, int32_t cloexec);
/* Take a number away: the file it had, or -EBADF. */
int64_t pysc_table_remove(struct pysc_objects *objects, struct pysc_table *table, int64_t fd);
/* The next open number from `fd` on, of those with FD_CLOEXEC if asked, or -1. */
int64_t pysc_table_next(const struct pysc_table *table, uint32_t fd, int32_t cloexec_only);
/* FD_CLOEXEC: 0, 1, or -EBADF. */
int64_t pysc_table_cloexec(const struct pysc_table *table, int64_t fd);
int64_t pysc_table_set_cloexec(struct pysc_table *table, int64_t fd, int32_t value);
/* The index of a copy, whose files have a reference more each; -ENFILE, -ENOMEM. */
int64_t pysc_table_copy(struct pysc_objects *objects, struct pysc_table *table);

/* Pipes: bytes without any waiting.  0 or -ENOMEM; the number of bytes. */
int64_t pysc_pipe_put(struct pysc_objects *objects, struct pysc_pipe *pipe, const void *bytes, uint64_t size);
int64_t pysc_pipe_peek(const struct pysc_pipe *pipe, void *bytes, uint64_t size);
int64_t pysc_pipe_take(struct pysc_pipe *pipe, void *bytes, uint64_t size);
int64_t pysc_pipe_drop(struct pysc_pipe *pipe, uint64_t size);
/* There are bytes, or an end has been closed: let who waits without Python's knowing look again. */
void pysc_pipe_rouse(struct pysc_objects *objects, struct pysc_pipe *pipe);

/* What the versions of `data` and all that it redirects to add up to; 0 if nothing may be kept of it. */
uint64_t pysc_data_version(struct pysc_objects *objects, const struct pysc_data *data);
void pysc_data_keep(struct pysc_objects *objects, struct pysc_data *data, const void *stat);
/* Change what may be sent to guests: they forget what they had. */
void pysc_data_donate(struct pysc_objects *objects, struct pysc_data *data, int32_t file);

/* Pages left, here and above; take some (negative: give back), whatever the limit says. */
int64_t pysc_budget_free(struct pysc_objects *objects, const struct pysc_budget *budget);
void pysc_budget_note(struct pysc_objects *objects, struct pysc_budget *budget, int64_t pages);

/* The bits in `stored` of what lies between two positions, which are not the same. */
uint32_t pysc_data_pages(uint64_t start, uint64_t end);

/* Contents in memory: `small` is made at least `size` long, zeroed beyond the length.  0 or -ENOMEM. */
int64_t pysc_data_grow(struct pysc_data *data, uint64_t size);
void pysc_data_shrink(struct pysc_data *data);

/* The dentry cache: what names lead to, so far as fast paths may answer for it.  There are two sources.
 *
 * A tree of the host's that guests cannot change and nobody else does is looked at from here.  Where an overlay hides a
 * name of the tree, or anything is known to Python alone, the name is withdrawn.  The directories of an overlay that have
 * an upper side are merged: their own attributes and listings are Python's, their names are answered for one by one.
 *
 * And Python shows dentries of its own: a name leads to an inode, or to nothing, until it says otherwise.
 */
#define PYSC_WITHDRAWN_NAME 1  /* until pysc_dentry_return: there is something of this name on the upper side */
#define PYSC_WITHDRAWN_INODE 2 /* for good: a mount point, a locked file … */
#define PYSC_WITHDRAWN_SHOWN 4 /* while it is shown: its directory is not the tree's */

/* What nobody else can guess, for the hashes of names.  -EBUSY: some are cached. */
int64_t pysc_names_key(struct pysc_objects *objects, uint64_t key);
/* The index of the cache, -errno; `tree` (borrowed) is a directory, on the superblock `super` (index + 1), or -1: all names
 * are shown.  Guests see all files on device `device`, and each directory with one link, if `overlaid`. */
int64_t pysc_dcache_new(struct pysc_objects *objects, int32_t tree, uint32_t super, uint64_t device, int32_t overlaid);
/* Answer for nothing below it any more. */
void pysc_dcache_disable(struct pysc_objects *objects, uint32_t cache);
/* It is not needed any more. */
void pysc_dcache_free(struct pysc_objects *objects, uint32_t cache);
/* The top of it: an index, now in use. */
int64_t pysc_dcache_top(struct pysc_objects *objects, uint32_t cache);
/* The dentry `name` in `parent`, whatever the host has there: an index, now in use.  -ENOMEM: the cache is disabled. */
int64_t pysc_dentry_enter(struct pysc_objects *objects, uint32_t parent, const char *name, uint64_t length);
/* Ask the host what it is, unless that is known.  0 if it is known now. */
int64_t pysc_dentry_ask(struct pysc_objects *objects, uint32_t dentry);
/* It is not used any more. */
void pysc_dentry_leave(struct pysc_objects *objects, uint32_t dentry);
/* Withdraw it, for `reason`; take one back.  Returns how many uses it has. */
int64_t pysc_dentry_withdraw(struct pysc_objects *objects, uint32_t dentry, uint32_t reason);
void pysc_dentry_return(struct pysc_objects *objects, uint32_t dentry, uint32_t reason);
/* A directory is merged from now on, and these are the attributes that searching it asks for. */
void pysc_dentry_merge(struct pysc_objects *objects, uint32_t dentry, uint32_t mode, uint32_t uid, uint32_t gid);
/* One more use. */
void pysc_dentry_use(struct pysc_objects *objects, uint32_t dentry);
int64_t pysc_dentry_uses(struct pysc_objects *objects, uint32_t dentry);
/* It leads to an inode, and is used for that; to nothing that is known, and is not.  What was said of it before, and of
 * names in it, does not count any more then. */
void pysc_dentry_show(struct pysc_objects *objects, uint32_t dentry, uint32_t inode);
void pysc_dentry_hide(struct pysc_objects *objects, uint32_t dentry);
/* The name does not exist; it does now. */
void pysc_dentry_show_absent(struct pysc_objects *objects, uint32_t parent, const char *name, uint64_t length);
void pysc_dentry_hide_absent(struct pysc_objects *objects, uint32_t parent, const char *name, uint64_t length);
/* Something is mounted on it, in some namespace: seen through `mount` that is `root` of mount `below`. */
void pysc_dentry_cover(struct pysc_objects *objects, uint32_t dentry);
void pysc_crossing_note(struct pysc_objects *objects, uint32_t mount, uint32_t dentry, uint32_t below, uint32_t root);
/* Mounts have changed. */
void pysc_crossings_forget(struct pysc_objects *objects);
/* Programs may be run, and mapped, from files that are reached by a mount, or may not; not known is not. */
void pysc_mount_note(struct pysc_objects *objects, uint32_t mount, int32_t executes);
/* There is a mount by which links are not followed: from now on that is nothing for fast paths. */
void pysc_links_leave(struct pysc_objects *objects);
/* A directory that Python opened is there. */
void pysc_file_place(struct pysc_objects *objects, struct pysc_file *file, uint32_t dentry, uint32_t mount);
struct pysc_inode *pysc_inode_at(struct pysc_objects *objects, uint32_t index);
/* The cache it is in. */
int64_t pysc_dentry_cache(struct pysc_objects *objects, uint32_t dentry);
/* Its parent; the top's own. */
int64_t pysc_dentry_parent(struct pysc_objects *objects, uint32_t dentry);
/* The name, of at most 255 bytes, without NUL: its length. */
int64_t pysc_dentry_name(struct pysc_objects *objects, uint32_t dentry, void *name);
/* The attributes as pysc.cabi.linux.attributes has them; -ENOENT if they are not known. */
int64_t pysc_dentry_attributes(struct pysc_objects *objects, uint32_t dentry, void *attributes, uint64_t size);
/* The next description from `index` on that fast paths opened at `dentry` (negative: anywhere) and Python has not seen. */
int64_t pysc_file_unseen(struct pysc_objects *objects, int64_t dentry, uint32_t index);
/* Say where a context is: dentries (negative: nowhere that is known), whose uses it takes over. */
void pysc_context_set(struct pysc_objects *objects, struct pysc_context *context, int64_t root, uint32_t root_mount,
                      int64_t working, uint32_t working_mount);
struct pysc_context *pysc_context_at(struct pysc_objects *objects, uint32_t index);
/* Give up a reference to a description that Python has not seen: whether that could be done here. */
int32_t pysc_file_forget(struct pysc_objects *objects, uint32_t index);
