/* What every guest program uses.  Include it first.  A program checks what it can with CHECK, and shows the rest with
 * TRY and say(): words and numbers that are the same on every machine.  It ends with done(). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* A bad address that the compiler does not see through. */
static UNUSED void *volatile BAD = (void *)8;

static UNUSED void say(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vdprintf(1, format, list);
    va_end(list);
}

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            say("FAILED %s:%d: %s (errno %s)\n", __FILE__, __LINE__, #condition, strerrorname_np(errno));    \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

/* Print a call and its result, or the name of its error. */
#define TRY(call)                                                                                            \
    ({                                                                                                       \
        errno = 0;                                                                                           \
        long result_ = (long)(call);                                                                         \
        int errno_ = errno;                                                                                  \
        if (result_ == -1)                                                                                   \
            say("%s = %s\n", #call, strerrorname_np(errno_));                                                \
        else                                                                                                 \
            say("%s = %ld\n", #call, result_);                                                               \
        errno = errno_;                                                                                      \
        result_;                                                                                             \
    })

/* The same, for results that mean nothing to the reader: pids, times, addresses. */
#define TRY_OK(call)                                                                                         \
    ({                                                                                                       \
        errno = 0;                                                                                           \
        long result_ = (long)(call);                                                                         \
        int errno_ = errno;                                                                                  \
        say("%s = %s\n", #call, result_ == -1 ? strerrorname_np(errno_) : "ok");                             \
        errno = errno_;                                                                                      \
        result_;                                                                                             \
    })

static UNUSED int done(void)
{
    say("EXIT-SUCCESS\n");
    return 0;
}

/* Not on this machine, for a reason: the runner skips. */
static UNUSED void skip(const char *reason)
{
    say("%s\n", reason);
    _exit(77);
}

#ifndef SCRATCH
#define SCRATCH "/tmp"
#endif
static char scratch_path[64];
static pid_t scratch_owner;

static UNUSED int scratch_remove(const char *path, const struct stat *st UNUSED, int type UNUSED, struct FTW *ftw UNUSED)
{
    return remove(path);
}

static UNUSED void scratch_end(void)
{
    if (getpid() == scratch_owner && chdir("/") == 0)
        nftw(scratch_path, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* Make an empty directory, work in it, and remove it at exit. */
static UNUSED void scratch(void)
{
    strcpy(scratch_path, SCRATCH "/pysc-guest.XXXXXX");
    CHECK(mkdtemp(scratch_path) && chmod(scratch_path, 0755) == 0 && chdir(scratch_path) == 0);
    scratch_owner = getpid();
    atexit(scratch_end);
}

/* Run body in a child; it must end with this status (exit status, or minus its signal). */
#define CHILD(body)                                                                                          \
    ({                                                                                                       \
        pid_t child_ = fork();                                                                               \
        CHECK(child_ >= 0);                                                                                  \
        if (child_ == 0) {                                                                                   \
            body;                                                                                            \
            _exit(0);                                                                                        \
        }                                                                                                    \
        child_;                                                                                              \
    })

static UNUSED int reap(pid_t pid)
{
    int status;
    pid_t got;
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    CHECK(got == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static UNUSED double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static UNUSED void nap(long milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static UNUSED void handle(int signal, int flags, void *handler)
{
    struct sigaction action = {.sa_flags = flags};
    action.sa_handler = (void (*)(int))handler;
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static UNUSED sigset_t set_of(int signal)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}
