"""FIFOs in file systems (fifo(7)): the pipe of an inode while somebody has it open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.sentry.fs import special
from pysc.sentry.fs.pipe import Pipe, PipeFile, open_fifo

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task


async def open_fifo_inode(task: Task, inode: Inode, path: Path, flags: int) -> PipeFile:
    """Open the pipe that ``inode`` stands for; what was left in it by those who closed it is gone.  ENXIO."""
    pipe = inode.special
    if not isinstance(pipe, Pipe):
        pipe = inode.special = Pipe()
    return await open_fifo(pipe, flags, path)


special.open_fifo = open_fifo_inode
