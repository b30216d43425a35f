"""inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import EINVAL
from pysc.cabi.linux.fcntl import AT_FDCWD, O_CLOEXEC, O_NONBLOCK
from pysc.sentry.fs.inotify import (
    IN_ALL_EVENTS,
    IN_DONT_FOLLOW,
    IN_MASK_ADD,
    IN_MASK_CREATE,
    IN_ONLYDIR,
    InotifyFile,
)
from pysc.sentry.fs.permissions import MAY_READ, check
from pysc.sentry.fs.walk import DIRECTORY, FOLLOW, resolve
from pysc.sentry.syscalls.descriptors import install
from pysc.sentry.syscalls.table import I32, U32, Fd, Path

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task


def inotify_init1(task: Task, flags: U32) -> int:
    """inotify_init1(2)."""
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        raise EINVAL
    return install(task, InotifyFile(flags & O_NONBLOCK), cloexec=bool(flags & O_CLOEXEC))


def inotify_init(task: Task) -> int:
    """inotify_init(2)."""
    return inotify_init1(task, 0)


def _instance(task: Task, fd: int) -> InotifyFile:
    file = task.fds.get(fd)
    if not isinstance(file, InotifyFile):
        raise EINVAL
    return file


async def inotify_add_watch(task: Task, fd: Fd, path: Path, mask: U32) -> int:
    """inotify_add_watch(2)."""
    if not mask & IN_ALL_EVENTS or (mask & IN_MASK_ADD and mask & IN_MASK_CREATE):
        raise EINVAL
    file = _instance(task, fd)
    file.get()
    try:
        wanted = (0 if mask & IN_DONT_FOLLOW else FOLLOW) | (DIRECTORY if mask & IN_ONLYDIR else 0)
        place = await resolve(task, AT_FDCWD, path, wanted)
        check(task.creds, place.dentry.inode, MAY_READ)
        return file.add(place.dentry.inode, mask)
    finally:
        file.put()


def inotify_rm_watch(task: Task, fd: Fd, wd: I32) -> None:
    """inotify_rm_watch(2)."""
    _instance(task, fd).remove(wd)
