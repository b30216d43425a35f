/* seccomp_unotify(2) and tgkill(2). */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel.h"
#include "dispatch.h"

int64_t
pysc_notify_receive(int32_t listener, struct pysc_notification *notification)
{
    struct seccomp_notif received;

    memset(&received, 0, sizeof received);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &received) != 0)
        return -errno;
    notification->id = received.id;
    notification->pid = received.pid;
    notification->nr = received.data.nr;
    for (int i = 0; i < 6; i++)
        notification->args[i] = received.data.args[i];
    return 0;
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
