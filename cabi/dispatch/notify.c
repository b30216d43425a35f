/* seccomp_unotify(2): guests' clone(2) calls, held by the host until we have compared them with what was ordered; and
 * tgkill(2).
 *
 * CONTINUE is safe because all that is compared is in registers.  A preempt signal can make the answer fail or a second
 * notification follow: a clone stays ordered until the parent or the child reports. */

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

int64_t
pysc_tgkill(int32_t process, int32_t thread, int32_t signo)
{
    return syscall(SYS_tgkill, process, thread, signo) == 0 ? 0 : -errno;
}

int64_t
pysc_bear(struct pysc_engine *engine, uint32_t number, int32_t pid, uint32_t child)
{
    struct thread *thread = thread_at(engine, number), *born = thread_at(engine, child);
    uint64_t flags;

    if (!thread || !born || thread->state != STATE_STOPPED || thread->bearing || born->mother || child == number)
        return -EINVAL;
    flags = born->space == thread->space ? PYSC_CLONE_THREAD : PYSC_CLONE_FORK;
    thread->clone = (struct bearing){.flags = flags, .pid = pid, .child = child, .next = engine->bearing};
    if (engine->bearing)
        engine->threads[engine->bearing - 1].clone.previous = number + 1;
    engine->bearing = number + 1;
    thread->bearing = 1;
    born->mother = number + 1;
    return 0;
}

void
end_bearing(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = &engine->threads[number];
    const struct bearing *clone = &thread->clone;

    if (!thread->bearing)
        return;
    thread->bearing = 0;
    engine->threads[clone->child].mother = 0;
    if (clone->next)
        engine->threads[clone->next - 1].clone.previous = clone->previous;
    if (clone->previous)
        engine->threads[clone->previous - 1].clone.next = clone->next;
    else
        engine->bearing = clone->next;
}

void
end_birth(struct pysc_engine *engine, uint32_t number)
{
    if (engine->threads[number].mother)
        end_bearing(engine, engine->threads[number].mother - 1);
}

/* Whether the thread of that tid has been told to make this very clone. */
static int
is_ordered(const struct pysc_engine *engine, int32_t tid, uint64_t flags)
{
    int32_t other = 0; /* a process of many threads need not be asked for each */

    for (uint32_t next = engine->bearing; next; next = engine->threads[next - 1].clone.next) {
        const struct bearing *clone = &engine->threads[next - 1].clone;

        if (clone->flags != flags || clone->pid == other)
            continue;
        if (clone->pid == tid || pysc_tgkill(clone->pid, tid, 0) == 0)
            return 1;
        other = clone->pid;
    }
    return 0;
}

void
answer_notification(struct pysc_engine *engine)
{
    struct seccomp_notif note;
    struct seccomp_notif_resp answer = {.error = -EPERM};

    memset(&note, 0, sizeof note);
    if (ioctl(engine->listener, SECCOMP_IOCTL_NOTIF_RECV, &note) != 0)
        return; /* its thread was killed meanwhile */
    answer.id = note.id;
    if (note.data.nr == SYS_clone && is_ordered(engine, (int32_t)note.pid, note.data.args[0])) {
        answer.error = 0;
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    ioctl(engine->listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

int64_t
pysc_listen(struct pysc_engine *engine, int32_t listener)
{
    engine->listener = listener;
    return pysc_watch(engine, listener, EPOLLIN);
}
