/* Signals to threads and processes that their makers know of before they have begun: none is lost.  Others keep the
 * processors busy, so that many have not. */
#include "guest.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ROUNDS 200
#define BUSY 4

static _Thread_local volatile int got;
static volatile int heard;

static void
hear(int signo)
{
    (void)signo;
    got = 1;
    heard++;
}

static void *
compute(void *argument)
{
    while (!got) /* without a system call: only preemption shows it the signal */
        ;
    return argument;
}

static volatile int busy = 1;

static void *
spin(void *argument)
{
    while (busy)
        ;
    return argument;
}

static void
threads(void)
{
    heard = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t thread;

        CHECK(pthread_create(&thread, NULL, compute, NULL) == 0);
        CHECK(pthread_kill(thread, SIGUSR1) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    printf("threads heard %d\n", heard);
}

/* A thread that makes no call at all, not even glibc's, until the signal has come. */
static volatile int struck;

static void
strike(int signo)
{
    (void)signo;
    struck = 1;
}

static int
bare(void *argument)
{
    (void)argument;
    while (!struck)
        ;
    syscall(SYS_exit, 0);
    return 0;
}

static void
bare_threads(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    struct sigaction action = {.sa_handler = strike};
    int begun = 0;

    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        static volatile pid_t left;
        int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                    CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
        pid_t thread;

        struck = 0;
        left = 1;
        thread = clone(bare, stack + sizeof stack, flags, NULL, NULL, NULL, &left);
        CHECK(thread > 0 && syscall(SYS_tgkill, getpid(), thread, SIGUSR2) == 0);
        while (left)
            sched_yield();
        begun++;
    }
    printf("bare threads were struck: %d\n", begun);
}

static void
children(int signo)
{
    int ended = 0;

    for (int i = 0; i < ROUNDS / 2; i++) {
        int status;
        pid_t child = fork();

        if (child == 0) {
            while (!got)
                ;
            _exit(7);
        }
        CHECK(child > 0 && kill(child, signo) == 0);
        CHECK(waitpid(child, &status, 0) == child);
        ended += signo == SIGKILL ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                  : WIFEXITED(status) && WEXITSTATUS(status) == 7;
    }
    printf("children ended as they should: %d\n", ended);
}

/* Its tid is where its maker wanted it before it looks. */
static volatile pid_t told;
static int
look(void *argument)
{
    *(pid_t *)argument = told;
    return told != syscall(SYS_gettid);
}

static void
tids(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    int right = 0;

    for (int i = 0; i < ROUNDS / 2; i++) {
        pid_t seen = 0, child;
        int status;

        told = 0;
        child = clone(look, stack + sizeof stack, CLONE_VM | CLONE_PARENT_SETTID | SIGCHLD, &seen, &told);
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        right += seen == child && status == 0;
    }
    printf("tids: %d\n", right);
}

int
main(void)
{
    struct sigaction action = {.sa_handler = hear};
    pthread_t others[BUSY];

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < BUSY; i++)
        CHECK(pthread_create(&others[i], NULL, spin, NULL) == 0);
    threads();
    bare_threads();
    busy = 0;
    for (int i = 0; i < BUSY; i++)
        CHECK(pthread_join(others[i], NULL) == 0);
    children(SIGUSR1);
    children(SIGKILL);
    tids();
    puts("EXIT-SUCCESS");
    return 0;
}
