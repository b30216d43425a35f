/* Signals are shot at a thread that forks, and at one that waits for futexes: no fork fails, no signal is lost. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { printf("failed: %s\n", #x); exit(1); } } while (0)
#define ROUNDS 300
#define FORKS 20

static volatile int word, tid, asleep, stop;
static volatile long signals;

static void
note(int signo)
{
    (void)signo;
    signals++;
    word = 1;
}

static void *
wait_for_signals(void *unused)
{
    tid = (int)syscall(SYS_gettid);
    for (int i = 1; i <= ROUNDS; i++) {
        word = 0;
        asleep = i;
        while (word == 0) /* nobody wakes it: only the handler ends the wait */
            syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
    }
    return unused;
}

static void *
shoot(void *argument)
{
    while (!stop) {
        syscall(SYS_tgkill, getpid(), (int)(long)argument, SIGUSR1);
        usleep(200);
    }
    return NULL;
}

int
main(void)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    pthread_t thread;

    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&thread, NULL, wait_for_signals, NULL);
    for (int i = 1; i <= ROUNDS; i++) {
        while (asleep < i)
            sched_yield();
        for (volatile int k = 0; k < i % 50 * 100; k++)
            ;
        syscall(SYS_tgkill, getpid(), tid, SIGUSR1); /* once: a lost one is a hang */
    }
    pthread_join(thread, NULL);
    CHECK(signals == ROUNDS);
    pthread_create(&thread, NULL, shoot, (void *)(long)syscall(SYS_gettid));
    for (int i = 0; i < FORKS; i++) {
        long pid = fork();

        CHECK(pid >= 0);
        if (pid == 0)
            _exit(0);
    }
    stop = 1;
    pthread_join(thread, NULL);
    puts("EXIT-SUCCESS");
    return 0;
}
