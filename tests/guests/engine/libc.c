/* A static program with a C library: stdio, malloc, threads, mutexes, a condition variable. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 20

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int total, ready;
static __thread int mine = 5;

static void *
work(void *argument)
{
    long me = (long)argument;

    mine += (int)me;
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&mutex);
        total++;
        pthread_mutex_unlock(&mutex);
    }
    pthread_mutex_lock(&mutex);
    ready++;
    pthread_cond_signal(&condition);
    pthread_mutex_unlock(&mutex);
    return (void *)(long)mine;
}

int
main(void)
{
    pthread_t threads[THREADS];
    char *block = malloc(1 << 20);

    memset(block, 1, 1 << 20);
    for (long i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            return 2;
    }
    pthread_mutex_lock(&mutex);
    while (ready < THREADS)
        pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    for (long i = 0; i < THREADS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        if ((long)result != 5 + i)
            return 3;
    }
    printf("total %d\n", total);
    free(block);
    return 0;
}
