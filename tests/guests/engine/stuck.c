/* A process of two threads, one of which never reports: preempted, it goes on waiting by itself.  argv[1]: a gadget.  Before
 * that one that reports a call, and never does what is ordered for it, is killed. */
#include "gadget.h"
#include "../../../cabi/channel/channel.h"

static const char *at;
static volatile int begun;
static int word;

static void
wait_for_ever(void)
{
    begun = 1;
    for (;;)
        HOST(__NR_futex, &word, 0, 0, 0); /* only preempting ends it */
}

/* Report a call of which the sentry wants to read the bytes. */
static void
order_and_ignore(void)
{
    struct {
        unsigned long self;
        unsigned preempt, index;
        unsigned long other[5];
        struct pysc_slot *slot;
        struct pysc_channel *channel;
        struct pysc_shared *shared;
        struct {
            unsigned other[7];
            int socket;
        } *space;
    } *record;
    static const unsigned long nothing;

    __asm__ volatile("rdgsbase %0" : "=r"(record));
    record->slot->kind = PYSC_KIND_SYSCALL;
    record->slot->nr = __NR_write;
    record->slot->args[0] = 1;
    record->slot->args[1] = (unsigned long)&word;
    record->slot->args[2] = sizeof word;
    record->slot->n_hints = 0;
    __atomic_store_n(&record->slot->turn, PYSC_TURN_SENTRY, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(&record->channel->pending[record->index / 64], 1UL << (record->index % 64), __ATOMIC_SEQ_CST);
    HOST(__NR_sendto, record->space->socket, &nothing, 8, 0x4040, 0, 0);
    for (;;)
        __asm__ volatile("pause");
}

static void
kill_who_ignores(void)
{
    const long pause[2] = {0, 100000000};
    long child = SYS(__NR_fork, 0);
    int status = 0;

    if (child == 0)
        order_and_ignore();
    CHECK(SYS(__NR_nanosleep, pause, 0) == 0);
    CHECK(SYS(__NR_kill, child, 9) == 0);
    CHECK(SYS(__NR_wait4, child, &status, 0, 0) == child && status == 9);
}

int
guest(long argc, char **argv)
{
    int status = 0;
    long child;

    (void)argc;
    at = gadget_at(argv[1]);
    kill_who_ignores();
    CHECK(SYS(__NR_mmap, 0, 4096, 3, 0x21, -1, 0) > 0); /* shared: no process of this memory is ended before its threads */
    child = SYS(__NR_fork, 0);
    if (child == 0) {
        start_thread(wait_for_ever);
        while (!begun)
            SYS(__NR_sched_yield, 0);
        quit(5);
    }
    CHECK(SYS(__NR_wait4, child, &status, 0, 0) == child);
    return status >> 8;
}
