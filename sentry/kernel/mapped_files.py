"""What the files that are mapped are called inside, for /proc/PID/maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi import host
from pysc.cabi.linux.errors import LinuxError
from pysc.cabi.objects import memory_is_out
from pysc.sentry.fs import dcache
from pysc.sentry.fs.path import show
from pysc.sentry.kernel.memory import IMAGE, Donated, Memory

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.ipc.shm import Segment
    from pysc.sentry.kernel.task import Task

SHMEM_DEVICE: Final = 1
"""What shared memory is on, as maps show it."""


def note_mapped(task: Task, memory: Memory, file: FileDescription, host_fd: int) -> None:
    """Remember a file that is mapped by a descriptor of the host's."""
    if memory_is_out():
        return  # it goes without a name
    try:
        identity = host.identity(host_fd)
    except OSError:
        return
    name = show(file.path, task.fs.root) if file.path is not None else b"/anonymous"
    memory.donated[identity] = Donated(name, 0, 0) if file.path is None else _shown(name, file.path.inode)


def _shown(name: bytes, inode: Inode) -> Donated:
    return Donated(name, inode.fs.dev, inode.ino)


def note_segment(memory: Memory, segment: Segment, host_fd: int) -> None:
    """Remember a segment of shared memory that is mapped by a descriptor of the host's."""
    if not memory_is_out():
        name = b"/SYSV%08x (deleted)" % (segment.key & 0xFFFF_FFFF)
        memory.donated[host.identity(host_fd)] = Donated(name, SHMEM_DEVICE, segment.id)


def note_image(memory: Memory, host_fd: int) -> None:
    """Remember a file of saved memory that is mapped: it is none to the guest."""
    memory.donated[host.identity(host_fd)] = IMAGE


def hear_of_mapped(task: Task) -> None:
    """Remember what fast paths have mapped, too: before maps are shown or copied."""
    for found in task.memory.space.take_mapped():
        try:
            place = dcache.place(found.dentry, found.mount)
        except LinuxError:  # the host has lost it
            continue
        finally:
            dcache.leave(found.dentry)
        task.memory.donated[found.device, found.inode] = _shown(show(place, task.fs.root), place.inode)
