"""execve(2), execveat(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EINVAL, ENOENT
from pysc.cabi.linux.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW
from pysc.sentry.fs.open import open_exec
from pysc.sentry.fs.walk import EMPTY, FOLLOW
from pysc.sentry.kernel.exec import execute
from pysc.sentry.syscalls.table import NO_REPLY, U32, Addr, Fd, NoReply, Path

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

ARGUMENTS_MAX: Final = 6 << 20
"""Strings of one array; load.py has the exact rule for both together."""


async def execve(task: Task, path: Path, argv: Addr, envp: Addr) -> NoReply:
    """Execute a program.  ENOENT, EACCES, ENOEXEC, E2BIG, ELOOP, ENOMEM, EFAULT …"""
    return await _execute(task, AT_FDCWD, path, argv, envp, 0)


async def execveat(task: Task, dirfd: Fd, path: Path, argv: Addr, envp: Addr, flags: U32) -> NoReply:
    """Execute a program relative to a directory, or the one that a descriptor refers to."""
    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        raise EINVAL
    return await _execute(task, dirfd, path, argv, envp, flags)


async def _execute(task: Task, dirfd: int, path: bytes, argv: int, envp: int, flags: int) -> NoReply:
    if not path and not flags & AT_EMPTY_PATH:
        raise ENOENT
    how = (0 if flags & AT_SYMLINK_NOFOLLOW else FOLLOW) | (EMPTY if flags & AT_EMPTY_PATH else 0)
    file = await open_exec(task, dirfd, path, how)
    file.get()
    try:
        arguments = await task.copy_in_strings(argv, ARGUMENTS_MAX) if argv else []
        environment = await task.copy_in_strings(envp, ARGUMENTS_MAX) if envp else []
        lasting = dirfd == AT_FDCWD or path.startswith(b"/") or not task.fds.cloexec(dirfd)
        await execute(task, file, _name(dirfd, path), arguments, environment, lasting=lasting)
    finally:
        file.put()
    return NO_REPLY


def _name(dirfd: int, path: bytes) -> bytes:
    """Return what a script is told that its own path is."""
    if dirfd == AT_FDCWD or path.startswith(b"/"):
        return path
    return b"/dev/fd/%d/%s" % (dirfd, path) if path else b"/dev/fd/%d" % dirfd
