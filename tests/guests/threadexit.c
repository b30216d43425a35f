/* Ends of threads: the leader leaves first, exit_group from a thread, a fatal signal takes all, robust mutexes. */
#include "guest.h"
#include <dirent.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/resource.h>

static pthread_mutex_t *robust;

static void *later(void *argument)
{
    nap(30);
    _exit((int)(long)argument);
}

static void *idle(void *argument UNUSED)
{
    for (;;)
        pause();
    return NULL;
}

static char state_of(pid_t pid)
{
    char path[40], text[400] = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && close(fd) == 0);
    return strrchr(text, ')')[2];
}

static int threads_of(pid_t pid)
{
    char path[40];
    int count = -2;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *directory = opendir(path);
    CHECK(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
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

/* Who has been told of a process's end finds its locks given up, without having to wait. */
static void told_after_that(void)
{
    int given_up = 0;

    for (int i = 0; i < 40; i++) {
        reap(CHILD(CHECK(pthread_mutex_lock(robust) == 0); if (i % 2) syscall(SYS_exit, 0); _exit(0)));
        given_up += pthread_mutex_trylock(robust) == EOWNERDEAD;
        pthread_mutex_consistent(robust);
        pthread_mutex_unlock(robust);
    }
    say("given up when it is told: %d\n", given_up);
}

/* A robust list as no library makes it: struct robust_list_head, and entries of a link and a word. */
struct entry {
    struct entry *next;
    uint32_t word;
};
static struct {
    struct entry *first;
    long offset;
    struct entry *pending;
} list;

static void *leave_list(void *entries)
{
    for (struct entry *entry = entries; entry < (struct entry *)entries + 2; entry++)
        entry->word = (uint32_t)syscall(SYS_gettid) | FUTEX_WAITERS;
    list.offset = offsetof(struct entry, word);
    CHECK(syscall(SYS_set_robust_list, &list, sizeof list) == 0);
    return NULL;
}

static void say_words(const char *what, int ring, int pending)
{
    static struct entry entries[2];
    pthread_t thread;

    entries[0].next = entries; /* it never comes back to its head */
    list.first = ring ? &entries[0] : (struct entry *)&list;
    list.pending = pending ? &entries[1] : NULL;
    CHECK(pthread_create(&thread, NULL, leave_list, entries) == 0 && pthread_join(thread, NULL) == 0);
    say("%s: %x, %x\n", what, entries[0].word & ~FUTEX_TID_MASK, entries[1].word & ~FUTEX_TID_MASK);
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
    child = CHILD(in_thread(idle, 0, 1));
    for (double end = seconds() + 10; state_of(child) != 'Z'; nap(1))
        CHECK(seconds() < end);
    say("in /proc it is one, of %d\n", threads_of(child));
    kill(child, SIGKILL);
    CHECK(reap(child) == -SIGKILL);
    child = CHILD(_exit(0));
    siginfo_t info;
    struct rlimit limit;
    cpu_set_t cpus;
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
    say("a zombie: %c, of %d\n", state_of(child), threads_of(child));
    TRY(sched_getscheduler(child));
    TRY(getpriority(PRIO_PROCESS, child));
    TRY(prlimit(child, RLIMIT_NOFILE, NULL, &limit));
    TRY_OK(sched_getaffinity(child, sizeof cpus, &cpus));
    CHECK(reap(child) == 0);
    TRY(sched_getscheduler(child));

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
    told_after_that();
    say_words("a ring", 1, 0);
    say_words("the one that was being taken", 0, 1);
    return done();
}
