"""Waiting for children: wait4(2), waitid(2).  Threads of a process wait for all its children."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pysc.cabi.linux.errors import EAGAIN, ECHILD, EINVAL, ESRCH
from pysc.cabi.linux.resource import RUSAGE
from pysc.cabi.linux.sched import (
    P_ALL,
    P_PGID,
    P_PID,
    P_PIDFD,
    WALL,
    WCLONE,
    WCONTINUED,
    WEXITED,
    WNOHANG,
    WNOTHREAD,
    WNOWAIT,
    WSTOPPED,
    WUNTRACED,
)
from pysc.cabi.linux.signals import CLD_CONTINUED, CLD_STOPPED, SIGCHLD, SIGCONT, SIGINFO_CHLD, SIGINFO_HEAD
from pysc.sentry.kernel.exit import reap
from pysc.sentry.kernel.jobs import exit_code_and_status
from pysc.sentry.kernel.scheduler import park
from pysc.sentry.syscalls.table import I32, U32, Addr, Pid

if TYPE_CHECKING:
    from pysc.sentry.kernel.account import Usage
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup


class Selection(msgspec.Struct, frozen=True):
    """Which children, and which of their events."""

    kind: int
    number: int
    options: int

    def matches(self, child: ThreadGroup) -> bool:
        """Whether the child is one of those."""
        if self.kind == P_PID and child.tgid != self.number:
            return False
        if self.kind == P_PGID and child.process_group.pgid != self.number:
            return False
        if self.options & WALL:
            return True
        return bool(self.options & WCLONE) == (child.exit_signal != SIGCHLD)


class Found(msgspec.Struct, frozen=True):
    """What a wait found: ``status`` as wait4 encodes it, ``code`` and ``value`` as siginfo does."""

    child: ThreadGroup
    status: int
    code: int
    value: int
    uid: int

    async def usage(self) -> Usage:
        """Return what the child has used, with the children that it has waited for if it has ended."""
        account = self.child.account
        if not self.child.exited:
            return account.own
        await account.closed()
        return account.total


async def wait4(task: Task, pid: Pid, status: Addr, options: U32, rusage: Addr) -> int:
    """Wait for a child to change state.  ECHILD, EINVAL."""
    if options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL):
        raise EINVAL
    if pid == -0x8000_0000:
        raise ESRCH
    if pid > 0:
        kind, number = P_PID, pid
    elif pid == -1:
        kind, number = P_ALL, 0
    else:
        kind, number = P_PGID, -pid or task.group.process_group.pgid
    found = await _wait(task, Selection(kind, number, options | WEXITED))
    if found is None:
        return 0
    if status:
        task.put(status, found.status.to_bytes(4, "little"))
    if rusage:
        task.put(rusage, pack_usage(await found.usage()))
    return found.child.tgid


async def waitid(task: Task, idtype: I32, number: Pid, infop: Addr, options: U32, rusage: Addr) -> int:
    """Wait for a child to change state; WNOWAIT leaves it waitable.  ECHILD, EINVAL, EBADF, EAGAIN (by a pidfd)."""
    nonblock = False
    if options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL):
        raise EINVAL
    if not options & (WEXITED | WSTOPPED | WCONTINUED):
        raise EINVAL
    if idtype == P_PIDFD:
        from pysc.sentry.kernel.pidfd import process_of

        nonblock = not options & WNOHANG and task.fds.get(number).nonblock
        number = process_of(task, number).tgid
        idtype = P_PID
    elif idtype == P_PGID:
        if number < 0:
            raise EINVAL
        number = number or task.group.process_group.pgid
    elif idtype not in (P_ALL, P_PID) or (idtype == P_PID and number <= 0):
        raise EINVAL
    found = await _wait(task, Selection(idtype, number, options | (WNOHANG if nonblock else 0)))
    if found is None and nonblock:
        raise EAGAIN
    if infop:
        if found is None:
            info = SIGINFO_HEAD.pack(0, 0, 0, 0) + SIGINFO_CHLD.pack(0, 0, 0, 0, 0)[:12]
        else:
            info = SIGINFO_HEAD.pack(SIGCHLD, 0, found.code, 0)
            info += SIGINFO_CHLD.pack(found.child.tgid, found.uid, found.value, 0, 0)[:12]
        task.put(infop, info)
    if rusage and found is not None:
        task.put(rusage, pack_usage(await found.usage()))
    return 0


async def _wait(task: Task, selection: Selection) -> Found | None:
    group = task.group
    while True:
        candidates = False
        for child in list(group.children.values()):
            if not selection.matches(child):
                continue
            candidates = True
            found = _event_of(task, child, selection.options)
            if found is not None:
                return found
        if not candidates:
            raise ECHILD
        if selection.options & WNOHANG:
            return None
        await park(group.child_wait)


def _event_of(task: Task, child: ThreadGroup, options: int) -> Found | None:
    consume = not options & WNOWAIT
    if child.exited:
        if not options & WEXITED:
            return None
        status = child.exit_status or 0
        uid = child.leader.creds.uid
        if consume:
            task.group.account.inherit(child.account)
            reap(child)
        return Found(child, status, *exit_code_and_status(status), uid)
    uid = child.leader.creds.uid
    if child.stop_unreported and options & WSTOPPED:
        signo = child.stop_unreported
        if consume:
            child.stop_unreported = 0
        return Found(child, signo << 8 | 0x7F, CLD_STOPPED, signo, uid)
    if child.continue_unreported and options & WCONTINUED:
        if consume:
            child.continue_unreported = False
        return Found(child, 0xFFFF, CLD_CONTINUED, SIGCONT, uid)
    return None


def pack_usage(usage: Usage) -> bytes:
    """Return a struct rusage."""
    user, system = usage.user // 1000, usage.system // 1000
    times = (*divmod(user, 1_000_000), *divmod(system, 1_000_000))
    return RUSAGE.pack(*times, usage.maxrss, *[0] * 13)
