/* rt_sigprocmask(2) and rt_sigaction(2) of threads that have no signal pending: nothing can come of them but another mask,
 * another disposition. */

#define _GNU_SOURCE
#include "fast.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#define SA_RESTORER_ 0x04000000UL
#define SA_KNOWN                                                                                                            \
    (SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_RESTORER_ | SA_ONSTACK | SA_RESTART | SA_NODEFER | (unsigned)SA_RESETHAND)
#define IGNORED_BY_DEFAULT (1ULL << (SIGCONT - 1) | 1ULL << (SIGCHLD - 1) | 1ULL << (SIGWINCH - 1) | 1ULL << (SIGURG - 1))
#define UNBLOCKABLE (1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1))

/* Returns whether `how` is one of those that there are. */
static int
change(uint64_t *mask, uint32_t how, uint64_t signals)
{
    switch (how) {
    case SIG_BLOCK:
        *mask |= signals & ~UNBLOCKABLE;
        return 1;
    case SIG_UNBLOCK:
        *mask &= ~signals;
        return 1;
    case SIG_SETMASK:
        *mask = signals & ~UNBLOCKABLE;
        return 1;
    default:
        return 0;
    }
}

static int
fast_rt_sigprocmask(struct call *call)
{
    const uint64_t *a = call->event->args;
    uint64_t before, after, signals;
    const uint8_t *hint;

    if (!call->thread->quiet || a[3] != sizeof signals ||
        (a[2] && !address_ok(a[2], sizeof before)))
        return HAND_OVER;
    before = after = call->thread->sigmask;
    if (a[1]) {
        hint = hint_at(call, a[1], sizeof signals);
        if (!hint)
            return HAND_OVER;
        memcpy(&signals, hint, sizeof signals);
        if (!change(&after, (uint32_t)a[0], signals))
            return HAND_OVER;
    }
    if (a[2] && pysc_put(call->engine, call->number, PYSC_CMD_PUT, a[2], &before, sizeof before) < 0)
        return HAND_OVER;
    call->thread->sigmask = after;
    return answer(call, 0);
}

static struct pysc_action *
action_of(const struct call *call, uint64_t signo)
{
    struct pysc_handlers *handlers = handlers_of(call->objects, call->thread);

    return handlers && signo >= 1 && signo <= 64 ? &handlers->actions[signo - 1] : NULL;
}

/* Whether it ends what is pending of the signal, for all threads. */
static int
discards(const struct pysc_action *action, uint64_t signo)
{
    return action->handler == (uint64_t)SIG_IGN ||
           (action->handler == (uint64_t)SIG_DFL && (IGNORED_BY_DEFAULT >> (signo - 1) & 1));
}

static int
fast_rt_sigaction(struct call *call)
{
    const uint64_t *a = call->event->args, signo = (uint32_t)a[0];
    struct pysc_action *action = action_of(call, signo), before, after;
    const uint8_t *hint;

    if (!action || !call->thread->quiet || a[3] != sizeof after.mask || (a[2] && !address_ok(a[2], sizeof before)))
        return HAND_OVER;
    before = after = *action;
    if (a[1]) {
        hint = hint_at(call, a[1], sizeof after);
        if (!hint || UNBLOCKABLE >> (signo - 1) & 1)
            return HAND_OVER;
        memcpy(&after, hint, sizeof after);
        after.flags &= SA_KNOWN;
        after.mask &= ~UNBLOCKABLE;
        if (discards(&after, signo) && !is_alone(space_of(call->engine, call->number)))
            return HAND_OVER;
    }
    if (a[2] && pysc_put(call->engine, call->number, PYSC_CMD_PUT, a[2], &before, sizeof before) < 0)
        return HAND_OVER;
    *action = after;
    return answer(call, 0);
}

void
serve_signal(void)
{
    pysc_fast_paths[SYS_rt_sigaction] = fast_rt_sigaction;
    pysc_fast_paths[SYS_rt_sigprocmask] = fast_rt_sigprocmask;
}

uint64_t
pysc_thread_sigmask(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);

    return thread ? thread->sigmask : 0;
}

int64_t
pysc_thread_set_sigmask(struct pysc_engine *engine, uint32_t number, uint64_t mask)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread)
        return -ESRCH;
    thread->sigmask = mask;
    return 0;
}

int64_t
pysc_thread_set_quiet(struct pysc_engine *engine, uint32_t number, int32_t quiet)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread)
        return -ESRCH;
    thread->quiet = quiet != 0;
    return 0;
}
