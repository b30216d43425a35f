/* 200 threads at once, then generations of short ones: slots are taken again. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>

static pthread_barrier_t barrier;

static void *
wait_for_all(void *argument)
{
    pthread_barrier_wait(&barrier);
    return argument;
}

static void *
nothing(void *argument)
{
    return argument;
}

int
main(void)
{
    static pthread_t threads[200];
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_barrier_init(&barrier, NULL, 201);
    for (long i = 0; i < 200; i++) {
        if (pthread_create(&threads[i], &attributes, wait_for_all, (void *)i) != 0)
            return 2;
    }
    pthread_barrier_wait(&barrier);
    for (long i = 0; i < 200; i++) {
        void *result;
        pthread_join(threads[i], &result);
        if ((long)result != i)
            return 3;
    }
    for (long i = 0; i < 300; i++) {
        if (pthread_create(&threads[0], &attributes, nothing, NULL) != 0)
            return 4;
        pthread_join(threads[0], NULL);
    }
    puts("EXIT-SUCCESS");
    return 0;
}
