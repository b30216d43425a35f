/* seccomp_unotify(2) and tgkill(2). */

#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
receive(int32_t listener, struct pysc_notification *notification)
{
    struct seccomp_notif received;

    memset(&received, 0, sizeof received);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &received) != 0)
        return 0; /* its thread was killed meanwhile */
    notification->id = received.id;
    notification->pid = received.pid;
    notification->nr = received.data.nr;
    for (int i = 0; i < 6; i++)
        notification->args[i] = received.data.args[i];
    return 1;
}

int64_t
pysc_notify_answer(int32_t listener, uint64_t id, int64_t value, int32_t error, uint32_t flags)
{
    struct seccomp_notif_resp answer = {.id = id, .val = value, .error = error, .flags = flags};

    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0 ? 0 : -errno;
}

int64_t
pysc_notify_add_file(int32_t listener, uint64_t id, int32_t file, uint32_t as, int32_t last)
{
    struct seccomp_notif_addfd add = {.id = id,
                                      .flags = SECCOMP_ADDFD_FLAG_SETFD | (last ? SECCOMP_ADDFD_FLAG_SEND : 0),
                                      .srcfd = (uint32_t)file,
                                      .newfd = as};

    return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 ? -errno : 0;
}

int64_t
pysc_tgkill(int32_t process, int32_t thread, int32_t signo)
{
    return syscall(SYS_tgkill, process, thread, signo) == 0 ? 0 : -errno;
}

void
pysc_expect(struct pysc_engine *engine, int32_t pid, uint64_t flags, int32_t change)
{
    engine->expecting += change;
    for (uint32_t i = 0; i < N_ORDERED; i++) {
        struct ordered *ordered = &engine->ordered[i];

        if (change > 0 ? ordered->pid == 0 : ordered->pid == pid && ordered->flags == flags) {
            *ordered = change > 0 ? (struct ordered){pid, flags} : (struct ordered){0, 0};
            return;
        }
    }
    /* One too many is Python's to recognize. */
}

static int
is_ordered(const struct pysc_engine *engine, int32_t tid, uint64_t flags)
{
    for (uint32_t i = 0; i < N_ORDERED; i++) {
        const struct ordered *ordered = &engine->ordered[i];

        if (ordered->pid && ordered->flags == flags && (ordered->pid == tid || pysc_tgkill(ordered->pid, tid, 0) == 0))
            return 1;
    }
    return 0;
}

int
take_notification(struct pysc_engine *engine, struct pysc_event *event)
{
    struct pysc_notification *note = &engine->notification;

    if (!receive(engine->listener, note))
        return 0;
    if (note->nr == SYS_clone && is_ordered(engine, (int32_t)note->pid, note->args[0])) {
        pysc_notify_answer(engine->listener, note->id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
        return 0;
    }
    *event = (struct pysc_event){.id = (uint32_t)engine->listener, .kind = PYSC_NOTIFIED};
    return 1;
}

int64_t
pysc_listen(struct pysc_engine *engine, int32_t listener)
{
    engine->listener = listener;
    return pysc_watch(engine, listener, EPOLLIN);
}

const struct pysc_notification *
pysc_notify_last(struct pysc_engine *engine)
{
    return &engine->notification;
}
