"""The way back to the guest: delivery of signals, restart of interrupted calls, holding of the stopped.

:func:`return_to_guest` is the only place that gives a thread its verdict (exit and exec excepted).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from pysc.cabi.linux.errors import EINTR
from pysc.cabi.linux.signals import (
    IGNORED_BY_DEFAULT,
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_RESTART,
    SIG_DFL,
    SIG_IGN,
    SIGSEGV,
    SIGSTOP,
    STOP_SIGNALS,
    UNBLOCKABLE,
    sigmask,
)
from pysc.sentry.kernel.exit import end_group, exit_task
from pysc.sentry.kernel.jobs import begin_stop, note_held
from pysc.sentry.kernel.pending import SigAction
from pysc.sentry.kernel.signals import SigInfo, force_signal, pending_interrupt, set_mask, take_signal
from pysc.sentry.kernel.task import Return, Task, TaskState
from pysc.sentry.platform.interface import SignalFrame, ThreadGone
from pysc.sentry.syscalls.table import Restart

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel


def return_to_guest(task: Task, back: Return) -> None:
    """Deliver what is pending, then give the verdict: or hold the task, or end it."""
    if task.attention and not _deliver_pending(task, back):
        return
    if back.restart is not None:
        from pysc.sentry.kernel.dispatch import dispatch

        dispatch(task, back.nr, back.args)
        return
    if task.record is not None:
        task.forget_record()
    task.state = TaskState.GUEST
    if back.result is None:
        task.thread.resume()
    elif task.untake is None:
        task.thread.reply(back.result)
    else:
        task.thread.reply_undoable(back.result)


def release_held(task: Task) -> None:
    """Let a held task go on, if nothing holds it any more."""
    if task.state is not TaskState.HELD:
        return
    back = task.returning
    task.returning = None
    task.state = TaskState.KERNEL
    task.attention = True
    return_to_guest(task, back or Return())


def freeze(kernel: Kernel) -> None:
    """Hold all tasks at their next chance (pause, checkpoints); calls that wait begin again at :func:`thaw`."""
    from pysc.sentry.kernel.signals import notify

    kernel.frozen = True
    for task in list(kernel.tasks.values()):
        notify(task)


def thaw(kernel: Kernel) -> None:
    """Undo :func:`freeze`."""
    from pysc.sentry.kernel.signals import notify

    kernel.frozen = False
    for task in list(kernel.tasks.values()):
        notify(task)


def _deliver_pending(task: Task, back: Return) -> bool:
    """Look at all that wants attention; true if the task may go on as ``back`` says, false if that is decided."""
    group = task.group
    while True:
        if task.killed:
            exit_task(task)
            return False
        if task.kernel.frozen or group.stop_pending:
            if group.stop_pending:
                task.forget_files()  # a freeze does not end the call, a stop does
            task.returning = back
            task.state = TaskState.HELD
            note_held(group)
            return False
        if back.thawed:  # it parks, and so sees the signals, or has something to answer that goes before them
            return True
        info = take_signal(task, ~task.mask)
        if info is None:
            if task.saved_mask is None:
                task.attention = False
                return True
            mask, task.saved_mask = task.saved_mask, None
            set_mask(task, mask)
            continue
        action = task.handlers[info.signo]
        if action.handler == SIG_IGN:
            continue
        if action.handler == SIG_DFL:
            _take_default_action(task, info.signo)
            continue
        _enter_handler(task, back, info, action)
        return False


def _take_default_action(task: Task, signo: int) -> None:
    group = task.group
    bit = 1 << (signo - 1)
    if IGNORED_BY_DEFAULT & bit or (group.is_init and not group.unprotected and not UNBLOCKABLE & bit):
        return
    if STOP_SIGNALS & bit:
        if signo == SIGSTOP or not group.process_group.orphaned:
            begin_stop(group, signo)
        return
    end_group(group, signo)


def _enter_handler(task: Task, back: Return, info: SigInfo, action: SigAction) -> None:
    stack = task.altstack
    if stack is None or not action.flags & SA_ONSTACK:
        _give_frame(task, back, info, action, 0)
        return
    routine = task.kernel.scheduler.start(
        _enter_on_altstack(task, back, info, action, stack.sp, stack.size), None, _Ended(task)
    )
    if not routine.done:
        task.routine = routine


async def _enter_on_altstack(task: Task, back: Return, info: SigInfo, action: SigAction, base: int, size: int) -> None:
    rsp = (await task.thread.registers()).rsp
    task.routine = None
    on_it = base < rsp <= base + size
    _give_frame(task, back, info, action, 0 if on_it else base + size)


class _Ended:
    """What follows when delivery that had to wait has ended: nothing, or the end of the task."""

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self, _value: object, error: BaseException | None) -> None:
        if error is None:
            return
        if not isinstance(error, ThreadGone):
            self._task.kernel.report_bug("delivery of a signal", error)
        self._task.routine = None
        end_group(self._task.group, SIGSEGV)
        exit_task(self._task)


def _give_frame(task: Task, back: Return, info: SigInfo, action: SigAction, on_stack: int) -> None:
    if task.killed:
        exit_task(task)
        return
    bit = sigmask(info.signo)
    if task.kernel.strace is not None:
        task.kernel.strace.on_signal(task, info)
    old_mask = task.mask if task.saved_mask is None else task.saved_mask
    task.saved_mask = None
    blocked = task.mask | action.mask | (0 if action.flags & SA_NODEFER else bit)
    if action.flags & SA_RESETHAND:
        task.handlers[info.signo] = replace(action, handler=SIG_DFL)
    stack = task.altstack
    frame = SignalFrame(
        signo=info.signo,
        handler=action.handler,
        restorer=action.restorer,
        info=info.pack(),
        mask=old_mask,
        stack=None if stack is None else (stack.sp, stack.flags, stack.size),
        on_stack=on_stack,
    )
    task.attention = False
    set_mask(task, blocked)
    task.forget_record()
    task.state = TaskState.GUEST
    thread = task.thread
    if pending_interrupt(task) is not None:
        task.preempting = True
        thread.preempt()  # remembered: the next frame goes on top of this one before the handler begins
    if back.restart is not None:
        if back.restart is Restart.NOINTR or (back.restart is Restart.SYS and action.flags & SA_RESTART):
            thread.restart(back.nr, frame)
        else:
            thread.reply(-EINTR.errno, frame)
    elif back.result is None:
        thread.resume(frame)
    else:
        thread.reply(back.result, frame)


def on_frame_fault(task: Task) -> None:
    """A frame could not be written: SIGSEGV, and death if that has no other stack."""
    task.state = TaskState.KERNEL
    task.preempting = False
    force_signal(task, SigInfo.kernel(SIGSEGV))
    return_to_guest(task, Return())
