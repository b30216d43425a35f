/* Signals reach a thread that computes, one that sleeps, and one that waits for a futex. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>

#define CHECK(x) do { if (!(x)) { printf("failed: %s\n", #x); exit(1); } } while (0)

static volatile int signals, stage, word;
static volatile int tid;

static void
note(int signo)
{
    (void)signo;
    signals++;
}

static void *
work(void *unused)
{
    struct timespec time = {30, 0};

    tid = (int)syscall(SYS_gettid);
    stage = 1;
    while (signals == 0)
        ;
    stage = 2;
    CHECK(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, &time) == -1 && errno == EINTR);
    CHECK(time.tv_sec >= 20);
    stage = 3;
    CHECK(syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0) == -1 && errno == EINTR);
    stage = 4;
    return unused;
}

int
main(void)
{
    pthread_t thread;
    struct sigaction action = {.sa_handler = note};

    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&thread, NULL, work, NULL);
    for (int i = 1; i < 4; i++) {
        struct timespec moment = {0, 3000000};

        while (stage < i)
            syscall(SYS_sched_yield);
        for (int n = 0; stage == i; n++) {
            syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &moment, NULL);
            syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
        }
    }
    pthread_join(thread, NULL);
    puts("EXIT-SUCCESS");
    return 0;
}
