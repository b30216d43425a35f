"""The end of tasks and processes (exit(2), exit_group(2), reparenting, reaping)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.signals import SIGCONT, SIGHUP, SIGKILL
from pysc.sentry.ipc.sem import exit_sem
from pysc.sentry.kernel.account import Usage
from pysc.sentry.kernel.scheduler import now, yield_now
from pysc.sentry.kernel.siginfo import SigInfo
from pysc.sentry.kernel.task import Task, TaskState
from pysc.sentry.kernel.thread_group import ThreadGroup
from pysc.sentry.kernel.usage import processor_times

if TYPE_CHECKING:
    from pysc.sentry.kernel.memory import Memory


MANY_FILES: Final = 256
CLOSING_NS: Final = 200_000
"""Nanoseconds after which others have their turn."""
GRACE: Final = 100_000_000
"""Nanoseconds for a task to report after it was preempted."""


def end_group(group: ThreadGroup, status: int) -> None:
    """Begin the end of a process with this wait(2) status: no task of it runs guest code again.

    A space that nobody else sees is killed at once.  In one that shares memory each thread ends by itself, since only
    it can say by its robust list which futexes have lost their owner.
    """
    if group.exiting:
        return
    group.exiting = True
    group.exit_status = status
    group.stop_pending = 0
    tasks = list(group.tasks.values())
    for memory in {id(task.memory): task.memory for task in tasks}.values():
        sharers = sum(task.memory is memory for task in tasks)
        running = any(task.memory is memory and _depends_on_guest(task) for task in tasks)
        if memory.users == sharers and running and not memory.ended and not memory.shares:
            note_usage(group, memory)
            memory.ended = True
            memory.space.kill()
    for task in tasks:
        kill_task(task)
    if any((_depends_on_guest(task) or task.routine is not None) and not task.memory.ended for task in tasks):
        group.kernel.scheduler.call_at(now() + GRACE, _Deadline(group))


def _depends_on_guest(task: Task) -> bool:
    """Whether it is its guest half's turn, to report or to do what a call has ordered: maybe it never will."""
    return task.state is TaskState.GUEST or (task.state is TaskState.KERNEL and task.thread.busy)


class _Deadline:
    """Tasks that end by themselves have ended, or their space does: then nobody reads their robust lists.

    One that is still in a call may yet order something: it is looked at again.
    """

    __slots__ = ("_group",)

    def __init__(self, group: ThreadGroup) -> None:
        self._group = group

    def __call__(self) -> None:
        for task in list(self._group.tasks.values()):
            if _depends_on_guest(task) and not task.memory.ended:
                self._group.kernel.log.warning(f"task {task.tid} does not end: its space does")
                task.memory.ended = True
                task.memory.space.kill()
        if any(not task.memory.ended for task in self._group.tasks.values()):
            self._group.kernel.scheduler.call_at(now() + GRACE, self)


def kill_task(task: Task) -> None:
    """Make a task end at its next chance."""
    from pysc.sentry.kernel.signals import notify

    task.killed = True
    if task.vfork_wait is not None:
        task.vfork_wait.resolve(None)
    notify(task)


def exit_task(task: Task, *, gone: bool = False, at_once: bool = False) -> None:
    """End a task whose thread is stopped (or ``gone``), and its process with the last one.

    With many descriptors that are its alone it ends when these are closed, a few at a time, if not ``at_once``.
    """
    if task.state is TaskState.DEAD:
        return
    if task.fds.users == 1 and len(task.fds) > MANY_FILES and not at_once:
        _close_first(task, gone)
        return
    kernel, group, memory = task.kernel, task.group, task.memory
    task.state = TaskState.DEAD
    task.killed = True
    if kernel.strace is not None:
        kernel.strace.on_end(task, task.exit_code if group.exit_status is None else group.exit_status)
    kernel.tasks.pop(task.tid, None)
    group.tasks.pop(task.tid, None)
    if not group.tasks:
        for timer in (*group.alarm_timers.values(), *group.posix_timers.values()):
            timer.disarm()
        group.posix_timers.clear()
        if group.cpu_limit is not None:
            group.cpu_limit.cancel()
    task.fds.leave(task)
    shared = memory.users > 1
    if not shared and not memory.ended:
        note_usage(group, memory)
    memory.leave(group.tgid)
    place = task.take_place()
    if place is not None:
        place.leave()
    task.forget_record()
    exit_sem(task)
    task.detach()
    if not gone and not memory.ended:
        thread = task.thread
        thread.exit(thread.clear_tid if shared else 0)
    if task.vfork is not None:
        task.vfork.resolve(None)
        task.vfork = None
    if not group.tasks:
        _end_process(group)
        return
    left = group.pending.mask
    if left:
        from pysc.sentry.kernel.signals import wake_for

        wake_for(group, left)
    if len(group.tasks) == 1 and group.dethreaded is not None:
        group.dethreaded.resolve(None)
    if group.stop_pending:
        from pysc.sentry.kernel.jobs import note_held

        note_held(group)


def _close_first(task: Task, gone: bool) -> None:
    task.state = TaskState.KERNEL
    task.killed = True
    routine = task.kernel.scheduler.start(_close_all(task), None, _Closed(task, gone))
    if not routine.done:
        task.routine = routine


async def _close_all(task: Task) -> None:
    until = now() + CLOSING_NS
    for fd in task.fds:
        task.fds.close(task, fd)
        if now() > until:
            await yield_now()
            until = now() + CLOSING_NS


class _Closed:
    """Nothing is open any more: the task ends."""

    __slots__ = ("_gone", "_task")

    def __init__(self, task: Task, gone: bool) -> None:
        self._task = task
        self._gone = gone

    def __call__(self, _value: object, error: BaseException | None) -> None:
        task = self._task
        task.routine = None
        if error is not None:
            task.kernel.report_bug(f"the end of task {task.tid}", error)
        exit_task(task, gone=self._gone or task.memory.ended, at_once=True)


def reap(group: ThreadGroup) -> None:
    """Forget a zombie: nobody will wait for it, or its parent has."""
    kernel = group.kernel
    group.reaped = True
    if not group.is_init:
        del group.leader  # group and task would keep each other alive
    kernel.groups.pop(group.tgid, None)
    group.process_group.leave(kernel, group)
    if group.parent is not None:
        group.parent.children.pop(group.tgid, None)


def note_usage(group: ThreadGroup, memory: Memory) -> None:
    """Add what a space has used that is about to end."""
    user, system = processor_times(memory.space)
    group.account.begin_end(user, system)
    group.kernel.spent.add(Usage(user, system))
    memory.space.tell_peak(group.account)


def _end_process(group: ThreadGroup) -> None:
    kernel = group.kernel
    group.exiting = True
    if group.exit_status is None:
        group.exit_status = group.leader.exit_code
    group.exited = True
    group.stopped = False
    group.stop_unreported = 0
    group.continue_unreported = False
    if group.is_init:
        kernel.exit_status = group.exit_status
        for other in list(kernel.groups.values()):
            end_group(other, SIGKILL)
    _leave_session(group)
    _hand_over_children(group)
    group.process_group.hang_up_if_orphaned(group.parent, group)
    from pysc.sentry.kernel.jobs import report_exit

    nobody_waits = report_exit(group)
    group.exit_waiters.wake_all()
    if nobody_waits:
        reap(group)


def _leave_session(group: ThreadGroup) -> None:
    session = group.session
    if session.leader is not group:
        return
    session.leader = None
    if session.tty is not None:
        foreground = session.foreground
        session.tty = session.foreground = None
        if foreground is not None:
            foreground.send(SigInfo.kernel(SIGHUP))
            foreground.send(SigInfo.kernel(SIGCONT))


def _hand_over_children(group: ThreadGroup) -> None:
    from pysc.sentry.kernel.jobs import report_exit
    from pysc.sentry.kernel.signals import send_signal

    heir = _heir(group)
    for child in list(group.children.values()):
        del group.children[child.tgid]
        child.parent = heir
        if heir is not None:
            heir.children[child.tgid] = child
        for task in child.tasks.values():
            task.publish_ids()
        for task in child.tasks.values():
            if task.pdeath_signal:
                send_signal(child, SigInfo.kill(task.pdeath_signal, group.tgid, group.leader.creds.uid))
                break
        if child.exited:
            if report_exit(child):
                reap(child)
        else:
            child.process_group.hang_up_if_orphaned(group)


def _heir(group: ThreadGroup) -> ThreadGroup | None:
    ancestor = group.parent
    while ancestor is not None:
        if ancestor.is_subreaper and not ancestor.exiting:
            return ancestor
        ancestor = ancestor.parent
    init = group.kernel.init
    return init if init is not None and init is not group and not init.exited else None
