/* The channel: memory that one guest address space shares with the sentry alone.
 *
 * Both the guest half and the dispatcher compile this file, and cffi parses it for Python, so it holds no includes and no
 * conditions.  Everything that the sentry reads here is hostile: it reads each word once and keeps the protocol's state
 * in memory of its own.  A change of any layout or meaning changes PYSC_CHANNEL_VERSION.
 *
 * A slot is one thread's.  `turn` says who may write to it: the guest half fills in a report and sets turn to
 * PYSC_TURN_SENTRY; the sentry fills in commands and sets it back.
 */
#define PYSC_CHANNEL_VERSION 8
#define PYSC_SLOTS 4096
#define PYSC_DATA_SIZE 65536
#define PYSC_DATA_ROOM 61440     /* for commands; paths that came as hints are above */
#define PYSC_COMMANDS 64
#define PYSC_HINTS 9             /* an iovec and what eight parts of it hold */
#define PYSC_HINT_STRINGS 0x80000000
#define PYSC_KEPT 8              /* places for descriptors that a guest half keeps to read from */
#define PYSC_LENT 64             /* numbers of a guest's descriptors that it may read from by itself */
#define PYSC_FILTER_LENGTH 512

/* Where things are in a guest process. */
#define PYSC_LOW 0x10000
#define PYSC_LIMIT 0x400000
#define PYSC_VDSO 0x40000         /* our own image, what AT_SYSINFO_EHDR says */
#define PYSC_VDSO_TABLE 0x50000   /* the host's functions */
#define PYSC_TABLE_START 0x60000
#define PYSC_TABLE_END 0x70000
#define PYSC_TASK_SIZE 0x7ffffffff000
#define PYSC_STACK_SIZE 131072
#define PYSC_SPACE_OFFSET 0xa0000 /* so far below the channel begins what else of the guest half lies high; the stacks end it */
#define PYSC_TRAMPOLINES 0x80000
#define PYSC_SITES 1088          /* call sites that can be patched; the last PYSC_CANCELLABLE are of that form */
#define PYSC_CANCELLABLE 64
#define PYSC_IMAGES 32768        /* ranges of memory that come from an image; each is a mapping at least (vm.max_map_count) */

/* A blank's only descriptor, its end of the space's socket; what is donated comes above. */
#define PYSC_FD_SOCKET 0

/* The host signal that preempts. */
#define PYSC_SIGNAL_PREEMPT 63

#define PYSC_POLLED 1            /* the sentry looks at `pending` by itself: ring only when it is asleep */
#define PYSC_MAY_SPIN 2          /* who waits may look for its turn for a while, before it sleeps */

#define PYSC_TURN_GUEST 0
#define PYSC_TURN_SENTRY 1

/* clone(2) flags: the two that the sentry lets pass. */
#define PYSC_CLONE_FORK 0x208000
#define PYSC_CLONE_THREAD 0x1250f00

/* What a report says.  The first six are those of pysc.sentry.platform.interface.Kind. */
#define PYSC_KIND_SYSCALL 1
#define PYSC_KIND_PREEMPTED 2
#define PYSC_KIND_FAULT 3
#define PYSC_KIND_INTERRUPTED 4
#define PYSC_KIND_SIGRETURN 5
#define PYSC_KIND_GONE 6
#define PYSC_KIND_BORN 16        /* a blank waits for a program */
#define PYSC_KIND_DONE 17
#define PYSC_KIND_FRAME_FAULT 18
#define PYSC_KIND_UNDONE 19      /* a read could not be done as ordered: nr, args are the call's; do it over */

/* Commands.  Those from PYSC_VERDICT on end the stop. */
#define PYSC_CMD_COPY_IN 1       /* address, size, offset: to data; result size or -EFAULT */
#define PYSC_CMD_COPY_OUT 2      /* address, size, offset: from data */
#define PYSC_CMD_PUT 3           /* as COPY_OUT; a fault becomes the result of the verdict */
#define PYSC_CMD_STRING_IN 4     /* address, limit, offset: result length without NUL, -ENAMETOOLONG, -EFAULT */
#define PYSC_CMD_STRINGS_IN 5    /* address, index, limit, offset: see commands.c */
#define PYSC_CMD_HOST 6          /* nr, five arguments, the sixth in `extra` */
#define PYSC_CMD_RECEIVE 7       /* count: descriptors from the socket */
#define PYSC_CMD_MAP 8           /* address, length, prot, flags, index of a received descriptor, offset */
#define PYSC_CMD_ZERO 9          /* address, size: result size or -EFAULT */
#define PYSC_CMD_CLOSE 10        /* close all received descriptors */
#define PYSC_CMD_SET_REGISTERS 11
#define PYSC_CMD_FORK 12
#define PYSC_CMD_CLONE 13        /* slot, stack, has tls, tls */
#define PYSC_CMD_KEEP 14         /* place, serial: receive a descriptor and keep it there; 0 or -errno */
#define PYSC_CMD_FORGET 15       /* place: close it */
#define PYSC_CMD_WAKE_OP 16      /* the six arguments of futex(2) with FUTEX_WAKE_OP; its result */
#define PYSC_CMD_BRK 17          /* address; where the heap ends now */
#define PYSC_VERDICT 32
#define PYSC_CMD_REPLY 32        /* result */
#define PYSC_CMD_RESUME 33
#define PYSC_CMD_RESTART 34      /* number */
#define PYSC_CMD_RUN 35          /* as HOST, and its result is the system call's */
#define PYSC_CMD_EXIT 36         /* clear_tid */
#define PYSC_CMD_READ 37         /* place, serial, address, size, offset: pread64 of a kept descriptor, all of it */

/* command flags */
#define PYSC_FLAG_FRAME 1        /* deliver `frame` with this verdict */
#define PYSC_FLAG_PREEMPT 2      /* RUN: it was preempted meanwhile, so do not begin */
#define PYSC_FLAG_REDO 4         /* REPLY: when a PUT faulted the call is reported as UNDONE */
#define PYSC_FLAG_RESULT 8       /* REPLY: with the result of the command of that index */
#define PYSC_FLAG_UNLESS_FAILED 16 /* if a command before it failed (other than copies), report DONE instead */
#define PYSC_FLAG_IMAGE 32       /* MAP: of an image, privately; to the guest it is anonymous memory */

struct pysc_registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, eflags, fs_base;
};

struct pysc_command {
    uint32_t op, flags;
    int64_t result;
    uint64_t args[6];
    uint64_t extra;
};

struct pysc_frame {
    int32_t signo;
    uint32_t has_stack;
    uint64_t handler, restorer, mask;
    uint64_t stack_sp, stack_flags, stack_size;
    uint64_t on_stack;
    uint8_t info[128];
};

/* Guest memory that travelled with the request: a hint, nothing depends on it.  With PYSC_HINT_STRINGS in its size it is
 * all strings of the array at `address`, each with its NUL. */
struct pysc_hint {
    uint64_t address;
    uint32_t size, offset;
};

/* Words that the guest half answers getpid and its kin from, when `ready` is set. */
struct pysc_ids {
    uint32_t ready;
    int32_t pid, tid, ppid;
    uint32_t uid, euid, gid, egid;
};

/* As long as `era` is that of the shared page the thread's descriptor of some number is what the guest half keeps by this
 * name: it answers pread64(2) of it by itself. */
struct pysc_lent {
    uint64_t era;  /* 0: of nothing */
    uint64_t name; /* the place, and its serial times PYSC_KEPT */
};

struct pysc_slot {
    uint32_t turn;
    uint32_t sleeping;           /* the guest half sleeps on `turn` */
    uint32_t tid;                /* host tid, zeroed by the host when the thread has ended */
    uint32_t kind;
    int64_t nr;
    uint64_t args[6];
    uint32_t n_hints;
    uint32_t n_commands;
    uint32_t cpu;                /* where the thread ran when it reported */
    uint32_t waits;              /* the sentry will not answer soon: do not spin */
    uint32_t early;              /* a thread that begins is to be preempted at once */
    uint32_t quiet;              /* no signal is pending, for it or its process: it may change `sigmask` */
    uint64_t sigmask;            /* blocked signals; the sentry looks at them once `quiet` is cleared */
    struct pysc_hint hints[PYSC_HINTS];
    struct pysc_registers regs;
    struct pysc_frame frame;
    struct pysc_ids ids;
    uint64_t clear_tid, robust_list; /* set_tid_address(2), set_robust_list(2): what the thread's end looks at */
    struct pysc_command commands[PYSC_COMMANDS];
    struct pysc_lent lent[PYSC_LENT]; /* by number */
    uint8_t padding[1920];
    uint8_t data[PYSC_DATA_SIZE];
};

/* One page that all guests map read-only. */
struct pysc_shared {
    uint32_t asleep;             /* the sentry sleeps, or is about to: ring */
    uint32_t spin_cycles;        /* how long (TSC) a waiting guest half looks at `turn` before it sleeps */
    uint64_t era;                /* grows when a number that was lent may mean something else */
};

struct pysc_channel {
    uint32_t version;
    uint32_t fastpath;           /* the guest half may answer calls by itself, and patch */
    uint64_t base;               /* where the guest maps this; the places of all else follow from it */
    uint64_t table;              /* where the jump table begins */
    uint64_t heap_start;         /* where brk(2) begins, before the first instruction of a program */
    uint32_t polled;             /* PYSC_POLLED, PYSC_MAY_SPIN */
    uint32_t filter_length;
    uint64_t pending[64];        /* a bit per slot: PYSC_SLOTS / 64 words */
    uint64_t filter[PYSC_FILTER_LENGTH];
    uint64_t heap_end;           /* where it is now: for show */
    uint64_t heap_limit;         /* bytes; RLIMIT_DATA */
    uint64_t attached_start, attached_end; /* calls that unmap what lies between are the sentry's: it counts there */
    uint8_t padding[3512];
    struct pysc_slot slots[PYSC_SLOTS];
};
