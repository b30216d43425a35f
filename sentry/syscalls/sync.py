"""sync(2), fsync(2), fdatasync(2), syncfs(2), sync_file_range(2), readahead(2), posix_fadvise(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import EBADF, EINVAL, ESPIPE
from pysc.cabi.linux.stat import S_IFBLK, S_IFIFO, S_IFMT, S_IFREG
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.syscalls.table import I64, U32, Fd, Size

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task


async def _sync(file: FileDescription, *, data_only: bool) -> None:
    file.get()
    try:
        await file.sync(data_only)
    finally:
        file.put()


async def fsync(task: Task, fd: Fd) -> None:
    """fsync(2)."""
    await _sync(task.fds.get(fd), data_only=False)


async def fdatasync(task: Task, fd: Fd) -> None:
    """fdatasync(2)."""
    await _sync(task.fds.get(fd), data_only=True)


async def sync(task: Task) -> None:
    """sync(2)."""
    for mount in list(task.fs.namespace.mounts.values()):
        await mount.fs.sync()


async def syncfs(task: Task, fd: Fd) -> None:
    """syncfs(2)."""
    file = task.fds.get(fd)
    if file.path is not None:
        await file.path.mount.fs.sync()


async def sync_file_range(task: Task, fd: Fd, offset: I64, count: I64, flags: U32) -> None:
    """sync_file_range(2): all of the data, not only the range."""
    file = task.fds.get(fd)
    if flags & ~7 or offset < 0 or count < 0:
        raise EINVAL
    if (await file.attributes()).mode & S_IFMT not in (S_IFREG, S_IFBLK):
        raise ESPIPE
    await _sync(file, data_only=True)


async def readahead(task: Task, fd: Fd, offset: I64, count: Size) -> None:
    """readahead(2): the host reads ahead by itself."""
    file = task.fds.get(fd)
    if not file.readable:
        raise EBADF
    if (await file.attributes()).mode & S_IFMT != S_IFREG:
        raise EINVAL


async def fadvise64(task: Task, fd: Fd, offset: I64, count: I64, advice: U32) -> None:
    """posix_fadvise(2): checked, and left to the host."""
    file = task.fds.get(fd)
    if (await file.attributes()).mode & S_IFMT == S_IFIFO:
        raise ESPIPE
    if count < 0 or advice > 5:
        raise EINVAL
