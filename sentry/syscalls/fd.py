"""Descriptors: close(2), dup(2), fcntl(2), close_range(2), ioctl(2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EBADF, EINVAL, ENOTTY, EOPNOTSUPP, EPERM, answered_by_host
from pysc.cabi.linux.fcntl import (
    F_ADD_SEALS,
    F_CREATED_QUERY,
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_DUPFD_QUERY,
    F_GET_SEALS,
    F_GETFD,
    F_GETFL,
    F_GETLEASE,
    F_GETLK,
    F_GETOWN,
    F_GETOWN_EX,
    F_GETPIPE_SZ,
    F_GETSIG,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_SETFD,
    F_SETFL,
    F_SETLK,
    F_SETLKW,
    F_SETOWN,
    F_SETOWN_EX,
    F_SETPIPE_SZ,
    F_SETSIG,
    F_UNLCK,
    FD_CLOEXEC,
    O_ASYNC,
    O_CLOEXEC,
    O_NOATIME,
    O_NONBLOCK,
    SETFL_FLAGS,
)
from pysc.cabi.linux.resource import RLIMIT_NOFILE
from pysc.cabi.linux.signals import NSIG
from pysc.cabi.linux.termios import FIONBIO, FIONREAD
from pysc.sentry.fs import special
from pysc.sentry.fs.fasync import F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, NOBODY, Notice
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.memory_file import Contents
from pysc.sentry.fs.permissions import owns
from pysc.sentry.fs.regular import RegularFile
from pysc.sentry.fs.tmpfs import TmpfsFile
from pysc.sentry.syscalls.table import U32, U64, Fd
from pysc.sentry.syscalls.waiting import Using

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

CLOSE_RANGE_UNSHARE: Final = 2
CLOSE_RANGE_CLOEXEC: Final = 4
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451
FIOASYNC: Final = 0x5452
FIGETBSZ: Final = 2
FICLONE: Final = 0x4004_9409
FICLONERANGE: Final = 0x4020_940D
_INT: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")
_OWNER_EX: Final = struct.Struct("<ii")
"""struct f_owner_ex: type, pid."""
_ALLOWED_ON_PATH: Final = frozenset({F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_QUERY})


def close(task: Task, fd: Fd) -> None:
    """close(2)."""
    task.fds.close(task, fd)


def dup(task: Task, fd: Fd) -> int:
    """dup(2)."""
    return task.fds.install(task.fds.get_raw(fd), task.group.limit(RLIMIT_NOFILE))


def dup2(task: Task, old: Fd, new: Fd) -> int:
    """dup2(2)."""
    file = task.fds.get_raw(old)
    if old != new:
        task.fds.replace(task, new, file, task.group.limit(RLIMIT_NOFILE))
    return new


def dup3(task: Task, old: Fd, new: Fd, flags: U32) -> int:
    """dup3(2)."""
    if flags & ~O_CLOEXEC or old == new:
        raise EINVAL
    file = task.fds.get_raw(old)
    task.fds.replace(task, new, file, task.group.limit(RLIMIT_NOFILE), cloexec=bool(flags & O_CLOEXEC))
    return new


def close_range(task: Task, first: U32, last: U32, flags: U32) -> None:
    """close_range(2)."""
    if flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) or first > last:
        raise EINVAL
    if flags & CLOSE_RANGE_UNSHARE and task.fds.users > 1:
        table = task.fds.copy()
        task.fds.leave(task)
        task.fds = table
    for fd in task.fds:
        if first <= fd <= last:
            if flags & CLOSE_RANGE_CLOEXEC:
                task.fds.set_cloexec(fd, True)
            else:
                task.fds.close(task, fd)


async def fcntl(task: Task, fd: Fd, cmd: U32, arg: U64) -> int:
    """fcntl(2)."""
    file = task.fds.get_raw(fd)
    if file.is_place and cmd not in _ALLOWED_ON_PATH:
        raise EBADF
    if cmd in (F_DUPFD, F_DUPFD_CLOEXEC):
        limit = task.group.limit(RLIMIT_NOFILE)
        lowest = arg & 0xFFFF_FFFF
        if lowest >= limit:
            raise EINVAL
        return task.fds.install(file, limit, cloexec=cmd == F_DUPFD_CLOEXEC, lowest=lowest)
    if cmd == F_GETFD:
        return FD_CLOEXEC if task.fds.cloexec(fd) else 0
    if cmd == F_SETFD:
        task.fds.set_cloexec(fd, bool(arg & FD_CLOEXEC))
        return 0
    if cmd == F_GETFL:
        return file.flags
    if cmd == F_SETFL:
        _set_flags(task, fd, file, arg & 0xFFFF_FFFF)
        return 0
    if cmd in (F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW):
        return await special.record_lock(task, fd, cmd, arg)
    if cmd in (F_GETPIPE_SZ, F_SETPIPE_SZ):
        return special.pipe_size(task, file, cmd == F_SETPIPE_SZ, arg & 0xFFFF_FFFF)
    if cmd in (F_ADD_SEALS, F_GET_SEALS):
        contents = _sealable(file)
        if cmd == F_GET_SEALS:
            return contents.seals
        if not file.writable:
            raise EPERM
        with answered_by_host():
            contents.add_seals(arg & 0xFFFF_FFFF)
        return 0
    if cmd == F_DUPFD_QUERY:
        return int(task.fds.get_raw(arg & 0x7FFF_FFFF) is file)
    if cmd == F_CREATED_QUERY:
        return int(isinstance(file, RegularFile) and file.created)
    if cmd == F_GETLEASE:
        return F_UNLCK
    if cmd in (F_GETOWN, F_SETOWN, F_GETOWN_EX, F_SETOWN_EX, F_GETSIG, F_SETSIG):
        return await _signals(task, file, cmd, arg)
    raise EINVAL


def _set_flags(task: Task, fd: int, file: FileDescription, flags: int) -> None:
    if flags & O_NOATIME & ~file.flags and isinstance(file, RegularFile) and not owns(task.creds, file.inode):
        raise EPERM
    if (flags ^ file.flags) & O_ASYNC and file.tells:
        _set_async(fd, file, bool(flags & O_ASYNC))
    file.flags = file.flags & ~SETFL_FLAGS | flags & SETFL_FLAGS


def _set_async(fd: int, file: FileDescription, on: bool) -> None:
    if on:
        _notice(file).start(fd)
    elif file.notice is not None:
        file.notice.stop()
    file.flags = file.flags | O_ASYNC if on else file.flags & ~O_ASYNC


def _notice(file: FileDescription) -> Notice:
    if file.notice is None:
        file.notice = Notice(file)
    return file.notice


async def _signals(task: Task, file: FileDescription, cmd: int, arg: int) -> int:
    """Say, or change, who gets which signal when the file is ready (O_ASYNC)."""
    owner = NOBODY if file.notice is None else file.notice.owner
    (number,) = _INT.unpack(_U32.pack(arg & 0xFFFF_FFFF))
    if cmd == F_GETOWN:
        return -owner.pid if owner.kind == F_OWNER_PGRP else owner.pid
    if cmd == F_SETOWN:
        if number == -1 << 31:
            raise EINVAL
        _notice(file).own(task, F_OWNER_PID if number >= 0 else F_OWNER_PGRP, abs(number))
    elif cmd == F_GETOWN_EX:
        task.put(arg, _OWNER_EX.pack(owner.kind, owner.pid))
    elif cmd == F_SETOWN_EX:
        kind, pid = _OWNER_EX.unpack(await task.copy_in(arg, _OWNER_EX.size))
        if kind not in (F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP):
            raise EINVAL
        _notice(file).own(task, kind, pid)
    elif cmd == F_GETSIG:
        return 0 if file.notice is None else file.notice.signo
    else:
        if not 0 <= number <= NSIG:
            raise EINVAL
        _notice(file).signo = number
    return 0


def _sealable(file: FileDescription) -> Contents:
    if isinstance(file, RegularFile) and isinstance(file.inode, TmpfsFile):
        return file.inode.contents
    raise EINVAL


async def ioctl(task: Task, fd: Fd, request: U32, argument: U64) -> int:
    """ioctl(2): what holds for all files here, the rest is the file's."""
    with Using(task, fd) as file:
        return await _ioctl(task, fd, file, request, argument)


async def _ioctl(task: Task, fd: int, file: FileDescription, request: int, argument: int) -> int:
    if request in (FIOCLEX, FIONCLEX):
        task.fds.set_cloexec(fd, request == FIOCLEX)
        return 0
    if request == FIONBIO:
        (on,) = _INT.unpack(await task.copy_in(argument, 4))
        file.flags = file.flags | O_NONBLOCK if on else file.flags & ~O_NONBLOCK
        return 0
    if request == FIOASYNC:
        (on,) = _INT.unpack(await task.copy_in(argument, 4))
        if bool(on) is not bool(file.flags & O_ASYNC):
            if not file.tells:
                raise ENOTTY
            _set_async(fd, file, bool(on))
        return 0
    if isinstance(file, RegularFile):
        if request in (FICLONE, FICLONERANGE):
            raise EOPNOTSUPP
        if request == FIONREAD:
            left = await file.inode.size() - file.offset
            task.put(argument, _INT.pack(max(-(1 << 31), min(left, (1 << 31) - 1))))
            return 0
        if request == FIGETBSZ:
            task.put(argument, _INT.pack(4096))
            return 0
    return await file.ioctl(task, request, argument)
