/* Processor time: of a thread, of another thread, of the process; timers and sleeps on these clocks; who is charged. */
#include "guest.h"
#include <sys/resource.h>

static volatile int stop, ticks;
static volatile pid_t worker;
static void tick(int signal UNUSED) { ticks++; }

static double read_clock(clockid_t clock)
{
    struct timespec time;
    CHECK(clock_gettime(clock, &time) == 0);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void *work(void *argument UNUSED)
{
    worker = gettid();
    while (!stop)
        ;
    return NULL;
}

static void *sleeps(void *argument UNUSED)
{
    pause();
    return NULL;
}

static double used(int who)
{
    struct rusage usage;
    CHECK(getrusage(who, &usage) == 0);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* The processor time in seconds that /proc says. */
static double shown(const char *format, int id)
{
    char path[60], text[600] = {0};
    unsigned long user, system;
    snprintf(path, sizeof path, format, id);
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
    CHECK(sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2);
    return (double)(user + system) / sysconf(_SC_CLK_TCK);
}

/* What all processors have worked since the machine began, in seconds. */
static double worked(void)
{
    char text[200] = {0};
    unsigned long user, nice, system;
    int fd = open("/proc/stat", O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
    CHECK(sscanf(text, "cpu %lu %lu %lu", &user, &nice, &system) == 3);
    return (double)(user + nice + system) / sysconf(_SC_CLK_TCK);
}

/* It counts for the machine, though nobody waits for who has used it. */
static void forgotten(void)
{
    int gone[2];
    char byte;
    double before = worked();
    CHECK(pipe(gone) == 0 && signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    pid_t child = CHILD(while (used(RUSAGE_SELF) < 0.2) ;);
    close(gone[1]);
    CHECK(read(gone[0], &byte, 1) == 0);
    CHECK(waitpid(child, NULL, 0) == -1 && errno == ECHILD && signal(SIGCHLD, SIG_DFL) != SIG_ERR);
    say("the machine has worked: %d\n", worked() - before >= 0.15);
}

static struct timeval part(int who, int system)
{
    struct rusage usage;
    CHECK(getrusage(who, &usage) == 0);
    return system ? usage.ru_stime : usage.ru_utime;
}

/* What the program and what the kernel used are sums that only grow. */
static void grows(const char *of, int who)
{
    struct timeval last[2] = {{0}}, next;
    int back = 0;
    for (double end = used(who) + 0.2; used(who) < end;)
        for (int system = 0; system < 2; system++, last[system - 1] = next) {
            next = part(who, system);
            back += timercmp(&next, &last[system], <);
        }
    say("%s's time went back %d times\n", of, back);
}

int main(void)
{
    pthread_t thread;
    clockid_t clock;
    forgotten();
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0 && pthread_getcpuclockid(thread, &clock) == 0);
    while (read_clock(clock) < 0.3)
        nap(10);
    say("a thread's own clock stands while another works: %d\n", read_clock(CLOCK_THREAD_CPUTIME_ID) < 0.15);
    say("the process's has both: %d\n", read_clock(CLOCK_PROCESS_CPUTIME_ID) >= 0.3);
    say("so do the sums: %d %d\n", used(RUSAGE_THREAD) < 0.15, used(RUSAGE_SELF) >= 0.25);
    say("and /proc: %d %d %d\n", shown("/proc/self/task/%d/stat", getpid()) < 0.15,
        shown("/proc/self/task/%d/stat", worker) >= 0.25, shown("/proc/self/stat", 0) >= 0.25);

    handle(SIGUSR1, 0, tick);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec soon = {.it_value = {0, 50000000}};
    timer_t timer;
    double before = read_clock(clock);
    CHECK(timer_create(clock, &event, &timer) == 0 && timer_settime(timer, 0, &soon, NULL) == 0);
    while (!ticks)
        nap(5);
    say("a timer on it: %d\n", read_clock(clock) - before >= 0.049);
    CHECK(timer_delete(timer) == 0 && timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
    nap(200);
    say("a timer on the clock of who sleeps: %d\n", ticks);
    before = read_clock(clock);
    struct timespec time = {0, 50000000};
    TRY(clock_nanosleep(clock, 0, &time, NULL));
    say("slept for it: %d\n", read_clock(clock) - before >= 0.049);
    stop = 1;
    pthread_join(thread, NULL);
    while (syscall(SYS_tgkill, getpid(), worker, 0) == 0)
        sched_yield(); /* who has been joined may not have gone yet */
    TRY(clock_gettime(clock, &time));
    CHECK(clock_getcpuclockid(getppid(), &clock) == 0);
    TRY(clock_gettime(clock, &time));

    double own = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    pid_t child = CHILD(double end = read_clock(CLOCK_PROCESS_CPUTIME_ID) + 0.05; while (read_clock(CLOCK_PROCESS_CPUTIME_ID) < end));
    CHECK(reap(child) == 0);
    say("a child's, once it was waited for: %d %d\n", used(RUSAGE_CHILDREN) >= 0.05, read_clock(CLOCK_PROCESS_CPUTIME_ID) - own < 0.04);
    own = used(RUSAGE_CHILDREN);
    handle(SIGCHLD, 0, SIG_IGN);
    child = CHILD(double end = read_clock(CLOCK_PROCESS_CPUTIME_ID) + 0.05; while (read_clock(CLOCK_PROCESS_CPUTIME_ID) < end));
    TRY(waitpid(child, NULL, 0));
    say("not, if nobody waited: %d\n", used(RUSAGE_CHILDREN) == own);
    grows("a process", RUSAGE_SELF);
    CHECK(pthread_create(&thread, NULL, sleeps, NULL) == 0);
    grows("a thread", RUSAGE_THREAD);
    return done();
}
