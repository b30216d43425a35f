"""FIFOs and bound sockets: inodes of any file system that stand for objects of the IPC code.

``Inode.special`` of a FIFO is its pipe while somebody has it open; that of a socket inode is the bound socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import EBADF, EINVAL, ENXIO

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task

FifoOpener = Callable[["Task", "Inode", "Path", int], Awaitable["FileDescription"]]
DeviceOpener = Callable[["Task", "Path", int], Awaitable["FileDescription"]]


async def _no_fifo(task: Task, inode: Inode, path: Path, flags: int) -> FileDescription:
    raise ENXIO


open_fifo: FifoOpener = _no_fifo
"""Open a FIFO (fifo(7)): waits for the other end unless O_NONBLOCK.  Set by the module that has pipes."""

devices: dict[tuple[int, int], DeviceOpener] = {}
"""Character devices by (major, minor); filled by the modules that have drivers."""


async def _no_locks(task: Task, fd: int, command: int, address: int) -> int:
    raise EINVAL


record_lock: Callable[[Task, int, int, int], Awaitable[int]] = _no_locks
"""fcntl(2) of a number with F_GETLK … F_OFD_SETLKW; ``address`` is that of a struct flock.  Set by who has locks."""


def _no_pipe(task: Task, file: FileDescription, change: bool, size: int) -> int:
    raise EBADF


pipe_size: Callable[[Task, FileDescription, bool, int], int] = _no_pipe
"""fcntl(2) with F_GETPIPE_SZ, or F_SETPIPE_SZ if ``change``.  EBADF: no pipe.  Set by the module that has pipes."""
