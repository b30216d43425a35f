/* The C library's locks under contention: mutexes, conditions, rwlocks, semaphores, spinning on shared memory. */
#include "guest.h"
#include <semaphore.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t slots;
static int counter, turn, under_lock, passes;

static void *contend(void *argument)
{
    int me = (int)(long)argument;
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    for (int i = 0; i < 50; i++) {
        pthread_mutex_lock(&mutex);
        while (turn % 4 != me)
            pthread_cond_wait(&turn_changed, &mutex);
        turn++;
        pthread_cond_broadcast(&turn_changed);
        pthread_mutex_unlock(&mutex);
    }
    for (int i = 0; i < 500; i++) {
        if (i % 10 == me) {
            pthread_rwlock_wrlock(&rwlock);
            under_lock++;
            pthread_rwlock_unlock(&rwlock);
        } else {
            pthread_rwlock_rdlock(&rwlock);
            CHECK(under_lock >= 0);
            pthread_rwlock_unlock(&rwlock);
        }
        sem_wait(&slots);
        __atomic_fetch_add(&passes, 1, __ATOMIC_RELAXED);
        sem_post(&slots);
    }
    return NULL;
}

int main(void)
{
    pthread_t thread[4];
    sem_init(&slots, 0, 2);
    for (long i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, contend, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    say("counter %d turn %d under %d passes %d\n", counter, turn, under_lock, passes);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec = (until.tv_nsec + 20000000) % 1000000000;
    pthread_mutex_lock(&mutex);
    say("timed wait: %s\n", strerrorname_np(pthread_cond_timedwait(&turn_changed, &mutex, &(struct timespec){1, 0})));
    struct { pthread_mutex_t mutex; int count; } *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->mutex, &attributes);
    pid_t child[3];
    for (int i = 0; i < 3; i++)
        child[i] = CHILD(for (int k = 0; k < 3000; k++) {
            pthread_mutex_lock(&shared->mutex);
            shared->count++;
            pthread_mutex_unlock(&shared->mutex);
        });
    for (int i = 0; i < 3; i++)
        CHECK(reap(child[i]) == 0);
    say("between processes: %d\n", shared->count);
    return done();
}
