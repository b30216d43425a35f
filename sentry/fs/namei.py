"""Making, removing and renaming names (fs/namei.c of Linux): permissions, mounts, and the order of errors.

Lock order: the rename mutex, then the mutexes of directories, an ancestor first, else by inode number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.capability import CAP_DAC_READ_SEARCH, CAP_MKNOD
from pysc.cabi.linux.errors import (
    EACCES,
    EBUSY,
    EEXIST,
    EINVAL,
    EISDIR,
    ENAMETOOLONG,
    ENOENT,
    ENOTDIR,
    ENOTEMPTY,
    EPERM,
    EROFS,
    EXDEV,
)
from pysc.cabi.linux.fcntl import (
    AT_EMPTY_PATH,
    AT_SYMLINK_FOLLOW,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
)
from pysc.cabi.linux.limits import NAME_MAX
from pysc.cabi.linux.stat import (
    PERMISSIONS,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    S_ISGID,
    S_ISUID,
    S_ISVTX,
    S_IXGRP,
)
from pysc.sentry.fs import notify
from pysc.sentry.fs.inode import Inode
from pysc.sentry.fs.path import Dentry, Path, unmount_everywhere
from pysc.sentry.fs.permissions import MAY_EXEC, MAY_READ, MAY_WRITE, check, check_removal, new_owner, owns
from pysc.sentry.fs.walk import EMPTY, FOLLOW, Last, look_up_locked, resolve, resolve_parent

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task


def is_directory(inode: Inode) -> bool:
    """Whether the inode is a directory."""
    return inode.mode & S_IFMT == S_IFDIR


async def _exists(directory: Dentry, name: bytes) -> Dentry | None:
    try:
        return await look_up_locked(directory, name)
    except ENOENT:
        return None


async def _check_new(task: Task, last: Last, *, directory: bool = False) -> None:
    """Whether ``last`` can be made, by who holds the directory's mutex; the errors in Linux's order."""
    if await _exists(last.dentry, last.name) is not None:
        raise EEXIST
    if last.slash and not directory:
        raise ENOENT
    if last.mount.readonly:
        raise EROFS
    if last.dentry.deleted:
        raise ENOENT
    check(task.creds, last.dentry.inode, MAY_WRITE | MAY_EXEC)


async def make_directory(task: Task, dirfd: int, path: bytes, mode: int) -> Path:
    """mkdirat(2)."""
    last = await resolve_parent(task, dirfd, path)
    if not last.ordinary:
        raise EEXIST
    parent = last.dentry.inode
    async with parent.mutex:
        await _check_new(task, last, directory=True)
        owner, mode = new_owner(task.creds, parent, S_IFDIR | mode & (0o777 | S_ISVTX), task.fs.umask)
        with last.dentry.changing(last.name):
            inode = await parent.mkdir(last.name, mode & PERMISSIONS, owner)
        dentry = last.dentry.add(last.name, inode)
    notify.created(last.dentry, dentry)
    return Path(last.mount, dentry)


async def check_node(task: Task, dirfd: int, path: bytes) -> None:
    """Fail as :func:`make_node` does where nothing can be made."""
    last = await resolve_parent(task, dirfd, path)
    if not last.ordinary:
        raise EEXIST
    async with last.dentry.inode.mutex:
        await _check_new(task, last)


async def make_node(task: Task, dirfd: int, path: bytes, mode: int, rdev: int) -> Path:
    """mknodat(2), and what bind(2) of a socket makes."""
    kind = mode & S_IFMT or S_IFREG
    last = await resolve_parent(task, dirfd, path)
    if not last.ordinary:
        raise EEXIST
    parent = last.dentry.inode
    async with parent.mutex:
        await _check_new(task, last)
        if kind in (S_IFCHR, S_IFBLK) and not task.creds.has_capability(CAP_MKNOD):
            raise EPERM
        if kind not in (S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK):
            raise EPERM if kind == S_IFDIR else EINVAL
        owner, mode = new_owner(task.creds, parent, kind | mode & PERMISSIONS, task.fs.umask)
        with last.dentry.changing(last.name):
            if kind == S_IFREG:
                inode = await parent.create(last.name, mode & PERMISSIONS, owner)
            else:
                inode = await parent.mknod(last.name, mode, rdev if kind in (S_IFCHR, S_IFBLK) else 0, owner)
        dentry = last.dentry.add(last.name, inode)
    notify.created(last.dentry, dentry)
    return Path(last.mount, dentry)


async def make_symlink(task: Task, target: bytes, dirfd: int, path: bytes) -> Path:
    """symlinkat(2)."""
    if not target:
        raise ENOENT
    last = await resolve_parent(task, dirfd, path)
    if not last.ordinary:
        raise EEXIST
    parent = last.dentry.inode
    async with parent.mutex:
        await _check_new(task, last)
        owner, _mode = new_owner(task.creds, parent, 0o777, 0)
        with last.dentry.changing(last.name):
            inode = await parent.symlink(last.name, target, owner)
        dentry = last.dentry.add(last.name, inode)
    notify.created(last.dentry, dentry)
    return Path(last.mount, dentry)


def _check_linked(task: Task, inode: Inode) -> None:
    """Refuse links to what others own and the linker could not write: fs.protected_hardlinks is 1, always.  EPERM."""
    privileged = inode.mode & S_ISUID or inode.mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP
    if owns(task.creds, inode):
        return
    if privileged or inode.mode & S_IFMT != S_IFREG:
        raise EPERM
    try:
        check(task.creds, inode, MAY_READ | MAY_WRITE)
    except EACCES:
        raise EPERM from None


async def make_link(task: Task, old_dirfd: int, old: bytes, new_dirfd: int, new: bytes, flags: int) -> None:
    """linkat(2)."""
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise EINVAL
    follow = FOLLOW if flags & AT_SYMLINK_FOLLOW else 0
    if not old and flags & AT_EMPTY_PATH and not task.creds.has_capability(CAP_DAC_READ_SEARCH):
        raise ENOENT
    source = await resolve(task, old_dirfd, old, follow | (EMPTY if flags & AT_EMPTY_PATH else 0))
    last = await resolve_parent(task, new_dirfd, new)
    if not last.ordinary:
        raise EEXIST
    parent, inode = last.dentry.inode, source.dentry.inode
    async with parent.mutex:
        if await _exists(last.dentry, last.name) is not None:
            raise EEXIST
        if last.slash:
            raise ENOENT
        if source.mount is not last.mount:
            raise EXDEV
        if last.mount.readonly:
            raise EROFS
        _check_linked(task, inode)
        await _check_new(task, last)
        if inode.fs is not parent.fs:
            raise EXDEV
        if is_directory(inode):
            raise EPERM
        with last.dentry.changing(last.name):
            dentry = last.dentry.add(last.name, await parent.link(last.name, inode))
    notify.linked(last.dentry, dentry)


async def remove_file(task: Task, dirfd: int, path: bytes) -> None:
    """unlinkat(2) without AT_REMOVEDIR."""
    last = await resolve_parent(task, dirfd, path)
    if not last.ordinary:
        raise EISDIR
    await remove_last(task, last)


async def remove_last(task: Task, last: Last) -> None:
    """Remove the file at the end of a path, which has an ordinary name."""
    parent = last.dentry.inode
    async with parent.mutex:
        victim = await look_up_locked(last.dentry, last.name)
        if last.slash:
            raise EISDIR if is_directory(victim.inode) else ENOTDIR
        if last.mount.readonly:
            raise EROFS
        check_removal(task.creds, parent, victim.inode)
        if is_directory(victim.inode):
            raise EISDIR
        if task.fs.namespace.covers(victim):
            raise EBUSY
        with last.dentry.changing(last.name):
            await parent.unlink(last.name, victim.inode)
        victim.detach()
        unmount_everywhere(victim)
    await notify.removed(last.dentry, victim)


async def remove_directory(task: Task, dirfd: int, path: bytes) -> None:
    """rmdir(2)."""
    last = await resolve_parent(task, dirfd, path)
    if last.name == b"..":
        raise ENOTEMPTY
    if last.name == b".":
        raise EINVAL
    if not last.name:
        raise EBUSY
    parent = last.dentry.inode
    async with parent.mutex:
        victim = await look_up_locked(last.dentry, last.name)
        if last.mount.readonly:
            raise EROFS
        check_removal(task.creds, parent, victim.inode)
        if not is_directory(victim.inode):
            raise ENOTDIR
        if task.fs.namespace.covers(victim):
            raise EBUSY
        async with victim.inode.mutex:
            with last.dentry.changing(last.name):
                await parent.rmdir(last.name, victim.inode)
            victim.detach()
            unmount_everywhere(victim)
    await notify.removed(last.dentry, victim)


async def rename(task: Task, old_dirfd: int, old: bytes, new_dirfd: int, new: bytes, flags: int) -> None:
    """renameat2(2)."""
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
        raise EINVAL("RENAME_WHITEOUT" if flags & RENAME_WHITEOUT else f"unknown flags {flags:#x}")
    source = await resolve_parent(task, old_dirfd, old)
    target = await resolve_parent(task, new_dirfd, new)
    if source.mount is not target.mount:
        raise EXDEV
    if not source.ordinary:
        raise EBUSY
    if not target.ordinary:
        raise EEXIST if flags & RENAME_NOREPLACE else EBUSY
    if len(source.name) > NAME_MAX or len(target.name) > NAME_MAX:
        raise ENAMETOOLONG
    if source.mount.readonly:
        raise EROFS
    if source.dentry is target.dentry:
        async with source.dentry.inode.mutex:
            await _rename_locked(task, source, target, flags)
        return
    first, second = source.dentry, target.dentry
    async with source.mount.fs.rename_mutex:
        if first.below(second) or (not second.below(first) and second.inode.ino < first.inode.ino):
            first, second = second, first
        async with first.inode.mutex, second.inode.mutex:
            await _rename_locked(task, source, target, flags)


async def _rename_locked(task: Task, source: Last, target: Last, flags: int) -> None:
    old_parent, new_parent = source.dentry.inode, target.dentry.inode
    moved = await look_up_locked(source.dentry, source.name)
    there = await _exists(target.dentry, target.name)
    if flags & RENAME_NOREPLACE and there is not None:
        raise EEXIST
    if flags & RENAME_EXCHANGE:
        if there is None:
            raise ENOENT
        if not is_directory(there.inode) and target.slash:
            raise ENOTDIR
    if not is_directory(moved.inode) and (source.slash or (target.slash and not flags & RENAME_EXCHANGE)):
        raise ENOTDIR
    if target.dentry.below(moved):
        raise EINVAL
    if there is not None and source.dentry.below(there):
        raise EINVAL if flags & RENAME_EXCHANGE else ENOTEMPTY
    if there is not None and there.inode is moved.inode:
        return
    _check_rename(task, source, target, moved, there, flags)
    if flags & RENAME_EXCHANGE:
        assert there is not None
        with source.dentry.changing(source.name), target.dentry.changing(target.name):
            await old_parent.exchange(source.name, moved.inode, new_parent, target.name, there.inode)
        moved.detach()
        moved.deleted = False
        there.move(source.dentry, source.name)
        moved.move(target.dentry, target.name)
        await notify.moved(source.dentry, source.name, target.dentry, moved, None)
        await notify.moved(target.dentry, target.name, source.dentry, there, None)
    else:
        with source.dentry.changing(source.name), target.dentry.changing(target.name):
            await old_parent.rename(
                source.name,
                moved.inode,
                new_parent,
                target.name,
                there.inode if there else None,
                replaces=not flags & RENAME_NOREPLACE,
            )
        if there is not None:
            there.detach()
            unmount_everywhere(there)
        moved.move(target.dentry, target.name)
        await notify.moved(source.dentry, source.name, target.dentry, moved, there)


def _check_rename(task: Task, source: Last, target: Last, moved: Dentry, there: Dentry | None, flags: int) -> None:
    creds = task.creds
    old_parent, new_parent = source.dentry.inode, target.dentry.inode
    moves_directory = is_directory(moved.inode)
    check_removal(creds, old_parent, moved.inode)
    if there is None:
        if target.dentry.deleted:
            raise ENOENT
        check(creds, new_parent, MAY_WRITE | MAY_EXEC)
    else:
        check_removal(creds, new_parent, there.inode)
        if not flags & RENAME_EXCHANGE:
            if moves_directory and not is_directory(there.inode):
                raise ENOTDIR
            if not moves_directory and is_directory(there.inode):
                raise EISDIR
    if old_parent is not new_parent:
        if moves_directory:
            check(creds, moved.inode, MAY_WRITE)
        if flags & RENAME_EXCHANGE and there is not None and is_directory(there.inode):
            check(creds, there.inode, MAY_WRITE)
    covers = task.fs.namespace.covers
    if covers(moved) or (there is not None and covers(there)):
        raise EBUSY
    if old_parent.fs is not new_parent.fs:
        raise EXDEV
