"""Extended attributes (xattr(7)): getxattr(2), setxattr(2), listxattr(2), removexattr(2) in their three forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.capability import CAP_SYS_ADMIN
from pysc.cabi.linux.errors import (
    E2BIG,
    EINVAL,
    ENAMETOOLONG,
    ENODATA,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    EROFS,
)
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.stat import (
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    S_ISVTX,
    XATTR_CREATE,
    XATTR_LIST_MAX,
    XATTR_NAME_MAX,
    XATTR_REPLACE,
    XATTR_SIZE_MAX,
)
from pysc.sentry.fs import notify
from pysc.sentry.fs.path import Path as Place
from pysc.sentry.fs.permissions import MAY_READ, MAY_WRITE, check, owns
from pysc.sentry.fs.walk import FOLLOW, resolve
from pysc.sentry.syscalls.buffers import give
from pysc.sentry.syscalls.table import U32, Addr, Fd, Path, Size

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.kernel.task import Task

PREFIXES: Final = (b"security.", b"system.", b"trusted.", b"user.")
"""Classes; a name has something after it."""


async def _name(task: Task, address: int) -> bytes:
    try:
        name = await task.copy_in_string(address, XATTR_NAME_MAX + 1)
    except ENAMETOOLONG:
        raise ERANGE from None
    if not name:
        raise ERANGE
    return name


def _check(task: Task, inode: Inode, name: bytes, *, write: bool) -> None:
    """Whether the caller may: EOPNOTSUPP for an unknown class, EPERM or ENODATA for what is not for users, EINVAL."""
    if not name.startswith(PREFIXES) or name.startswith(b"system."):
        raise EOPNOTSUPP
    privileged = task.creds.has_capability(CAP_SYS_ADMIN)
    if name.startswith(b"trusted.") and not privileged:
        raise EPERM if write else ENODATA
    if name.startswith(b"user."):
        kind = inode.mode & S_IFMT
        if kind not in (S_IFREG, S_IFDIR):
            raise EPERM if write else ENODATA
        if write and kind == S_IFDIR and inode.mode & S_ISVTX and not owns(task.creds, inode):
            raise EPERM
        check(task.creds, inode, MAY_WRITE if write else MAY_READ)
    elif write and name.startswith(b"security.") and not privileged:
        raise EPERM
    if name in PREFIXES:
        raise EINVAL


def _descriptor(task: Task, fd: int) -> Place:
    file = task.fds.get(fd)
    if file.path is None:
        raise EOPNOTSUPP
    return file.path


async def _get(task: Task, place: Place, name: Addr, value: Addr, size: int) -> int:
    key = await _name(task, name)
    inode = place.dentry.inode
    _check(task, inode, key, write=False)
    data = await inode.get_xattr(key)
    return await _answer(task, value, min(size, XATTR_SIZE_MAX), data, ERANGE)


async def _answer(task: Task, address: int, size: int, data: bytes, too_long: type[Exception]) -> int:
    if size:
        if len(data) > size:
            raise too_long
        await give(task, address, data)
    return len(data)


async def _set(task: Task, place: Place, name: Addr, value: Addr, size: int, flags: int) -> None:
    if flags & ~(XATTR_CREATE | XATTR_REPLACE):
        raise EINVAL
    key = await _name(task, name)
    if size > XATTR_SIZE_MAX:
        raise E2BIG
    data = await task.copy_in(value, size) if size else b""
    if place.mount.readonly:
        raise EROFS
    inode = place.dentry.inode
    _check(task, inode, key, write=True)
    await inode.set_xattr(key, data, flags)
    notify.announce(place.dentry, notify.IN_ATTRIB)


async def _list(task: Task, place: Place, buf: Addr, size: int) -> int:
    names = await place.dentry.inode.list_xattrs()
    if not task.creds.has_capability(CAP_SYS_ADMIN):
        names = [name for name in names if not name.startswith(b"trusted.")]
    data = b"".join(name + b"\0" for name in names)
    return await _answer(task, buf, min(size, XATTR_LIST_MAX), data, ERANGE)


async def _remove(task: Task, place: Place, name: Addr) -> None:
    key = await _name(task, name)
    if place.mount.readonly:
        raise EROFS
    inode = place.dentry.inode
    _check(task, inode, key, write=True)
    await inode.remove_xattr(key)
    notify.announce(place.dentry, notify.IN_ATTRIB)


async def getxattr(task: Task, path: Path, name: Addr, value: Addr, size: Size) -> int:
    """getxattr(2)."""
    return await _get(task, await resolve(task, AT_FDCWD, path), name, value, size)


async def lgetxattr(task: Task, path: Path, name: Addr, value: Addr, size: Size) -> int:
    """lgetxattr(2)."""
    return await _get(task, await resolve(task, AT_FDCWD, path, 0), name, value, size)


async def fgetxattr(task: Task, fd: Fd, name: Addr, value: Addr, size: Size) -> int:
    """fgetxattr(2)."""
    return await _get(task, _descriptor(task, fd), name, value, size)


async def setxattr(task: Task, path: Path, name: Addr, value: Addr, size: Size, flags: U32) -> None:
    """setxattr(2)."""
    await _set(task, await resolve(task, AT_FDCWD, path, FOLLOW), name, value, size, flags)


async def lsetxattr(task: Task, path: Path, name: Addr, value: Addr, size: Size, flags: U32) -> None:
    """lsetxattr(2)."""
    await _set(task, await resolve(task, AT_FDCWD, path, 0), name, value, size, flags)


async def fsetxattr(task: Task, fd: Fd, name: Addr, value: Addr, size: Size, flags: U32) -> None:
    """fsetxattr(2)."""
    await _set(task, _descriptor(task, fd), name, value, size, flags)


async def listxattr(task: Task, path: Path, buf: Addr, size: Size) -> int:
    """listxattr(2)."""
    return await _list(task, await resolve(task, AT_FDCWD, path), buf, size)


async def llistxattr(task: Task, path: Path, buf: Addr, size: Size) -> int:
    """llistxattr(2)."""
    return await _list(task, await resolve(task, AT_FDCWD, path, 0), buf, size)


async def flistxattr(task: Task, fd: Fd, buf: Addr, size: Size) -> int:
    """flistxattr(2)."""
    return await _list(task, _descriptor(task, fd), buf, size)


async def removexattr(task: Task, path: Path, name: Addr) -> None:
    """removexattr(2)."""
    await _remove(task, await resolve(task, AT_FDCWD, path), name)


async def lremovexattr(task: Task, path: Path, name: Addr) -> None:
    """lremovexattr(2)."""
    await _remove(task, await resolve(task, AT_FDCWD, path, 0), name)


async def fremovexattr(task: Task, fd: Fd, name: Addr) -> None:
    """fremovexattr(2)."""
    await _remove(task, _descriptor(task, fd), name)
