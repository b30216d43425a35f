"""chmod(2), chown(2), utimensat(2), truncate(2), fallocate(2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.clock import SECOND
from pysc.cabi.linux.errors import (
    EACCES,
    EBADF,
    EFBIG,
    EINVAL,
    EISDIR,
    ENODEV,
    EOPNOTSUPP,
    EPERM,
    EROFS,
    ESPIPE,
)
from pysc.cabi.linux.fcntl import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
)
from pysc.cabi.linux.resource import RLIMIT_FSIZE
from pysc.cabi.linux.stat import (
    PERMISSIONS,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_ISGID,
    S_ISUID,
    UTIME_NOW,
    UTIME_OMIT,
)
from pysc.sentry.fs import notify
from pysc.sentry.fs.inode import Changes, clock
from pysc.sentry.fs.open import truncate as truncate_inode
from pysc.sentry.fs.path import Path as Place
from pysc.sentry.fs.permissions import (
    MAY_WRITE,
    check,
    check_chown,
    mode_for_chmod,
    owns,
    permitted,
    without_suid,
)
from pysc.sentry.fs.regular import RegularFile
from pysc.sentry.fs.walk import EMPTY, FOLLOW, resolve
from pysc.sentry.syscalls.rw import exceed
from pysc.sentry.syscalls.table import I64, U32, Addr, Fd, Mode, Path

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.kernel.task import Task

NO_ID: Final = 0xFFFF_FFFF
_TIMES: Final = struct.Struct("<qqqq")
_SECONDS: Final = struct.Struct("<qq")


async def _at(task: Task, dirfd: int, path: bytes, flags: int) -> Place:
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise EINVAL
    wanted = (0 if flags & AT_SYMLINK_NOFOLLOW else FOLLOW) | (EMPTY if flags & AT_EMPTY_PATH else 0)
    return await resolve(task, dirfd, path, wanted)


# --- chmod ----------------------------------------------------------------------------------------------------


async def _chmod(task: Task, place: Place | None, mode: int) -> None:
    if place is None:
        return
    inode = place.dentry.inode
    if place.mount.readonly:
        raise EROFS
    if inode.mode & S_IFMT == S_IFLNK:
        raise EOPNOTSUPP
    await inode.set_attributes(Changes(mode=mode_for_chmod(task.creds, inode, mode & PERMISSIONS)))
    notify.announce(place.dentry, notify.IN_ATTRIB)


async def chmod(task: Task, path: Path, mode: Mode) -> None:
    """chmod(2)."""
    await _chmod(task, await resolve(task, AT_FDCWD, path), mode)


async def fchmod(task: Task, fd: Fd, mode: Mode) -> None:
    """fchmod(2)."""
    await _chmod(task, task.fds.get(fd).path, mode)


async def fchmodat(task: Task, dirfd: Fd, path: Path, mode: Mode) -> None:
    """fchmodat(2) as the kernel has it: without flags."""
    await _chmod(task, await resolve(task, dirfd, path), mode)


async def fchmodat2(task: Task, dirfd: Fd, path: Path, mode: Mode, flags: U32) -> None:
    """fchmodat2(2)."""
    await _chmod(task, await _at(task, dirfd, path, flags), mode)


# --- chown ----------------------------------------------------------------------------------------------------


async def _chown(task: Task, place: Place | None, uid: int, gid: int) -> None:
    if place is None:
        return
    inode = place.dentry.inode
    if place.mount.readonly:
        raise EROFS
    owner = None if uid == NO_ID else uid
    group = None if gid == NO_ID else gid
    check_chown(task.creds, inode, owner, group)
    mode = None
    if inode.mode & S_IFMT != S_IFDIR and inode.mode & (S_ISUID | S_ISGID):
        mode = without_suid(inode.mode) & PERMISSIONS
    await inode.set_attributes(Changes(uid=owner, gid=group, mode=mode))
    notify.announce(place.dentry, notify.IN_ATTRIB)


async def chown(task: Task, path: Path, uid: U32, gid: U32) -> None:
    """chown(2)."""
    await _chown(task, await resolve(task, AT_FDCWD, path), uid, gid)


async def lchown(task: Task, path: Path, uid: U32, gid: U32) -> None:
    """lchown(2)."""
    await _chown(task, await resolve(task, AT_FDCWD, path, 0), uid, gid)


async def fchown(task: Task, fd: Fd, uid: U32, gid: U32) -> None:
    """fchown(2)."""
    await _chown(task, task.fds.get(fd).path, uid, gid)


async def fchownat(task: Task, dirfd: Fd, path: Path, uid: U32, gid: U32, flags: U32) -> None:
    """fchownat(2)."""
    await _chown(task, await _at(task, dirfd, path, flags), uid, gid)


# --- times ----------------------------------------------------------------------------------------------------


async def _set_times(task: Task, place: Place | None, atime: int | None, mtime: int | None, *, now: bool) -> None:
    """Set times; ``now`` is that both are the present, which who may write may do, too."""
    if place is None or (atime is None and mtime is None):
        return
    if place.mount.readonly:
        raise EROFS
    inode = place.dentry.inode
    if not owns(task.creds, inode):
        if not now:
            raise EPERM
        if not permitted(task.creds, inode, MAY_WRITE):
            raise EACCES
    await inode.set_attributes(Changes(atime=atime, mtime=mtime))
    notify.announce(place.dentry, notify.IN_ATTRIB)


async def _utimens(task: Task, place: Place | None, times: bytes) -> None:
    present = clock()
    if not times:
        await _set_times(task, place, present, present, now=True)
        return
    seconds_a, nanos_a, seconds_m, nanos_m = _TIMES.unpack(times)
    values: list[int | None] = []
    for seconds, nanos in ((seconds_a, nanos_a), (seconds_m, nanos_m)):
        if nanos == UTIME_NOW:
            values.append(present)
        elif nanos == UTIME_OMIT:
            values.append(None)
        elif 0 <= nanos < SECOND:
            values.append(max(-(1 << 63), min(seconds * SECOND + nanos, (1 << 63) - 1)))
        else:
            raise EINVAL
    await _set_times(task, place, *values, now=nanos_a == UTIME_NOW and nanos_m == UTIME_NOW)


async def utimensat(task: Task, dirfd: Fd, path: Addr, times: Addr, flags: U32) -> None:
    """utimensat(2): without a path it is the descriptor's file (futimens(3))."""
    data = await task.copy_in(times, _TIMES.size) if times else b""
    if data and _TIMES.unpack(data)[1::2] == (UTIME_OMIT, UTIME_OMIT):
        return  # nothing else is even looked at
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise EINVAL
    if path or dirfd == AT_FDCWD:
        place: Place | None = await _at(task, dirfd, await task.copy_in_string(path), flags)
    elif flags:
        raise EINVAL
    else:
        place = task.fds.get(dirfd).path
    await _utimens(task, place, data)


async def _timevals(task: Task, times: int) -> bytes:
    if not times:
        return b""
    seconds_a, micros_a, seconds_m, micros_m = _TIMES.unpack(await task.copy_in(times, _TIMES.size))
    if not (0 <= micros_a < 1_000_000 and 0 <= micros_m < 1_000_000):
        raise EINVAL
    return _TIMES.pack(seconds_a, micros_a * 1000, seconds_m, micros_m * 1000)


async def utimes(task: Task, path: Path, times: Addr) -> None:
    """utimes(2)."""
    data = await _timevals(task, times)
    await _utimens(task, await resolve(task, AT_FDCWD, path), data)


async def futimesat(task: Task, dirfd: Fd, path: Addr, times: Addr) -> None:
    """futimesat(2)."""
    data = await _timevals(task, times)
    if path or dirfd == AT_FDCWD:
        place: Place | None = await resolve(task, dirfd, await task.copy_in_string(path))
    else:
        place = task.fds.get(dirfd).path
    await _utimens(task, place, data)


async def utime(task: Task, path: Path, times: Addr) -> None:
    """utime(2)."""
    data = b""
    if times:
        seconds_a, seconds_m = _SECONDS.unpack(await task.copy_in(times, _SECONDS.size))
        data = _TIMES.pack(seconds_a, 0, seconds_m, 0)
    await _utimens(task, await resolve(task, AT_FDCWD, path), data)


# --- size -----------------------------------------------------------------------------------------------------


async def truncate(task: Task, path: Path, length: I64) -> None:
    """truncate(2)."""
    if length < 0:
        raise EINVAL
    place = await resolve(task, AT_FDCWD, path)
    inode = place.dentry.inode
    kind = inode.mode & S_IFMT
    if kind == S_IFDIR:
        raise EISDIR
    if kind != S_IFREG:
        raise EINVAL
    if place.mount.readonly:
        raise EROFS
    check(task.creds, inode, MAY_WRITE)
    await _check_growth(task, inode, length)
    await truncate_inode(task.creds, inode, length)
    notify.announce(place.dentry, notify.IN_MODIFY)


async def _check_growth(task: Task, inode: Inode, length: int) -> None:
    if length > task.group.limit(RLIMIT_FSIZE) and length > await inode.size():
        exceed(task)


async def ftruncate(task: Task, fd: Fd, length: I64) -> None:
    """ftruncate(2)."""
    if length < 0:
        raise EINVAL
    file = task.fds.get(fd)
    if not file.writable:
        raise EINVAL
    if isinstance(file, RegularFile):
        await _check_growth(task, file.inode, length)
    await file.truncate(length)
    if file.path is not None:
        notify.announce(file.path.dentry, notify.IN_MODIFY)


async def fallocate(task: Task, fd: Fd, mode: U32, offset: I64, length: I64) -> None:
    """fallocate(2)."""
    file = task.fds.get(fd)
    if offset < 0 or length <= 0:
        raise EINVAL
    if mode & ~0x7F or (mode & FALLOC_FL_PUNCH_HOLE and not mode & FALLOC_FL_KEEP_SIZE):
        raise EOPNOTSUPP
    if not file.writable:
        raise EBADF
    if offset + length >= 1 << 63:
        raise EFBIG
    kind = (await file.attributes()).mode & S_IFMT
    if kind == S_IFIFO:
        raise ESPIPE
    if kind == S_IFDIR:
        raise EISDIR
    if kind != S_IFREG:
        raise ENODEV
    if isinstance(file, RegularFile) and not mode & FALLOC_FL_KEEP_SIZE:
        await _check_growth(task, file.inode, offset + length)
    await file.allocate(mode, offset, length)
    notify.used(file.path, notify.IN_MODIFY)
