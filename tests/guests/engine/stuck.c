/* A process of two threads, one of which never reports: preempted, it goes on waiting by itself.  argv[1]: a gadget. */
#include "gadget.h"

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

int
guest(long argc, char **argv)
{
    int status = 0;
    long child;

    (void)argc;
    at = gadget_at(argv[1]);
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
