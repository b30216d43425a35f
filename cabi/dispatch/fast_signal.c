/* rt_sigaction(2) of threads that have no signal pending: nothing can come of it but another disposition.  The mask is the
 * thread's own, in its slot: while nothing is pending the guest half changes it. */

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
}

uint64_t
pysc_thread_sigmask(struct pysc_engine *engine, uint32_t number)
{
    struct thread *thread = thread_at(engine, number);

    return thread ? __atomic_load_n(&thread->slot->sigmask, __ATOMIC_SEQ_CST) & ~UNBLOCKABLE : 0;
}

int64_t
pysc_thread_set_sigmask(struct pysc_engine *engine, uint32_t number, uint64_t mask)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread)
        return -ESRCH;
    __atomic_store_n(&thread->slot->sigmask, mask, __ATOMIC_SEQ_CST);
    return 0;
}

int64_t
pysc_thread_set_quiet(struct pysc_engine *engine, uint32_t number, int32_t quiet)
{
    struct thread *thread = thread_at(engine, number);

    if (!thread)
        return -ESRCH;
    thread->quiet = quiet != 0;
    __atomic_store_n(&thread->slot->quiet, thread->quiet, __ATOMIC_SEQ_CST);
    return 0;
}
