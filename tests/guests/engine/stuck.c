/* A process of two threads, one of which never reports: preempted, it goes on waiting by itself.  argv[1]: a gadget. */
#include "gadget.h"

#define THREAD 0x50f00 /* VM FS FILES SIGHAND THREAD SYSVSEM */

static const char *at;
static char stack[16384] __attribute__((aligned(16)));
static volatile int begun;
static int word;

static _Noreturn void
wait_for_ever(void)
{
    begun = 1;
    for (;;)
        HOST(__NR_futex, &word, 0, 0, 0); /* only preempting ends it */
}

static void
start_thread(void)
{
    long tid;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;

    __asm__ volatile("syscall\n test %%eax, %%eax\n jnz 1f\n xor %%ebp, %%ebp\n call *%%rbx\n ud2\n1:"
                     : "=a"(tid)
                     : "a"(__NR_clone), "D"(THREAD), "S"(stack + sizeof stack), "d"(0L), "r"(r10), "r"(r8), "b"(wait_for_ever)
                     : "rcx", "r11", "memory");
    CHECK(tid > 0);
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
        start_thread();
        while (!begun)
            SYS(__NR_sched_yield, 0);
        quit(5);
    }
    CHECK(SYS(__NR_wait4, child, &status, 0, 0) == child);
    return status >> 8;
}
