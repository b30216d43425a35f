/* First one thread, then two threads at once have files mapped (call 600 returns the address), fifty times each. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *
work(void *argument)
{
    for (int i = 0; i < 50; i++) {
        char *at = (char *)syscall(600, argument);

        if (strcmp(at, argument ? "second" : "first") != 0)
            return (void *)1;
        munmap(at, 4096);
    }
    return NULL;
}

int
main(void)
{
    pthread_t threads[2];
    void *results[2];

    if (work(NULL))
        return 1;
    for (long i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], &results[i]);
    if (results[0] || results[1])
        return 1;
    return (int)syscall(601); /* the kernel looks at our descriptors */
}
