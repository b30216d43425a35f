"""Sending signals (signal(7)): who is told, what is queued, who is woken.  Delivery is in delivery.py.

Everything here is synchronous: a signal is queued and its task woken in one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pysc.cabi.linux.errors import EAGAIN
from pysc.cabi.linux.resource import RLIMIT_SIGPENDING
from pysc.cabi.linux.signals import (
    SI_KERNEL,
    SI_USER,
    SIG_DFL,
    SIGCONT,
    SIGKILL,
    SIGRTMIN,
    SIGSTOP,
    STOP_SIGNALS,
    UNBLOCKABLE,
    sigmask,
)
from pysc.sentry.kernel.pending import ALL_SIGNALS, DEFAULT_ACTION, SigAction
from pysc.sentry.kernel.scheduler import Reason
from pysc.sentry.kernel.siginfo import SigInfo

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

__all__ = [
    "SigAction",
    "SigInfo",
    "deliverable",
    "force_signal",
    "notify",
    "pending_interrupt",
    "send_signal",
    "set_mask",
    "set_temporary_mask",
    "take_signal",
]


def deliverable(task: Task) -> int:
    """Return the set of pending signals that the task does not block."""
    return (task.pending.mask | task.group.pending.mask) & ~task.mask


def pending_interrupt(task: Task) -> Reason | None:
    """Say why a task must not go on waiting, if it must not (the scheduler asks before each park)."""
    if task.killed:
        return Reason.KILL
    if task.kernel.frozen:
        return Reason.FREEZE
    if task.group.stop_pending:
        return Reason.SIGNAL
    pending = task.pending.mask | task.group.pending.mask
    return Reason.SIGNAL if pending & (~task.mask | task.sigwait) else None


def notify(task: Task) -> None:
    """Make the task look at its signals, state of stop and end of life soon."""
    from pysc.sentry.kernel.task import TaskState

    task.attention = True
    if task.state is TaskState.KERNEL:
        if task.routine is not None and (task.routine.parked or task.killed):
            reason = pending_interrupt(task)
            if reason is not None:
                task.routine.interrupt(reason)
    elif task.state is TaskState.GUEST:
        if not task.preempting and pending_interrupt(task) is not None:
            task.preempting = True
            task.thread.preempt()
    elif task.state is TaskState.HELD:
        task.kernel.scheduler.call_at(0, _Release(task))


class _Release:
    """Lets a held task go on once whatever runs now is through."""

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self) -> None:
        from pysc.sentry.kernel.delivery import release_held

        release_held(self._task)


MAX_QUEUED: Final = 1 << 16
"""Of one process or task, whatever RLIMIT_SIGPENDING says."""


def send_signal(target: Task | ThreadGroup, info: SigInfo, *, outside: bool = False) -> None:
    """Send a signal to one task, or to a process as a whole.  ``outside``: by whoever runs the container.

    Raises:
        EAGAIN: RLIMIT_SIGPENDING real-time signals are queued already, and the sender asked for queueing.
    """
    from pysc.sentry.kernel.task import Task

    group = target.group if isinstance(target, Task) else target
    if group.exited or (isinstance(target, Task) and target.killed):
        return
    signo = info.signo
    if signo == SIGCONT:
        _prepare_continue(group)
    elif STOP_SIGNALS >> (signo - 1) & 1:
        _drop_pending(group, sigmask(SIGCONT))
    witness = target if isinstance(target, Task) else _any_task(group)
    if witness is None or _is_ignored(witness, info, outside):
        return
    if signo == SIGKILL:
        from pysc.sentry.kernel.exit import end_group

        end_group(group, SIGKILL)
        return
    pending = target.pending
    if signo >= SIGRTMIN and len(pending) >= min(group.limit(RLIMIT_SIGPENDING), MAX_QUEUED):
        if info.code not in (SI_USER, SI_KERNEL):
            raise EAGAIN
        if pending.has(signo):
            return  # kill(2) does not fail: the signal comes once
    if not pending.add(info):
        return
    for task in (target,) if isinstance(target, Task) else group.tasks.values():
        task.thread.set_quiet(False)
    if group.signalfd_wait:
        group.signalfd_wait.wake_all()
    receiver = target if isinstance(target, Task) else _receiver(group, signo)
    if receiver is not None and _wants(receiver, signo):
        notify(receiver)


def force_signal(task: Task, info: SigInfo) -> None:
    """Send a signal that must not be lost (a fault): if it is blocked or ignored it kills."""
    bit = sigmask(info.signo)
    if task.mask & bit or task.handlers.ignores(info.signo):
        task.handlers[info.signo] = DEFAULT_ACTION
        task.mask &= ~bit
    if task.handlers[info.signo].handler == SIG_DFL:
        task.group.unprotected = True
    task.pending.add(info)
    task.thread.set_quiet(False)
    notify(task)


def set_mask(task: Task, mask: int) -> None:
    """Change the set of blocked signals; SIGKILL and SIGSTOP never are."""
    mask &= ~UNBLOCKABLE & ALL_SIGNALS
    newly_blocked = mask & ~task.mask
    task.mask = mask
    if not (task.pending.mask or task.group.pending.mask):
        task.thread.set_quiet(True)
    elif deliverable(task):
        task.attention = True
    retarget = newly_blocked & task.group.pending.mask
    if retarget:
        wake_for(task.group, retarget, but=task)


def set_temporary_mask(task: Task, mask: int) -> None:
    """Block ``mask`` until the call in progress ends (rt_sigsuspend, ppoll, pselect, epoll_pwait).

    A handler that interrupts the call runs under it, and returns to the mask from before.
    """
    if task.saved_mask is None:
        task.saved_mask = task.mask
    task.attention = True
    set_mask(task, mask)


def take_signal(task: Task, allowed: int) -> SigInfo | None:
    """Dequeue a pending signal of the set ``allowed``, the task's own first (signalfd, rt_sigtimedwait, delivery)."""
    info = task.pending.take(allowed) or task.group.pending.take(allowed)
    if info is not None and info.layout == "timer" and info.raw is None:
        timer = task.group.posix_timers.get(info.timer)
        if timer is not None:
            info = replace(info, overrun=timer.collect_overrun())
    return info


def wake_for(group: ThreadGroup, signals: int, but: Task | None = None) -> None:
    """Notify a task of the group that can take one of the pending ``signals``."""
    for task in list(group.tasks.values()):
        if task is not but and not task.killed and signals & (~task.mask | task.sigwait):
            notify(task)
            return


def _wants(task: Task, signo: int) -> bool:
    return not task.killed and bool((~task.mask | task.sigwait) >> (signo - 1) & 1)


def _receiver(group: ThreadGroup, signo: int) -> Task | None:
    candidates = [task for task in group.tasks.values() if _wants(task, signo)]
    for task in candidates:
        if not task.attention:
            return task
    return candidates[0] if candidates else None


def _any_task(group: ThreadGroup) -> Task | None:
    return group.tasks.get(group.tgid) or next(iter(group.tasks.values()), None)


def _is_ignored(task: Task, info: SigInfo, outside: bool) -> bool:
    signo = info.signo
    if task.mask >> (signo - 1) & 1:
        return False
    if task.handlers.ignores(signo):
        return True
    group = task.group
    if group.is_init and not group.unprotected and task.handlers[signo].handler == SIG_DFL:
        return not (outside and signo in (SIGKILL, SIGSTOP))
    return False


def _drop_pending(group: ThreadGroup, signals: int) -> None:
    group.pending.remove(signals)
    for task in group.tasks.values():
        task.pending.remove(signals)


def _prepare_continue(group: ThreadGroup) -> None:
    """Continue a stopped process: SIGCONT does so whether it is blocked, ignored or caught."""
    _drop_pending(group, STOP_SIGNALS)
    if not group.stop_pending:
        return
    was_stopped = group.stopped
    group.stop_pending = group.stop_unreported = 0
    group.stopped = False
    for task in group.tasks.values():
        notify(task)
    if was_stopped:
        from pysc.sentry.kernel.jobs import report_continue

        group.continue_unreported = True
        report_continue(group)
