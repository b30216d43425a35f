"""pipe(2), pipe2(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EINVAL
from pysc.sentry.fs.file import O_NONBLOCK
from pysc.sentry.fs.inode import Owner
from pysc.sentry.fs.pipe import O_DIRECT, make_pipe
from pysc.sentry.syscalls.descriptors import install_pair
from pysc.sentry.syscalls.table import U32, Addr

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

O_CLOEXEC: Final = 0o2000000


async def pipe2(task: Task, fds: Addr, flags: U32) -> None:
    """pipe2(2): what does not reach the caller's memory is closed again."""
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        raise EINVAL
    ends = make_pipe(flags & ~O_CLOEXEC, Owner(task.creds.fsuid, task.creds.fsgid))
    await install_pair(task, ends, fds, cloexec=bool(flags & O_CLOEXEC))


async def pipe(task: Task, fds: Addr) -> None:
    """pipe(2)."""
    await pipe2(task, fds, 0)
