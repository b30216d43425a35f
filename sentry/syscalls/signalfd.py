"""signalfd(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pysc.cabi.linux.errors import EINVAL
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.cabi.linux.signals import UNBLOCKABLE
from pysc.sentry.fs.signalfd import SignalFile
from pysc.sentry.syscalls.descriptors import install
from pysc.sentry.syscalls.table import Addr, Fd, Size, only_bits

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

SFD_CLOEXEC: Final = 0o2000000
SfdFlags = Annotated[int, only_bits(O_NONBLOCK | SFD_CLOEXEC)]


async def signalfd4(task: Task, fd: Fd, mask: Addr, size: Size, flags: SfdFlags) -> int:
    """signalfd4(2): a new descriptor, or another set for ``fd``."""
    if size != 8:
        raise EINVAL
    signals = int.from_bytes(await task.copy_in(mask, 8), "little") & ~UNBLOCKABLE
    if fd == -1:
        file = SignalFile(task.kernel.scheduler, signals, flags & O_NONBLOCK)
        return install(task, file, cloexec=bool(flags & SFD_CLOEXEC))
    known = task.fds.get(fd)
    if not isinstance(known, SignalFile):
        raise EINVAL
    known.mask = signals
    task.group.signalfd_wait.wake_all()
    return fd


async def signalfd(task: Task, fd: Fd, mask: Addr, size: Size) -> int:
    """signalfd(2) without flags."""
    return await signalfd4(task, fd, mask, size, 0)
