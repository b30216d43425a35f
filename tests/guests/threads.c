/* 200 threads alive at once, each with its own stack, TLS and id; then 500 one after another. */
#include "guest.h"

enum { THREADS = 200 };
static __thread int mine;
static pthread_barrier_t barrier;
static pid_t ids[THREADS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int sum;

static void *run(void *argument)
{
    mine = (int)(long)argument;
    ids[mine] = gettid();
    pthread_barrier_wait(&barrier);
    CHECK(getpid() != gettid());
    pthread_mutex_lock(&lock);
    sum += mine;
    pthread_mutex_unlock(&lock);
    pthread_barrier_wait(&barrier);
    CHECK(mine == (int)(long)argument);
    return (void *)(long)(mine * 2);
}

static void *quick(void *argument) { return argument; }

int main(void)
{
    pthread_t thread[THREADS];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (long i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], &attributes, run, (void *)i) == 0);
    long results = 0;
    for (int i = 0; i < THREADS; i++) {
        void *result;
        CHECK(pthread_join(thread[i], &result) == 0);
        results += (long)result;
    }
    for (int i = 0; i < THREADS; i++)
        for (int k = 0; k < i; k++)
            CHECK(ids[i] != ids[k] && ids[i] > 0);
    say("sum %d results %ld\n", sum, results);
    for (long i = 0; i < 500; i++) {
        void *result;
        CHECK(pthread_create(thread, &attributes, quick, (void *)i) == 0);
        CHECK(pthread_join(*thread, &result) == 0 && result == (void *)i);
    }
    return done();
}
