"""Names: link(2), unlink(2), rename(2), symlink(2), mknod(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import EINVAL
from pysc.cabi.linux.fcntl import AT_FDCWD, AT_REMOVEDIR
from pysc.sentry.fs import namei
from pysc.sentry.syscalls.table import U32, Fd, Path

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task


async def link(task: Task, old: Path, new: Path) -> None:
    """link(2)."""
    await namei.make_link(task, AT_FDCWD, old, AT_FDCWD, new, 0)


async def linkat(task: Task, old_dirfd: Fd, old: Path, new_dirfd: Fd, new: Path, flags: U32) -> None:
    """linkat(2)."""
    await namei.make_link(task, old_dirfd, old, new_dirfd, new, flags)


async def unlink(task: Task, path: Path) -> None:
    """unlink(2)."""
    await namei.remove_file(task, AT_FDCWD, path)


async def unlinkat(task: Task, dirfd: Fd, path: Path, flags: U32) -> None:
    """unlinkat(2)."""
    if flags & ~AT_REMOVEDIR:
        raise EINVAL
    await (namei.remove_directory if flags else namei.remove_file)(task, dirfd, path)


async def rename(task: Task, old: Path, new: Path) -> None:
    """rename(2)."""
    await namei.rename(task, AT_FDCWD, old, AT_FDCWD, new, 0)


async def renameat(task: Task, old_dirfd: Fd, old: Path, new_dirfd: Fd, new: Path) -> None:
    """renameat(2)."""
    await namei.rename(task, old_dirfd, old, new_dirfd, new, 0)


async def renameat2(task: Task, old_dirfd: Fd, old: Path, new_dirfd: Fd, new: Path, flags: U32) -> None:
    """renameat2(2)."""
    await namei.rename(task, old_dirfd, old, new_dirfd, new, flags)


async def symlink(task: Task, target: Path, path: Path) -> None:
    """symlink(2)."""
    await namei.make_symlink(task, target, AT_FDCWD, path)


async def symlinkat(task: Task, target: Path, dirfd: Fd, path: Path) -> None:
    """symlinkat(2)."""
    await namei.make_symlink(task, target, dirfd, path)


async def mknod(task: Task, path: Path, mode: U32, device: U32) -> None:
    """mknod(2)."""
    await namei.make_node(task, AT_FDCWD, path, mode & 0o177777, device)


async def mknodat(task: Task, dirfd: Fd, path: Path, mode: U32, device: U32) -> None:
    """mknodat(2)."""
    await namei.make_node(task, dirfd, path, mode & 0o177777, device)
