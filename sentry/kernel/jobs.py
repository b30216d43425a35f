"""Job control and what parents are told: stop, continue, the end of children (setpgid(2), wait(2))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.clock import TICK
from pysc.cabi.linux.errors import LinuxError
from pysc.cabi.linux.signals import (
    CLD_CONTINUED,
    CLD_DUMPED,
    CLD_EXITED,
    CLD_KILLED,
    CLD_STOPPED,
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
)
from pysc.sentry.kernel.signals import SigInfo, notify, send_signal
from pysc.sentry.kernel.task import TaskState
from pysc.sentry.kernel.usage import group_usage

if TYPE_CHECKING:
    from pysc.sentry.kernel.pending import SigAction
    from pysc.sentry.kernel.thread_group import ThreadGroup


def begin_stop(group: ThreadGroup, signo: int) -> None:
    """Stop every task of the process: each is held when it would go back to its guest."""
    if group.exiting or group.stop_pending:
        return
    group.stop_pending = signo
    for task in group.tasks.values():
        notify(task)


def note_held(group: ThreadGroup) -> None:
    """A task is held: the last one makes the process stopped and its parent informed."""
    if group.stopped or not group.stop_pending:
        return
    if any(task.state is not TaskState.HELD for task in group.tasks.values()):
        return
    group.stopped = True
    group.continue_unreported = False
    group.stop_unreported = group.stop_pending
    _tell_parent(group, CLD_STOPPED, group.stop_pending)


def report_continue(group: ThreadGroup) -> None:
    """Tell the parent that the process goes on."""
    _tell_parent(group, CLD_CONTINUED, SIGCONT)


def report_exit(group: ThreadGroup) -> bool:
    """Tell the parent of the end; true if nobody is going to wait for it, so that it is reaped at once."""
    parent = group.parent
    if parent is None or parent.exited:
        return True
    reap = False
    if group.exit_signal == SIGCHLD:
        action = _action(parent, SIGCHLD)
        reap = action is not None and (action.handler == SIG_IGN or bool(action.flags & SA_NOCLDWAIT))
    if group.exit_signal:
        code, status = exit_code_and_status(group.exit_status or 0)
        _send(parent, _child_info(group, code, status, group.exit_signal))
    parent.child_wait.wake_all()
    return reap


def exit_code_and_status(status: int) -> tuple[int, int]:
    """Split a wait(2) status of an end into si_code and si_status."""
    signo = status & 0x7F
    if signo:
        return CLD_DUMPED if status & 0x80 else CLD_KILLED, signo
    return CLD_EXITED, status >> 8 & 0xFF


def _tell_parent(group: ThreadGroup, code: int, status: int) -> None:
    parent = group.parent
    if parent is None or parent.exited:
        return
    action = _action(parent, SIGCHLD)
    if action is not None and action.handler != SIG_IGN and not action.flags & SA_NOCLDSTOP:
        _send(parent, _child_info(group, code, status, SIGCHLD))
    parent.child_wait.wake_all()


def _child_info(group: ThreadGroup, code: int, status: int, signo: int) -> SigInfo:
    used = group_usage(group)
    return SigInfo(
        signo,
        code,
        "child",
        pid=group.tgid,
        uid=group.leader.creds.uid,
        status=status,
        utime=used.user // TICK,
        stime=used.system // TICK,
    )


def _send(group: ThreadGroup, info: SigInfo) -> None:
    try:
        send_signal(group, info)
    except LinuxError:  # a parent with a full queue of real-time exit signals finds out by wait(2)
        return


def _action(group: ThreadGroup, signo: int) -> SigAction | None:
    for task in group.tasks.values():
        return task.handlers[signo]
    return None
