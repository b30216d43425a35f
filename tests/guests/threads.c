/* 200 threads alive at once, each with its own stack, TLS and id; then 500 one after another. */
#include "guest.h"
#include <dirent.h>
#include <linux/futex.h>

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

static volatile int go_on;

static int run_to_end(void *argument UNUSED)
{
    while (!go_on)
        sched_yield();
    syscall(SYS_exit, 0);
    return 0;
}

static int count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = -2; /* . and .. */

    while (readdir(tasks))
        n++;
    closedir(tasks);
    return n;
}

/* In a process of its own: the word of a thread that ends is cleared, that of the last one is left as it is, for nobody is
 * left who would look; nor is the word of the fork of a process that had threads. */
static void last_ones(void)
{
    static char stack[65536];
    volatile int *words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;

    for (int i = 0; i < 4; i++)
        words[i] = 77;
    reap(CHILD(syscall(SYS_set_tid_address, &words[0]); syscall(SYS_exit, 0)));
    reap(CHILD({
        syscall(SYS_set_tid_address, &words[1]);
        CHECK(clone(run_to_end, stack + sizeof stack, flags, NULL, NULL, NULL, &words[2]) > 0);
        reap(CHILD(syscall(SYS_set_tid_address, &words[3]); syscall(SYS_exit, 0)));
        go_on = 1;
        for (int seen; (seen = words[2]) != 0;)
            syscall(SYS_futex, &words[2], FUTEX_WAIT, seen, NULL, NULL, 0);
        while (count_threads() > 1)
            nap(1);
        syscall(SYS_exit, 0);
    }));
    say("the last ones: %d %d %d %d\n", words[0], words[1], words[2], words[3]);
}

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
    last_ones();
    return done();
}
