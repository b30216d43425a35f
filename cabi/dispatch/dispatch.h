/* The dispatcher: the sentry's side of all channels.  One thread uses an engine.  Failure is the -errno returned.
 *
 * Threads and spaces are named by small numbers that Python gets from *_add.  What a guest wrote is copied once and
 * validated here; which thread may report at all is this side's own knowledge (`state`).
 */
struct pysc_engine;
struct pysc_objects;

/* Thread `id` goes on with a call that has waited here, on a description that may have no number any more: it is
 * pysc_thread_take_held()'s.  No report of a guest's has this kind. */
#define PYSC_RESUMED 8
#define PYSC_UNDONE 9 /* what thread `id` was last sent, by pysc_reply_undoable, did not fit its memory; the call is over */
#define PYSC_READY 32 /* an event's kind: a watched descriptor (`id`) is ready for args[0] */
#define PYSC_MOVED 33 /* a fast path changed object `id` of kind `nr`, which somebody waits for: it has args[0] now */
#define PYSC_BORN 35 /* a process has spoken for the first time on the socket of space `id`: its pid is nr; 0: none ever will */
/* The loop was away for args[0] ns, of which it was blocked for args[1], last in a host call of PYSC_SUPER_* args[2] on
 * superblock `id` (index + 1; 0: in none that is known). */
#define PYSC_STALLED 36
#define PYSC_LEFT 37 /* nobody has description `id` but who reads this: it is Python's to release */
#define PYSC_DONATED 34 /* thread `id` has taken what it was sent: descriptors may be sent to its space again */

struct pysc_event {
    uint32_t id;
    uint32_t kind;
    int64_t nr;
    uint64_t args[6];
};

struct pysc_counters {
    uint64_t reports;  /* taken out of channels */
    uint64_t served;   /* of these, answered by fast paths */
    uint64_t spins;    /* ended with a report */
    uint64_t vain;     /* spins that did not */
    uint64_t sleeps;
    uint64_t wakes;    /* guest threads that had to be woken */
};

/* Returns NULL when memory or descriptors are short. */
struct pysc_engine *pysc_engine_new(void);
void pysc_engine_free(struct pysc_engine *engine);

/* The page that all guests map read-only, shared through the memfd `file`. */
int64_t pysc_engine_share(struct pysc_engine *engine, int32_t file);

/* The descriptors that it has opened: its epoll instance, and what spaces are made of.  Stores up to `max` of them, and
 * returns how many there are. */
uint32_t pysc_engine_descriptors(const struct pysc_engine *engine, int32_t *files, uint32_t max);

struct pysc_counters *pysc_engine_counters(struct pysc_engine *engine);
/* From now on keep them in the file (borrowed), a page that others may read; once. */
int64_t pysc_engine_count_in(struct pysc_engine *engine, int32_t file);

/* A stopped thread of process `pid` is going to be told to make the thread `child`, in its space or in a new one, which
 * has been added as stopped: until either reports, or the child's process speaks, the host lets it. */
int64_t pysc_bear(struct pysc_engine *engine, uint32_t thread, int32_t pid, uint32_t child);

/* The descriptors of a space; the space's own.  -1: closed. */
struct pysc_space_ends {
    int32_t memory; /* of the channel */
    int32_t socket, guest_socket;
};

/* Make a space: open its ends, map its channel, listen to its socket.  Returns the space's number. */
int64_t pysc_space_new(struct pysc_engine *engine, struct pysc_space_ends *ends);
/* Close what is only kept until the guest has it: memory and guest_socket. */
void pysc_space_close_guest_ends(struct pysc_engine *engine, uint32_t space);
int64_t pysc_space_remove(struct pysc_engine *engine, uint32_t space);
struct pysc_channel *pysc_space_channel(struct pysc_engine *engine, uint32_t space);

/* Expect reports of the thread in `slot`, or, if it is `stopped`, take commands for what it does first.  Returns the
 * thread's number. */
int64_t pysc_thread_add(struct pysc_engine *engine, uint32_t space, uint32_t slot, int32_t stopped);
/* Returns the description that it waited with, as pysc_thread_take_held() does. */
int64_t pysc_thread_remove(struct pysc_engine *engine, uint32_t thread);

/* Fast paths send descriptors, too, for a guest half to keep and read from.
 * Python is about to send some itself: 1, until pysc_donation_end; 0 if it has to wait for PYSC_DONATED, or the end of
 * a thread, since what a fast path has sent is still on its way. */
int64_t pysc_donation_begin(struct pysc_engine *engine, uint32_t space);
int64_t pysc_donation_end(struct pysc_engine *engine, uint32_t space);
struct pysc_slot *pysc_thread_slot(struct pysc_engine *engine, uint32_t thread);

/* Answer ordinary calls on these objects here, without an event. */
void pysc_engine_serve(struct pysc_engine *engine, struct pysc_objects *objects);
/* The descriptor table that calls of a thread refer to; negative: none, so nothing is answered here. */
int64_t pysc_thread_use_table(struct pysc_engine *engine, uint32_t thread, int64_t table);

/* A file that a fast path has mapped: the host's device and inode, and what it was opened by. */
struct pysc_mapped {
    uint64_t device, inode;
    uint32_t dentry, mount;
};

/* Take the next one that Python has not heard of, whose dentry the caller leaves: 1; 0: there is none. */
int32_t pysc_space_take_mapped(struct pysc_engine *engine, uint32_t space, struct pysc_mapped *mapped);
/* The single thread of a space may map the description of that index again, privately, by `fd` (borrowed). */
int64_t pysc_space_note_mapping(struct pysc_engine *engine, uint32_t space, uint32_t index, int32_t fd, int32_t may_execute);

/* Calls of its threads that unmap, move or replace what lies between these addresses are Python's; 0, 0: none. */
int64_t pysc_space_set_attached(struct pysc_engine *engine, uint32_t space, uint64_t start, uint64_t end);

/* The dispositions that rt_sigaction(2) of a thread sets; negative: Python's alone. */
int64_t pysc_thread_use_handlers(struct pysc_engine *engine, uint32_t thread, int64_t handlers);

/* Resource limits, as prlimit64(2) shows them. */
#define PYSC_LIMITS 16
struct pysc_limits {
    uint64_t known;
    uint64_t pairs[PYSC_LIMITS][2];
};
int64_t pysc_thread_set_limits(struct pysc_engine *engine, uint32_t thread, const void *pairs, uint64_t size);

/* The call of a stopped thread waits for something that may take a while: its guest half shall sleep, not spin. */
void pysc_thread_let_wait(struct pysc_engine *engine, uint32_t thread);
/* Whether a fast path lets it wait; have its call come to Python, as if it were made now: 1; 0: it does not wait, and will
 * not before Python has had an event of it. */
int32_t pysc_thread_waits(struct pysc_engine *engine, uint32_t thread);
int32_t pysc_thread_rouse(struct pysc_engine *engine, uint32_t thread);
/* The index of the description that a call waited with which goes on in Python (PYSC_RESUMED): the reference is the
 * caller's from now on.  -ENOENT: there is none, or it has been taken. */
int64_t pysc_thread_take_held(struct pysc_engine *engine, uint32_t thread);
/* Whether it has reported nothing that the sentry has yet to answer, as the guest itself says. */
int32_t pysc_thread_has_turn(struct pysc_engine *engine, uint32_t thread);

/* Whose files a thread may use (permissions.py). */
struct pysc_access {
    uint32_t fsuid, fsgid;
    uint32_t has_groups; /* and others, which are Python's to look through */
    uint32_t override, read_search; /* CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH */
    uint32_t real; /* access(2) asks for the same ids, with these capabilities, or, if `privileged` is 0, without */
    uint32_t privileged;
};
/* Where paths of a thread's calls start (a pysc_context; negative: none, so no path is looked at), and its rights. */
int64_t pysc_thread_use_context(struct pysc_engine *engine, uint32_t thread, int64_t context);
/* The number of its process, which locks tell. */
int64_t pysc_thread_set_pid(struct pysc_engine *engine, uint32_t thread, int32_t pid);
int64_t pysc_thread_set_access(struct pysc_engine *engine, uint32_t thread, const struct pysc_access *access);

/* The mask of blocked signals, which the thread may change by itself while it is quiet: nothing is pending. */
uint64_t pysc_thread_sigmask(struct pysc_engine *engine, uint32_t thread);
int64_t pysc_thread_set_sigmask(struct pysc_engine *engine, uint32_t thread, uint64_t mask);
int64_t pysc_thread_set_quiet(struct pysc_engine *engine, uint32_t thread, int32_t quiet);

/* epoll(7) by descriptor; EPOLL* events. */
int64_t pysc_watch(struct pysc_engine *engine, int32_t file, uint32_t events);
int64_t pysc_unwatch(struct pysc_engine *engine, int32_t file);

/* Wait until there is an event or `timeout_ns` (negative: for ever) has passed; returns how many were stored.  `max` is
 * 2 at least: what one report says may be two events. */
int64_t pysc_wait(struct pysc_engine *engine, int64_t timeout_ns, struct pysc_event *events, uint32_t max);

/* Watch the calling thread, the loop.  `status` is its stat(5) in procfs, `memory` the statm of the process, open and from
 * now on the watchdog's, or -1: that cannot be looked at.  NULL with *error set if there is no thread to be had. */
struct pysc_watchdog *pysc_watchdog_start(struct pysc_engine *engine, struct pysc_objects *objects, int32_t status,
                                          int32_t memory, int32_t *error);
void pysc_watchdog_stop(struct pysc_watchdog *watchdog);

/* Append a command for a stopped thread.  Returns its index, or -ENOBUFS when the list is full, or -ESRCH. */
int64_t pysc_command(struct pysc_engine *engine, uint32_t thread, uint32_t op, uint32_t flags, uint64_t a0, uint64_t a1,
                     uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t extra);
/* Hand the commands over. */
int64_t pysc_flush(struct pysc_engine *engine, uint32_t thread);
/* Append PYSC_CMD_REPLY and hand over. */
int64_t pysc_reply(struct pysc_engine *engine, uint32_t thread, int64_t result);
/* The same; where a PUT of the batch faults there is no result, but PYSC_UNDONE. */
int64_t pysc_reply_undoable(struct pysc_engine *engine, uint32_t thread, int64_t result);
/* Append a copy of `size` bytes at `data` to the guest's `address`, as `op` (PUT or COPY_OUT).  -ENOBUFS: no room. */
int64_t pysc_put(struct pysc_engine *engine, uint32_t thread, uint32_t op, uint64_t address, const void *data, uint64_t size);
/* Reserve room in the data area; returns its offset, or -ENOBUFS.  Where too little is left, hints are dropped. */
int64_t pysc_reserve(struct pysc_engine *engine, uint32_t thread, uint64_t size);
/* The result of command `index` of the last batch. */
int64_t pysc_result(struct pysc_engine *engine, uint32_t thread, uint32_t index);

/* seccomp_unotify(2) */
/* Watch the listener (borrowed), and answer what comes: an ordered clone goes on, all else is EPERM. */
int64_t pysc_listen(struct pysc_engine *engine, int32_t listener);

/* Send descriptors (borrowed, at most 4) in one message; -EBUSY while the last one has not been taken. */
int64_t pysc_donate(int32_t socket, const int32_t *files, uint32_t count);

/* tgkill(2) */
int64_t pysc_tgkill(int32_t process, int32_t thread, int32_t signo);
