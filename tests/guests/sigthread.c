/* Signals and threads: directed ones reach their thread, process-wide ones a thread that lets them in. */
#include "guest.h"

static pthread_t worker[4];
static volatile int hits[10], anybody = -1;
static pthread_barrier_t barrier;

static int whoami(void)
{
    for (int i = 0; i < 4; i++)
        if (pthread_equal(worker[i], pthread_self()))
            return i;
    return 9;
}

static void direct(int signal UNUSED) { hits[whoami()]++; }
static void wide(int signal UNUSED) { anybody = whoami(); }

static void *run(void *argument)
{
    long me = (long)argument;
    sigset_t usr2 = set_of(SIGUSR2), term = set_of(SIGTERM);
    pthread_sigmask(me == 2 ? SIG_UNBLOCK : SIG_BLOCK, &usr2, NULL);
    pthread_barrier_wait(&barrier);
    if (me == 3) {
        int signal;
        CHECK(sigwait(&term, &signal) == 0);
        say("thread 3 waited for signal %d\n", signal);
    }
    while (hits[me] < 100 || anybody < 0)
        sched_yield();
    return NULL;
}

static void *started(void *argument)
{
    __atomic_fetch_add((int *)argument, 1, __ATOMIC_SEQ_CST);
    nap(60);
    return NULL;
}

/* A signal while the new thread is waited for: what is made again is the wait, not the thread. */
static void joined(void)
{
    int count = 0;
    pthread_t thread;
    handle(SIGALRM, SA_RESTART, direct);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL);
    CHECK(pthread_create(&thread, NULL, started, &count) == 0 && pthread_join(thread, NULL) == 0);
    nap(20);
    say("threads started: %d\n", count);
}

int main(void)
{
    joined();
    sigset_t usr2 = set_of(SIGUSR2);
    sigaddset(&usr2, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &usr2, NULL);
    handle(SIGUSR1, 0, direct);
    handle(SIGUSR2, 0, wide);
    pthread_barrier_init(&barrier, NULL, 5);
    for (long i = 0; i < 4; i++)
        pthread_create(&worker[i], NULL, run, (void *)i);
    pthread_barrier_wait(&barrier);
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGUSR2);
    for (int round = 0; round < 100; round++)
        for (int i = 0; i < 4; i++) {
            pthread_kill(worker[i], SIGUSR1);
            while (hits[i] <= round)
                sched_yield();
        }
    for (int i = 0; i < 4; i++)
        pthread_join(worker[i], NULL);
    say("hits %d %d %d %d, the wide one by %d\n", hits[0], hits[1], hits[2], hits[3], anybody);
    TRY(syscall(SYS_tgkill, getpid(), 0, SIGUSR1));
    TRY(syscall(SYS_tgkill, getpid(), getpid() + 40000, SIGUSR1));
    TRY(syscall(SYS_tkill, -1, SIGUSR1));
    TRY(syscall(SYS_tkill, 12345678, 99));
    TRY(syscall(SYS_tkill, gettid(), 99));
    siginfo_t info = {.si_code = SI_QUEUE};
    TRY(syscall(SYS_rt_sigqueueinfo, 12345678, 99, &info));
    return done();
}
