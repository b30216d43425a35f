/* Ends of threads: the leader leaves first, exit_group from a thread, a fatal signal takes all, robust mutexes. */
#include "guest.h"

static pthread_mutex_t *robust;

static void *later(void *argument)
{
    nap(30);
    _exit((int)(long)argument);
}

static void *crash(void *argument UNUSED)
{
    nap(10);
    *(volatile int *)8 = 1;
    return NULL;
}

static void *die_with_it(void *argument UNUSED)
{
    pthread_mutex_lock(robust);
    return NULL;
}

static volatile int held;

/* Take the mutex and go on running, or sleeping. */
static void *hold(void *sleeping)
{
    pthread_mutex_lock(robust);
    held = 1;
    for (volatile unsigned turns = 0; !sleeping; turns++)
        ;
    for (;;)
        pause();
    return NULL;
}

static void while_held(int sleeping, void (*end)(void))
{
    pthread_t thread;
    pthread_create(&thread, NULL, hold, sleeping ? robust : NULL);
    while (!held)
        sched_yield();
    end();
}

static void leave(void) { _exit(0); }
static void replace(void) { execl("/proc/self/exe", "threadexit", "nothing", NULL); }
static void be_killed(void) { kill(getpid(), SIGKILL); }

/* A lock of a process that has ended like this; its next owner sleeps on it meanwhile. */
static void owner_ends(const char *how, int sleeping, void (*end)(void))
{
    pid_t child = CHILD(while_held(sleeping, end));
    int status = reap(child), found = pthread_mutex_lock(robust);
    say("owner %s, %s: %d, then %s\n", how, sleeping ? "asleep" : "running", status, strerrorname_np(found) ?: "0");
    if (found == EOWNERDEAD)
        pthread_mutex_consistent(robust);
    pthread_mutex_unlock(robust);
}

static void in_thread(void *(*body)(void *), long argument, int leave)
{
    pthread_t thread;
    pthread_create(&thread, NULL, body, (void *)argument);
    if (leave)
        pthread_exit(NULL);
    for (;;)
        pause();
}

int main(int argc, char **argv UNUSED)
{
    if (argc > 1)
        return 0;
    say("leader left first: %d\n", reap(CHILD(in_thread(later, 9, 1))));
    say("exit_group from a thread: %d\n", reap(CHILD(in_thread(later, 8, 0))));
    say("a crash in a thread: %d\n", reap(CHILD(in_thread(crash, 0, 0))));
    pid_t child = CHILD(in_thread(later, 0, 1));
    int status;
    nap(5);
    say("a leader that left is no zombie: %d\n", waitpid(child, &status, WNOHANG) == 0);
    CHECK(reap(child) == 0);

    robust = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(robust, &attributes);
    pthread_t thread;
    pthread_create(&thread, NULL, die_with_it, NULL);
    pthread_join(thread, NULL);
    say("owner died, a thread: %s\n", strerrorname_np(pthread_mutex_lock(robust)));
    pthread_mutex_consistent(robust);
    pthread_mutex_unlock(robust);
    reap(CHILD(pthread_mutex_lock(robust)));
    say("owner died, a process: %s\n", strerrorname_np(pthread_mutex_lock(robust)));
    pthread_mutex_consistent(robust);
    pthread_mutex_unlock(robust);
    child = CHILD(pthread_mutex_lock(robust); kill(getpid(), SIGKILL));
    reap(child);
    say("owner killed: %s\n", strerrorname_np(pthread_mutex_lock(robust)));
    pthread_mutex_consistent(robust);
    pthread_mutex_unlock(robust);
    for (int sleeping = 0; sleeping < 2; sleeping++) {
        owner_ends("left", sleeping, leave);
        owner_ends("executed", sleeping, replace);
        owner_ends("was killed", sleeping, be_killed);
    }
    return done();
}
