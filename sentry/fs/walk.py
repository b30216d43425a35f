"""Path walking (path_resolution(7), openat2(2)): from a string to a place.

What is cached is walked without waiting.  A walk holds no lock between names; a name that is not cached is looked up
under its directory's mutex, so that it cannot cross a change of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pysc.cabi.linux.errors import EACCES, EAGAIN, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV
from pysc.cabi.linux.fcntl import (
    AT_FDCWD,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from pysc.cabi.linux.limits import NAME_MAX
from pysc.cabi.linux.mount import MS_NOSYMFOLLOW
from pysc.cabi.linux.stat import S_IFDIR, S_IFLNK, S_IFMT
from pysc.sentry.fs.dcache import note_crossing, show
from pysc.sentry.fs.path import Dentry, Mount, Path, parent, top
from pysc.sentry.fs.permissions import MAY_EXEC, permitted

if TYPE_CHECKING:
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.task import Task

LINKS_MAX: Final = 40

FOLLOW: Final = 1
"""Follow a symbolic link in the last place."""
DIRECTORY: Final = 2
"""ENOTDIR if it is none."""
EMPTY: Final = 4
"""An empty path means the descriptor itself (AT_EMPTY_PATH)."""

_SEARCHABLE: Final = S_IFDIR | 0o111
_SEARCH_BITS: Final = S_IFMT | 0o111


class Last(NamedTuple):
    """Where a path ends: the directory, and the last name, which need not exist.

    The name is b"" for the root itself, and may be ``.`` or ``..``.
    """

    mount: Mount
    dentry: Dentry
    name: bytes
    slash: bool
    """Whether slashes followed the name: only a directory will do."""

    @property
    def ordinary(self) -> bool:
        """Whether the name is a name."""
        return self.name not in (b"", b".", b"..")


def start_of(task: Task, dirfd: int, path: bytes, how: int = 0) -> Path:
    """Return where a path starts.  EBADF, ENOTDIR, for a relative one only, or where the descriptor is the root."""
    if path[:1] == b"/" and not how & RESOLVE_IN_ROOT:
        return task.fs.root
    if dirfd == AT_FDCWD:
        return task.fs.cwd
    place = task.fds.get_raw(dirfd).path
    if place is None or (path and place.dentry.inode.mode & S_IFMT != S_IFDIR):
        raise ENOTDIR
    return place


async def resolve(
    task: Task, dirfd: int, path: bytes, flags: int = FOLLOW, how: int = 0, creds: Credentials | None = None
) -> Path:
    """Return what ``path`` names.  ``how`` are RESOLVE_*; ``creds`` search directories, the task's if None.

    Raises:
        ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, EBADF; EXDEV, EAGAIN by RESOLVE_*.
    """
    if not path:
        if not flags & EMPTY:
            raise ENOENT
        return start_of(task, dirfd, path)
    last = await walk(task, start_of(task, dirfd, path, how), path, flags, how, creds=creds)
    return Path(last.mount, last.dentry)


async def resolve_parent(task: Task, dirfd: int, path: bytes, how: int = 0) -> Last:
    """Return the directory of ``path``'s last name, searchable, and that name."""
    if not path:
        raise ENOENT
    return await walk(task, start_of(task, dirfd, path, how), path, 0, how, to_parent=True)


async def walk(
    task: Task,
    start: Path,
    path: bytes,
    flags: int,
    how: int = 0,
    links: int = 0,
    *,
    to_parent: bool = False,
    creds: Credentials | None = None,
) -> Last:
    """Walk from ``start``, or the root if ``path`` is absolute; ``links`` were followed before."""
    creds = creds or task.creds
    root = task.fs.root
    if how:
        if how & RESOLVE_IN_ROOT:
            root = start
        elif how & RESOLVE_BENEATH and path[:1] == b"/":
            raise EXDEV
    mount, dentry = root if path[:1] == b"/" else start
    pending = [name for name in path.split(b"/") if name]
    pending.reverse()
    slash = path[-1:] == b"/"
    while pending:
        name = pending.pop()
        inode = dentry.inode
        if inode.mode & _SEARCH_BITS != _SEARCHABLE:
            if inode.mode & S_IFMT != S_IFDIR:
                raise ENOTDIR
            if not permitted(creds, inode, MAY_EXEC):
                raise EACCES
        if to_parent and not pending:
            return Last(mount, dentry, name, slash)
        if name == b".":
            continue
        if name == b"..":
            here = Path(mount, dentry)
            if how & RESOLVE_BENEATH and here == start:
                raise EXDEV
            mount, dentry = parent(here, root)
            if how & RESOLVE_NO_XDEV and mount is not here.mount:
                raise EXDEV
            continue
        child = dentry.children.get(name)
        if child is None or inode.fs.revalidates:
            if how & RESOLVE_CACHED:
                raise EAGAIN
            child = await look_up(dentry, name)
        below = mount
        if child.index < 0 <= dentry.index and child.inode.cacheable:
            show(dentry, child)
        if child.mounts:
            point = child
            below, child = top(Path(mount, child))
            note_crossing(mount, point, below, child)
            if how & RESOLVE_NO_XDEV and below is not mount:
                raise EXDEV
        link = child.inode
        if link.mode & S_IFMT == S_IFLNK and (pending or slash or flags & FOLLOW):
            links += 1
            if links > LINKS_MAX or how & RESOLVE_NO_SYMLINKS or mount.flags & MS_NOSYMFOLLOW:
                raise ELOOP
            place = await link.follow(task)
            if place is not None:
                if how & RESOLVE_NO_MAGICLINKS:
                    raise ELOOP
                if how & (RESOLVE_BENEATH | RESOLVE_IN_ROOT):
                    raise EXDEV
                mount, dentry = place
                continue
            text = await link.readlink(task)
            if not text:
                raise ENOENT
            if text[:1] == b"/":
                if how & RESOLVE_BENEATH:
                    raise EXDEV
                mount, dentry = root
            if not pending and text[-1:] == b"/":
                slash = True
            pending.extend(name for name in reversed(text.split(b"/")) if name)
            continue
        mount, dentry = below, child
    if (slash or flags & DIRECTORY) and dentry.inode.mode & S_IFMT != S_IFDIR and not to_parent:
        raise ENOTDIR
    return Last(mount, dentry, b"", slash)


async def look_up(directory: Dentry, name: bytes) -> Dentry:
    """Return the child ``name`` of a directory, from its file system if need be.  ENOENT, ENAMETOOLONG."""
    if len(name) > NAME_MAX:
        raise ENAMETOOLONG
    if directory.absent is not None and name in directory.absent:
        raise ENOENT
    async with directory.inode.mutex:
        try:
            return await look_up_locked(directory, name)
        except ENOENT:
            if directory.inode.fs.remembers_absent:
                directory.remember_absent(name)
            raise


async def look_up_locked(directory: Dentry, name: bytes) -> Dentry:
    """Do as :func:`look_up` does, for who holds the directory's mutex, and may make what does not exist yet."""
    if len(name) > NAME_MAX:
        raise ENAMETOOLONG
    parent_inode = directory.inode
    child = directory.children.get(name)
    if child is not None:
        if not parent_inode.fs.revalidates or await child.inode.revalidate(parent_inode, name):
            return child
        directory.forget(name)
    elif name in (directory.absent or ()) or (directory.deleted and directory.parent is not directory):
        raise ENOENT
    return directory.add(name, await parent_inode.lookup(name))
