/* Threads that make blocking host calls for a loop that must not block. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "host.cdef.h"
#include "workers.cdef.h"

#define CAPACITY 1024u /* a power of two */
#define MOST_THREADS 64u

struct pysc_workers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    int event;
    int stopping;
    uint32_t threads;
    uint32_t outstanding; /* submitted and not reaped: bounds both queues */
    uint32_t job_head, job_tail, result_head, result_tail;
    struct pysc_job jobs[CAPACITY];
    struct pysc_result results[CAPACITY];
    pthread_t thread[MOST_THREADS];
};

static int64_t
answer(long result)
{
    return result < 0 ? -errno : result;
}

static const char *
path_of(const struct pysc_job *job)
{
    return (const char *)(uintptr_t)job->path;
}

static int64_t
open_read(const struct pysc_job *job, uint32_t flags)
{
    return pysc_open_read(job->fd, path_of(job), job->path_length, flags);
}

static int64_t
read_file(const struct pysc_job *job)
{
    int32_t fd = (int32_t)open_read(job, job->flags);
    if (fd < 0)
        return fd;
    uint8_t *buffer = (uint8_t *)(uintptr_t)job->address;
    uint64_t done = 0;
    int64_t got = 0;
    while (done < job->size) {
        got = answer(pread(fd, buffer + done, job->size - done, job->offset + (int64_t)done));
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        done += (uint64_t)got;
    }
    close(fd);
    return done || got >= 0 ? (int64_t)done : got;
}

static int64_t
vm(const struct pysc_job *job, int writing)
{
    struct iovec local = {.iov_base = (void *)(uintptr_t)job->address, .iov_len = job->size};
    struct iovec remote = {.iov_base = (void *)(uintptr_t)job->offset, .iov_len = job->size};
    return answer(writing ? process_vm_writev(job->fd, &local, 1, &remote, 1, 0)
                          : process_vm_readv(job->fd, &local, 1, &remote, 1, 0));
}

static int64_t
look(const struct pysc_job *job)
{
    struct pysc_attributes *attributes = (struct pysc_attributes *)(uintptr_t)job->address;
    uint64_t statistics[10];
    int64_t result;
    int32_t fd;

    if (job->op == PYSC_OP_STAT)
        return pysc_statx(job->fd, path_of(job), job->path_length, attributes);
    fd = (int32_t)open_read(job, O_PATH);
    if (fd < 0)
        return fd;
    result = pysc_statx(fd, "", 0, attributes);
    if (result == 0)
        result = pysc_statfs(fd, statistics);
    close(fd);
    return result < 0 ? result : (int64_t)(statistics[0] & UINT32_MAX);
}

static int64_t
list(const struct pysc_job *job)
{
    uint64_t *head = (uint64_t *)(uintptr_t)job->address;
    int32_t end = 0;
    int64_t used =
        pysc_list(job->fd, (uint64_t)job->offset, 0, head + 2, job->size - 2 * sizeof *head, &head[0], &end);

    head[1] = (uint64_t)end;
    return used;
}

/* Whether what it writes a structure to has room for that. */
static int
has_room(const struct pysc_job *job)
{
    switch (job->op) {
    case PYSC_OP_STAT:
    case PYSC_OP_LOOK:
        return job->size >= sizeof(struct pysc_attributes);
    case PYSC_OP_STATFS:
        return job->size >= 10 * sizeof(uint64_t);
    case PYSC_OP_LIST:
        return job->size > 2 * sizeof(uint64_t);
    default:
        return 1;
    }
}

static int64_t
perform(const struct pysc_job *job)
{
    void *address = (void *)(uintptr_t)job->address;
    switch (job->op) {
    case PYSC_OP_PREAD:
        return pysc_pread(job->fd, address, job->size, job->offset, (int32_t)job->flags);
    case PYSC_OP_PWRITE:
        return pysc_pwrite(job->fd, address, job->size, job->offset, (int32_t)job->flags);
    case PYSC_OP_FSYNC:
        return answer(fsync(job->fd));
    case PYSC_OP_FDATASYNC:
        return answer(fdatasync(job->fd));
    case PYSC_OP_OPEN_READ:
        return open_read(job, job->flags);
    case PYSC_OP_READ_FILE:
        return read_file(job);
    case PYSC_OP_VM_READ:
        return vm(job, 0);
    case PYSC_OP_VM_WRITE:
        return vm(job, 1);
    case PYSC_OP_READ_LINK:
        return pysc_readlink(job->fd, path_of(job), job->path_length, address, job->size);
    case PYSC_OP_STAT:
    case PYSC_OP_LOOK:
        return look(job);
    case PYSC_OP_STATFS:
        return pysc_statfs(job->fd, address);
    case PYSC_OP_LIST:
        return list(job);
    case PYSC_OP_SEEK:
        return answer(lseek(job->fd, job->offset, (int)job->flags));
    case PYSC_OP_CLOSE:
        return answer(close(job->fd));
    default:
        return -EINVAL;
    }
}

static int64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void
complete(struct pysc_workers *workers, uint64_t id, int64_t result, int64_t took)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&workers->lock);
    workers->results[workers->result_tail++ % CAPACITY] = (struct pysc_result){id, result, took};
    /* Inside the lock: a reaper that has emptied the queue cannot miss this one. */
    if (write(workers->event, &one, sizeof one) < 0) {
        /* The counter is full: it is readable anyway. */
    }
    pthread_mutex_unlock(&workers->lock);
}

static void *
run(void *argument)
{
    struct pysc_workers *workers = argument;
    struct pysc_job job;
    for (;;) {
        pthread_mutex_lock(&workers->lock);
        while (!workers->stopping && workers->job_head == workers->job_tail)
            pthread_cond_wait(&workers->work, &workers->lock);
        if (workers->stopping) {
            pthread_mutex_unlock(&workers->lock);
            return NULL;
        }
        job = workers->jobs[workers->job_head++ % CAPACITY];
        pthread_mutex_unlock(&workers->lock);
        int64_t begun = now_ns(), result = perform(&job);
        complete(workers, job.id, result, now_ns() - begun);
    }
}

/* Start the threads with all signals blocked: those are the loop's. */
static int
start_threads(struct pysc_workers *workers, uint32_t count)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (!error && workers->threads < count) {
        error = pthread_create(&workers->thread[workers->threads], &attributes, run, workers);
        if (!error)
            workers->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

struct pysc_workers *
pysc_workers_start(uint32_t count, int32_t *error)
{
    *error = EINVAL;
    if (count == 0 || count > MOST_THREADS)
        return NULL;
    struct pysc_workers *workers = calloc(1, sizeof *workers);
    *error = ENOMEM;
    if (!workers)
        return NULL;
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->work, NULL);
    workers->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *error = workers->event < 0 ? errno : start_threads(workers, count);
    if (*error) {
        pysc_workers_stop(workers);
        return NULL;
    }
    return workers;
}

int32_t
pysc_workers_fd(const struct pysc_workers *workers)
{
    return workers->event;
}

int32_t
pysc_workers_submit(struct pysc_workers *workers, const struct pysc_job *job)
{
    if (job->size > SSIZE_MAX || !has_room(job))
        return -EINVAL;
    pthread_mutex_lock(&workers->lock);
    int full = workers->outstanding == CAPACITY;
    if (!full) {
        workers->outstanding++;
        workers->jobs[workers->job_tail++ % CAPACITY] = *job;
        pthread_cond_signal(&workers->work);
    }
    pthread_mutex_unlock(&workers->lock);
    return full ? -EAGAIN : 0;
}

int64_t
pysc_workers_reap(struct pysc_workers *workers, struct pysc_result *results, uint64_t max)
{
    uint64_t count, taken = 0;
    pthread_mutex_lock(&workers->lock);
    while (taken < max && workers->result_head != workers->result_tail)
        results[taken++] = workers->results[workers->result_head++ % CAPACITY];
    workers->outstanding -= (uint32_t)taken;
    if (workers->result_head == workers->result_tail && read(workers->event, &count, sizeof count) < 0) {
        /* Nothing was there to be cleared. */
    }
    pthread_mutex_unlock(&workers->lock);
    return (int64_t)taken;
}

void
pysc_workers_stop(struct pysc_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    workers->stopping = 1;
    pthread_cond_broadcast(&workers->work);
    pthread_mutex_unlock(&workers->lock);
    for (uint32_t i = 0; i < workers->threads; i++)
        pthread_join(workers->thread[i], NULL);
    if (workers->event >= 0)
        close(workers->event);
    pthread_cond_destroy(&workers->work);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}
