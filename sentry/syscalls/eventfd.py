"""eventfd(2), eventfd2(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.sentry.fs.eventfd import EventFile
from pysc.sentry.syscalls.descriptors import install
from pysc.sentry.syscalls.table import U32, only_bits

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

EFD_SEMAPHORE: Final = 0o1
EFD_CLOEXEC: Final = 0o2000000
EfdFlags = Annotated[int, only_bits(EFD_SEMAPHORE | O_NONBLOCK | EFD_CLOEXEC)]


def eventfd2(task: Task, initval: U32, flags: EfdFlags) -> int:
    """eventfd2(2).  EINVAL (unknown flags), EMFILE."""
    file = EventFile(initval, bool(flags & EFD_SEMAPHORE), flags & O_NONBLOCK)
    return install(task, file, cloexec=bool(flags & EFD_CLOEXEC))


def eventfd(task: Task, initval: U32) -> int:
    """eventfd(2) without flags."""
    return eventfd2(task, initval, 0)
