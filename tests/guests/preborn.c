/* Signals to threads and processes that their makers know of before they have begun: none is lost. */
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ROUNDS 200

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

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    threads();
    children(SIGUSR1);
    children(SIGKILL);
    tids();
    puts("EXIT-SUCCESS");
    return 0;
}
