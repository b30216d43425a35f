"""Signals for what becomes ready: O_ASYNC, F_SETOWN and F_SETSIG (fcntl(2), signal(7))."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from pysc.cabi.linux.errors import EAGAIN, ESRCH
from pysc.cabi.linux.poll import IN, OUT
from pysc.cabi.linux.signals import POLL_IN, POLL_OUT, SIGIO

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.scheduler import WaitQueue
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

F_OWNER_TID: Final = 0
F_OWNER_PID: Final = 1
F_OWNER_PGRP: Final = 2


class Owner(NamedTuple):
    """Who gets the signals, and on whose behalf."""

    kind: int
    """F_OWNER_*."""
    pid: int
    """0: nobody."""
    uid: int
    euid: int


NOBODY: Final = Owner(F_OWNER_TID, 0, 0, 0)


class Notice:
    """What a description does about signals.  It watches ``queues`` exactly while O_ASYNC is set by :meth:`start`."""

    __slots__ = ("_fd", "_file", "_kernel", "_queues", "owner", "signo")

    def __init__(self, file: FileDescription) -> None:
        self._file = file
        self._queues: tuple[WaitQueue, ...] = ()
        self._fd = -1
        self._kernel: Kernel | None = None
        self.owner = NOBODY
        self.signo = 0
        """F_SETSIG; 0: SIGIO without a cause."""

    def own(self, task: Task, kind: int, pid: int) -> None:
        """F_SETOWN, F_SETOWN_EX.  ESRCH."""
        if pid and not _targets(task.kernel, kind, pid):
            raise ESRCH
        self._kernel = task.kernel
        self.owner = Owner(kind, pid, task.creds.uid, task.creds.euid)

    def start(self, fd: int) -> None:
        """O_ASYNC was set by a descriptor."""
        self.stop()
        self._fd = fd
        self._queues = self._file.queues()
        for queue in self._queues:
            queue.watch(self)

    def stop(self) -> None:
        """O_ASYNC was cleared, or the last descriptor closed."""
        for queue in self._queues:
            queue.unwatch(self)
        self._queues = ()

    def __call__(self, events: int) -> None:
        """The description was woken for ``events``."""
        if events & IN and self._file.readable:
            self._send(POLL_IN, IN)
        if events & OUT and self._file.writable:
            self._send(POLL_OUT, OUT)

    def _send(self, code: int, band: int) -> None:
        from pysc.sentry.kernel.signals import SigInfo, send_signal

        if self._kernel is None or not self.owner.pid:
            return
        plain = SigInfo.kernel(SIGIO)
        told = SigInfo.poll(self.signo, code, band, self._fd) if self.signo else plain
        for target in _targets(self._kernel, self.owner.kind, self.owner.pid):
            if not self._may_signal(target):
                continue
            try:
                send_signal(target, told)
            except EAGAIN:
                send_signal(target, plain)

    def _may_signal(self, target: Task | ThreadGroup) -> bool:
        from pysc.sentry.kernel.task import Task

        creds = (target if isinstance(target, Task) else target.leader).creds
        _kind, _pid, uid, euid = self.owner
        return euid == 0 or bool({uid, euid} & {creds.uid, creds.suid})


def _targets(kernel: Kernel, kind: int, pid: int) -> Sequence[Task | ThreadGroup]:
    if kind == F_OWNER_TID:
        thread = kernel.tasks.get(pid)
        return [] if thread is None else [thread]
    if kind == F_OWNER_PID:
        group = kernel.groups.get(pid)
        return [] if group is None else [group]
    members = kernel.process_groups.get(pid)
    return [] if members is None else list(members.members.values())
