"""mount(2), umount2(2), pivot_root(2): inside the guest's own mount namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.capability import CAP_SYS_ADMIN
from pysc.cabi.linux.errors import EBUSY, EINVAL, ELOOP, ENOTDIR, EPERM
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.mount import (
    MNT_DETACH,
    MNT_EXPIRE,
    MNT_FORCE,
    MS_BIND,
    MS_MGC_MSK,
    MS_MGC_VAL,
    MS_MOVE,
    MS_PROPAGATION,
    MS_REC,
    MS_REMOUNT,
    UMOUNT_NOFOLLOW,
)
from pysc.sentry.fs import mounting
from pysc.sentry.fs.path import Mount, MountNamespace, parent
from pysc.sentry.fs.path import Path as Place
from pysc.sentry.fs.walk import DIRECTORY, FOLLOW, resolve
from pysc.sentry.syscalls.table import U32, U64, Addr, Path

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

OPTIONS_MAX = 4096


def _check_privilege(task: Task) -> None:
    if not task.creds.has_capability(CAP_SYS_ADMIN):
        raise EPERM


async def _options(task: Task, address: int) -> bytes:
    if not address:
        return b""
    return await task.copy_in_string(address, OPTIONS_MAX)


async def mount(task: Task, source: Addr, target: Path, kind: Addr, flags: U64, data: Addr) -> None:
    """mount(2): types of :data:`pysc.sentry.fs.mounting.types`, bind, move, remount; propagation is always private."""
    if flags & MS_MGC_MSK == MS_MGC_VAL:
        flags &= ~MS_MGC_MSK
    type_name = await task.copy_in_string(kind, OPTIONS_MAX) if kind else b""
    name = await task.copy_in_string(source, OPTIONS_MAX) if source else b""
    options = mounting.parse_options(await _options(task, data)) if not flags & (MS_BIND | MS_MOVE) else {}
    place = await resolve(task, AT_FDCWD, target)
    _check_privilege(task)
    if flags & MS_REMOUNT:
        mounting.remount(place, flags, bind=bool(flags & MS_BIND))
    elif flags & MS_BIND:
        if not name:
            raise EINVAL
        what = await resolve(task, AT_FDCWD, name)
        mounting.bind_at(what, place, recursive=bool(flags & MS_REC))
    elif flags & MS_PROPAGATION:
        if place.dentry is not place.mount.root:
            raise EINVAL
    elif flags & MS_MOVE:
        await _move(task, name, place)
    else:
        if not type_name:
            raise EINVAL
        fs = mounting.make(task.kernel, type_name, name, options)
        mounting.mount_at(fs, place, flags, name or type_name)


async def _move(task: Task, source: bytes, place: Place) -> None:
    what = await resolve(task, AT_FDCWD, source)
    moved = what.mount
    if what.dentry is not moved.root or moved.parent is None:
        raise EINVAL
    if mounting.is_directory(what) != mounting.is_directory(place):
        raise ENOTDIR
    above: Mount | None = place.mount
    while above is not None:
        if above is moved:
            raise ELOOP
        above = above.parent
    mounting.namespace_of(place).move(moved, place)


def _is_busy(task: Task, wanted: Mount) -> bool:
    """Whether a process has its root, its directory or a file there."""
    for other in task.kernel.tasks.values():
        if wanted in (other.fs.root.mount, other.fs.cwd.mount):
            return True
        for fd in other.fds:
            path = other.fds.get_raw(fd).path
            if path is not None and path.mount is wanted:
                return True
    return False


async def umount2(task: Task, target: Path, flags: U32) -> None:
    """umount2(2)."""
    if flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW):
        raise EINVAL
    if flags & MNT_EXPIRE:
        raise EINVAL
    _check_privilege(task)
    place = await resolve(task, AT_FDCWD, target, 0 if flags & UMOUNT_NOFOLLOW else FOLLOW)
    if place.mount is task.fs.root.mount and place.dentry is task.fs.root.dentry and not flags & MNT_DETACH:
        raise EBUSY
    mounting.unmount(place, lazy=bool(flags & MNT_DETACH), busy=lambda wanted: _is_busy(task, wanted))


async def pivot_root(task: Task, new_root: Path, put_old: Path) -> None:
    """pivot_root(2): every task whose root or directory was the old root gets the new one."""
    _check_privilege(task)
    new = await resolve(task, AT_FDCWD, new_root, FOLLOW | DIRECTORY)
    old_place = await resolve(task, AT_FDCWD, put_old, FOLLOW | DIRECTORY)
    old = task.fs.root
    if new.mount is old.mount or old_place.mount is old.mount:
        raise EBUSY
    if new.dentry is not new.mount.root or old.dentry is not old.mount.root:
        raise EINVAL
    if new.mount.parent is None:
        raise EINVAL
    here = old_place
    while here.dentry is not new.dentry or here.mount is not new.mount:
        above = parent(here, old)
        if above == here:
            raise EINVAL("put_old is not below new_root")
        here = above
    namespace = mounting.namespace_of(new)
    _exchange_roots(namespace, old.mount, new.mount, old_place)
    for other in task.kernel.tasks.values():
        if other.fs.root == old:
            other.fs.root = new
        if other.fs.cwd == old:
            other.fs.cwd = new
    if task.fs.root == old:
        task.fs.root = new


def _exchange_roots(namespace: MountNamespace, old: Mount, new: Mount, place: Place) -> None:
    """Put ``new`` where ``old`` is, and ``old`` at ``place``, which is inside of ``new``."""
    assert new.parent is not None
    assert new.point is not None
    del new.parent.children[new.point]
    new.point.uncover()
    outer, point = old.parent, old.point
    new.parent, new.point = outer, point
    if outer is not None and point is not None:
        outer.children[point] = new
    else:
        namespace.root = new
    old.parent, old.point = place.mount, place.dentry
    place.mount.children[place.dentry] = old
    place.dentry.cover()
    namespace.change()
