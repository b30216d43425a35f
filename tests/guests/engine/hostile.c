/* A child does what argv[1] says to its own process; its parent must be served all the while. argv[2]: a gadget. */
#include "nolibc.h"
#include "../../../cabi/channel/channel.h"
#include "gadget.h"

struct record {
    unsigned long self;
    unsigned preempt, index;
    unsigned long check, guest_rsp, entry_stack, base;
    unsigned leave, unused;
    struct pysc_slot *slot;
    struct pysc_channel *channel;
    struct pysc_shared *shared;
    struct {
        unsigned other[7];
        int socket;
    } *space;
};
#define RING (0x40 | 0x4000) /* MSG_DONTWAIT | MSG_NOSIGNAL */

static struct record *
record(void)
{
    struct record *r;

    __asm__ volatile("rdgsbase %0" : "=r"(r));
    return r;
}

static void
fill(volatile unsigned char *at, unsigned long size, unsigned seed)
{
    for (unsigned long i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        at[i] = (unsigned char)(seed >> 16);
    }
}

static void
ring(const char *at)
{
    static const unsigned long one = 1;

    HOST(__NR_sendto, record()->space->socket, &one, 8, RING, 0, 0);
}

/* What the filter must refuse although the instruction pointer is in the guest half, and what it lets through. */
static void
keyhole(const char *at)
{
    static char buffer[4096] __attribute__((aligned(4096)));
    static unsigned word;
    long page = HOST(__NR_mmap, 0, 4096, 3, 0x22, -1, 0);

    CHECK(page > 0x400000);
    CHECK(HOST(__NR_sendto, 0, buffer, 8, RING, 0, 0) == -9); /* its parent's socket is not there */
    CHECK(HOST(__NR_sendto, record()->space->socket, buffer, 16, RING, 0, 0) == -1);
    CHECK(HOST(__NR_sendto, record()->space->socket, buffer, 8, 0, 0, 0) == -1);
    CHECK(HOST(__NR_sendto, record()->space->socket, buffer, 8, RING, buffer, 16) == -1);
    CHECK(HOST(__NR_sendto, record()->space->socket, buffer, 8, RING, 0, 0) == 8);
    CHECK(HOST(__NR_close, 1000) == -9);
    CHECK(HOST(__NR_pread64, record()->space->socket, buffer, 8, 0) == -29);
    CHECK(HOST(__NR_mmap, 0x20000, 4096, 7, 0x32, -1, 0) == -1);
    CHECK(HOST(__NR_mmap, 0, 4096, 3, 0x22 | 0x40000, -1, 0) == -1);  /* HUGETLB */
    CHECK(HOST(__NR_mmap, 0, 4096, 3, 0x22 | 0x2000, -1, 0) == -1);   /* LOCKED */
    CHECK(HOST(__NR_mmap, 0, 4096, 0x1000003, 0x22, -1, 0) == -1);
    CHECK(HOST(__NR_mprotect, 0x20000, 4096, 7) == -1);
    CHECK(HOST(__NR_munmap, 0x20000, 4096) == -1);
    CHECK(HOST(__NR_munmap, 0x10000, 0x1000000) == -1);
    CHECK(HOST(__NR_mremap, page, 4096, 4096, 3, 0x20000) == -1);
    CHECK(HOST(__NR_mremap, 0x20000, 4096, 4096, 1, 0) == -1);
    CHECK(HOST(__NR_madvise, page, 4096, 100) == -1); /* HWPOISON */
    CHECK(HOST(__NR_madvise, page, 4096, 9) == -1);   /* REMOVE */
    CHECK(HOST(__NR_madvise, 0x20000, 4096, 4) == -1);
    CHECK(HOST(__NR_futex, &word, 6, 0) == -1);        /* LOCK_PI */
    CHECK(HOST(__NR_futex, &word, 5, 0) == -1);        /* WAKE_OP */
    CHECK(HOST(__NR_futex, &word, 1, 1) == 0);
    CHECK(HOST(__NR_arch_prctl, 0x1001, 0) == -1);     /* SET_GS */
    CHECK(HOST(__NR_membarrier, 1, 0) == -1);          /* GLOBAL */
    CHECK(HOST(__NR_mprotect, (long)record()->channel - 0x10000, 4096, 3) == -13); /* the shared page is sealed */
    CHECK(HOST(__NR_clone, 0x8000, 0, 0, 0, 0) == -1);
    CHECK(HOST(__NR_clone, PYSC_CLONE_FORK, 0, 0, 0, 0) == -1);
    CHECK(HOST(__NR_clone, PYSC_CLONE_THREAD, 0, 0, 0, 0) == -1);
    static const short never[] = {__NR_write, __NR_sendmsg, __NR_recvfrom, __NR_dup, __NR_open, __NR_openat, __NR_socket, __NR_execve, __NR_fork, __NR_vfork, __NR_clone3,
                                  __NR_ptrace, __NR_kill, __NR_tgkill, __NR_prctl, __NR_seccomp, __NR_rt_sigaction,
                                  __NR_rt_sigprocmask, __NR_dup2, __NR_dup3, __NR_fcntl, __NR_ioctl, __NR_pwrite64,
                                  __NR_process_vm_writev, __NR_setrlimit, __NR_prlimit64,
                                  __NR_userfaultfd, __NR_io_uring_setup, __NR_io_uring_enter, __NR_io_uring_register,
                                  __NR_set_robust_list, __NR_mlock};
    for (unsigned i = 0; i < sizeof never / sizeof *never; i++)
        CHECK(HOST(never[i], 0, 0, 0, 0, 0, 0) == -1);
    CHECK(HOST(0x40000000 + __NR_write, 1, buffer, 8) == -1);
}

static void
forge(const char *at, unsigned kind)
{
    struct pysc_slot *slot = record()->slot;

    for (int i = 0; i < 100; i++) {
        slot->kind = kind;
        slot->nr = 12345678901L;
        slot->n_hints = 0xffffffff;
        slot->n_commands = 0xffffffff;
        for (int k = 0; k < 4; k++)
            slot->hints[k] = (struct pysc_hint){~0UL, 0xfffffff0, 0xfffffff0};
        __atomic_store_n(&slot->turn, 1, __ATOMIC_SEQ_CST);
        for (int k = 0; k < 64; k++)
            record()->channel->pending[k] = ~0UL;
        ring(at);
    }
}

/* Report a call for the thread of a slot. */
static void
report_for(const char *at, struct pysc_slot *slot, unsigned index, long nr)
{
    slot->kind = PYSC_KIND_SYSCALL;
    slot->nr = nr;
    slot->n_hints = 0;
    __atomic_store_n(&slot->turn, PYSC_TURN_SENTRY, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(&record()->channel->pending[index / 64], 1UL << (index % 64), __ATOMIC_SEQ_CST);
    ring(at);
}

/* Play the guest half: report a call, and answer the commands that come for it with another one. */
static void
answer_with_call(const char *at)
{
    struct pysc_slot *slot = record()->slot;

    report_for(at, slot, record()->index, 605);
    while (__atomic_load_n(&slot->turn, __ATOMIC_SEQ_CST) != PYSC_TURN_GUEST)
        __asm__ volatile("pause");
    report_for(at, slot, record()->index, 604);
}

static const char *forger_at;
static struct record *held;

/* Calls of a thread that is in the middle of one. */
static void
forge_for_other(void)
{
    while (held->slot->nr != 606)
        SYS(__NR_sched_yield, 0);
    for (int i = 0; i < 3; i++)
        SYS(603, 0); /* the other's has been taken by now */
    for (int i = 0; i < 50; i++) {
        report_for(forger_at, held->slot, held->index, 604);
        SYS(603, 0);
    }
    SYS(607, 0);
    for (;;)
        SYS(603, 0);
}

static void
be_held(const char *at)
{
    forger_at = at;
    held = record();
    start_thread(forge_for_other);
    CHECK(SYS(606, 0) == 7);
    quit(0);
}

static const char *clone_at;
static volatile int clones;

/* Each of these is refused, whatever other clone the sentry has just ordered of this process. */
static void
clone_otherwise(void)
{
    static const long flags[] = {0, 17, 0x8000, 0x8011, 0x8100, PYSC_CLONE_FORK | 0x100, PYSC_CLONE_FORK | 17,
                                 PYSC_CLONE_FORK & ~0x8000L, PYSC_CLONE_FORK | 0x20000000, 1L << 32 | PYSC_CLONE_FORK};
    const char *at = clone_at;

    for (;;) {
        for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++)
            CHECK(HOST(__NR_clone, flags[i], 0, 0, 0, 0) == -1);
        clones++;
    }
}

static void
fork_meanwhile(const char *at)
{
    clone_at = at;
    start_thread(clone_otherwise);
    for (int i = 0; i < 30; i++) {
        int before = clones;

        if (SYS(__NR_fork, 0) == 0)
            quit(0);
        while (clones < before + 2)
            SYS(__NR_sched_yield, 0);
    }
}

static void
attack(char mode, const char *at)
{
    switch (mode) {
    case 'c': /* channel */
        fill((void *)record()->channel, 8192, 1);
        fill((void *)record()->slot, sizeof(struct pysc_slot), 2);
        SYS(__NR_getpid, 0);
        break;
    case 'r': /* record and stack */
        fill((void *)((unsigned long)record() - 4096), 4096 + 200, 3);
        SYS(__NR_getpid, 0);
        break;
    case 'j': /* jump into the guest half */
        ((void (*)(void))(at - 0x123))();
        break;
    case 't': /* all of it is executable: somewhere else */
        ((void (*)(void))0x20900)();
        break;
    case 'd': /* rings */
        for (int i = 0; i < 200000; i++)
            ring(at);
        break;
    case 'k':
        keyhole(at);
        SYS(600, 0); /* tells that all held */
        break;
    case 'h':
        fork_meanwhile(at);
        SYS(600, 0);
        break;
    case 's': /* hang up */
        HOST(__NR_close, record()->space->socket);
        SYS(__NR_getpid, 0);
        break;
    case 'b':
        forge(at, PYSC_KIND_BORN);
        break;
    case 'n':
        forge(at, 77);
        break;
    case 'f':
        forge(at, PYSC_KIND_FRAME_FAULT);
        break;
    case 'u':
        forge(at, PYSC_KIND_UNDONE);
        break;
    case 'y':
        answer_with_call(at);
        break;
    case 'w':
        be_held(at);
        break;
    case 'o':
        forge(at, PYSC_KIND_DONE);
        break;
    }
    for (;;)
        __asm__ volatile("pause");
}

int
guest(long argc, char **argv)
{
    const char *at = gadget_at(argv[2]);

    (void)argc;
    if (SYS(__NR_fork, 0) == 0)
        attack(argv[1][0], at);
    for (int i = 0; i < 3000; i++) {
        CHECK(SYS(__NR_getpid, 0) == 42);
        if (argv[1][0] == 'h') /* none is ordered of this process */
            CHECK(HOST(__NR_clone, PYSC_CLONE_FORK, 0, 0, 0, 0) == -1);
    }
    SYS(601, 0); /* wait for the keyhole's test, or for the end of who breaks the protocol */
    say("EXIT-SUCCESS\n");
    return 0;
}
