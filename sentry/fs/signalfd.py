"""Signals as files (signalfd(2)).

What is read is what is pending for the reader, whoever opened the file: as in Linux.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EAGAIN, EINVAL
from pysc.cabi.linux.fcntl import O_RDWR
from pysc.cabi.linux.poll import IN
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.kernel.scheduler import Scheduler, WaitQueue, current_owner, park
from pysc.sentry.kernel.signals import take_signal

if TYPE_CHECKING:
    from pysc.sentry.kernel.siginfo import SigInfo
    from pysc.sentry.kernel.task import Task

SIGNALFD_SIGINFO: Final = Struct("<IiiIIiIIIIiiQQQQH46x")
"""struct signalfd_siginfo: 128 bytes."""
AT_ONCE: Final = 128


class SignalFile(AnonymousFile):
    """A view of the pending signals in ``mask``."""

    __slots__ = ("_scheduler", "mask")

    kind = b"anon_inode:[signalfd]"

    def __init__(self, scheduler: Scheduler, mask: int, flags: int) -> None:
        super().__init__(O_RDWR | flags)
        self._scheduler = scheduler
        self.mask = mask

    @property
    def info(self) -> bytes:
        """Its line in /proc/PID/fdinfo."""
        return b"sigmask:\t%016x\n" % self.mask

    async def read(self, size: int) -> bytes:
        """Take pending signals, as many as fit.  EINVAL for less room than one needs."""
        if size < SIGNALFD_SIGINFO.size:
            raise EINVAL
        task: Task = await current_owner()
        found: list[bytes] = []
        while True:
            while len(found) < min(size // SIGNALFD_SIGINFO.size, AT_ONCE):
                info = take_signal(task, self.mask)
                if info is None:
                    break
                found.append(_pack(info))
            if found:
                return b"".join(found)
            if self.nonblock:
                raise EAGAIN
            await park(task.group.signalfd_wait)

    def poll(self) -> int:
        task: Task | None = self._scheduler.current
        if task is None:
            return 0
        return IN if (task.pending.mask | task.group.pending.mask) & self.mask else 0

    def queues(self) -> tuple[WaitQueue, ...]:
        task: Task | None = self._scheduler.current
        assert task is not None, "only tasks wait for files"
        return (task.group.signalfd_wait,)


def _pack(info: SigInfo) -> bytes:
    value = info.value
    return SIGNALFD_SIGINFO.pack(
        info.signo,
        info.errno,
        info.code,
        info.pid & 0xFFFF_FFFF,
        info.uid & 0xFFFF_FFFF,
        info.fd,
        info.timer & 0xFFFF_FFFF,
        info.band & 0xFFFF_FFFF,
        info.overrun & 0xFFFF_FFFF,
        0,
        info.status,
        ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000,
        value & (1 << 64) - 1,
        info.utime,
        info.stime,
        info.address,
        0,
    )
