/* A thread ends with a robust mutex held: the next owner is told. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sched.h>
#include <unistd.h>

static pthread_mutex_t mutex;
static volatile int held;

static void *
hold(void *argument)
{
    pthread_mutex_lock(&mutex);
    held = 1;
    usleep(20000); /* so that the other waits for it, usually */
    return argument;
}

int
main(void)
{
    pthread_t thread;
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &attributes);
    pthread_create(&thread, NULL, hold, NULL);
    while (!held)
        sched_yield();
    if (pthread_mutex_lock(&mutex) != EOWNERDEAD) {
        puts("not told");
        return 1;
    }
    pthread_mutex_consistent(&mutex);
    pthread_mutex_unlock(&mutex);
    puts("EXIT-SUCCESS");
    return 0;
}
