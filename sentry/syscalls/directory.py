"""Directories: getdents(2), mkdir(2), rmdir(2), chdir(2), getcwd(2), chroot(2), umask(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.capability import CAP_SYS_CHROOT
from pysc.cabi.linux.dirent import to_legacy
from pysc.cabi.linux.errors import EINVAL, ENOENT, ENOTDIR, EPERM, ERANGE
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT
from pysc.sentry.fs import notify
from pysc.sentry.fs.namei import make_directory, remove_directory
from pysc.sentry.fs.path import is_deleted, name_of
from pysc.sentry.fs.permissions import MAY_EXEC, check
from pysc.sentry.fs.walk import DIRECTORY, FOLLOW, resolve
from pysc.sentry.syscalls.table import U32, Addr, Fd, Mode, Path, Size

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

LISTING_MAX: Final = 32 << 10


async def getdents64(task: Task, fd: Fd, buf: Addr, count: U32) -> int:
    """getdents64(2)."""
    file = task.fds.get(fd)
    file.get()
    try:
        records = await file.list(min(count, LISTING_MAX))
        notify.used(file.path, notify.IN_ACCESS)
    finally:
        file.put()
    if records:
        task.put(buf, records)
    return len(records)


async def getdents(task: Task, fd: Fd, buf: Addr, count: U32) -> int:
    """getdents(2): the old records are up to 8 bytes longer, so fewer are asked for."""
    file = task.fds.get(fd)
    file.get()
    try:
        before = file.offset
        records = to_legacy(await file.list(min(count, LISTING_MAX) * 3 // 4))
        notify.used(file.path, notify.IN_ACCESS)
    finally:
        file.put()
    if len(records) > count:
        file.offset = before
        raise EINVAL
    if records:
        task.put(buf, records)
    return len(records)


async def mkdirat(task: Task, dirfd: Fd, path: Path, mode: Mode) -> None:
    """mkdirat(2)."""
    await make_directory(task, dirfd, path, mode)


async def mkdir(task: Task, path: Path, mode: Mode) -> None:
    """mkdir(2)."""
    await make_directory(task, AT_FDCWD, path, mode)


async def rmdir(task: Task, path: Path) -> None:
    """rmdir(2)."""
    await remove_directory(task, AT_FDCWD, path)


async def chdir(task: Task, path: Path) -> None:
    """chdir(2)."""
    place = await resolve(task, AT_FDCWD, path, FOLLOW | DIRECTORY)
    check(task.creds, place.dentry.inode, MAY_EXEC)
    task.fs.cwd = place


def fchdir(task: Task, fd: Fd) -> None:
    """fchdir(2)."""
    place = task.fds.get_raw(fd).path
    if place is None or place.dentry.inode.mode & S_IFMT != S_IFDIR:
        raise ENOTDIR
    check(task.creds, place.dentry.inode, MAY_EXEC)
    task.fs.cwd = place


def getcwd(task: Task, buf: Addr, size: Size) -> int:
    """getcwd(2): the length with its NUL.  ENOENT: it was removed."""
    cwd = task.fs.cwd
    if is_deleted(cwd):
        raise ENOENT
    name, reachable = name_of(cwd, task.fs.root)
    if not reachable:
        name = b"(unreachable)" + name
    if len(name) + 1 > size:
        raise ERANGE
    task.put(buf, name + b"\0")
    return len(name) + 1


async def chroot(task: Task, path: Path) -> None:
    """chroot(2)."""
    place = await resolve(task, AT_FDCWD, path, FOLLOW | DIRECTORY)
    check(task.creds, place.dentry.inode, MAY_EXEC)
    if not task.creds.has_capability(CAP_SYS_CHROOT):
        raise EPERM
    task.fs.root = place


def umask(task: Task, mask: U32) -> int:
    """umask(2)."""
    before, task.fs.umask = task.fs.umask, mask & 0o777
    return before
