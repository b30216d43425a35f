"""pipe(2), pipe2(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.capability import CAP_SYS_RESOURCE
from pysc.cabi.linux.errors import EBADF, EINVAL
from pysc.cabi.linux.fcntl import O_CLOEXEC, O_DIRECT, O_NONBLOCK
from pysc.sentry.fs import fifo as _fifo  # noqa: F401 (FIFOs open with it)
from pysc.sentry.fs import special
from pysc.sentry.fs.inode import Owner
from pysc.sentry.fs.pipe import PipeFile, make_pipe
from pysc.sentry.syscalls.descriptors import install_pair
from pysc.sentry.syscalls.table import U32, Addr

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task


def pipe_size(task: Task, file: FileDescription, change: bool, size: int) -> int:
    """fcntl(2) with F_GETPIPE_SZ and F_SETPIPE_SZ.  EBADF: no pipe; else what Pipe.resize says."""
    if not isinstance(file, PipeFile):
        raise EBADF
    return file.pipe.resize(size, task.creds.has_capability(CAP_SYS_RESOURCE)) if change else file.pipe.capacity


special.pipe_size = pipe_size


async def pipe2(task: Task, fds: Addr, flags: U32) -> None:
    """pipe2(2): what does not reach the caller's memory is closed again."""
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        raise EINVAL
    ends = make_pipe(flags & ~O_CLOEXEC, Owner(task.creds.fsuid, task.creds.fsgid))
    await install_pair(task, ends, fds, cloexec=bool(flags & O_CLOEXEC))


async def pipe(task: Task, fds: Addr) -> None:
    """pipe(2)."""
    await pipe2(task, fds, 0)
