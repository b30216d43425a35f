"""Opening files (open(2), openat2(2), fs/namei.c and fs/open.c of Linux)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import (
    EACCES,
    EEXIST,
    EINVAL,
    EISDIR,
    ELOOP,
    ENOENT,
    ENOTDIR,
    ENXIO,
    EPERM,
    EROFS,
    ETXTBSY,
)
from pysc.cabi.linux.fcntl import (
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_LARGEFILE,
    O_NOATIME,
    O_NOCTTY,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    O_TMPFILE,
    O_TMPFILE_BIT,
    O_TRUNC,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
)
from pysc.cabi.linux.mount import MS_NODEV, MS_NOEXEC, MS_NOSYMFOLLOW
from pysc.cabi.linux.stat import (
    PERMISSIONS,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_ISGID,
    S_ISUID,
    major,
    minor,
)
from pysc.sentry.fs import notify, special
from pysc.sentry.fs.dcache import stand
from pysc.sentry.fs.directory import DirectoryFile
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Changes, Inode, clock
from pysc.sentry.fs.path import Dentry, Path, top
from pysc.sentry.fs.permissions import MAY_EXEC, MAY_READ, MAY_WRITE, check, clears_suid, new_owner, owns, without_suid
from pysc.sentry.fs.regular import PathFile, RegularFile
from pysc.sentry.fs.walk import DIRECTORY, FOLLOW, LINKS_MAX, look_up_locked, resolve, start_of, walk

if TYPE_CHECKING:
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.task import Task

CREATE_TRIES: Final = 40
"""How often a name may come and go, by others' doing, while it is opened."""
_NOT_KEPT = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC
_WANTED = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)


async def open_at(task: Task, dirfd: int, path: bytes, flags: int, mode: int, how: int = 0) -> FileDescription:
    """Return a new description; the caller installs it.  ``how`` are RESOLVE_*."""
    if flags & O_PATH:
        flags &= O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC
    elif flags & O_TMPFILE_BIT:
        if flags & O_TMPFILE != O_TMPFILE or flags & O_ACCMODE == O_RDONLY or flags & O_CREAT:
            raise EINVAL
        return await _open_unnamed(task, dirfd, path, flags, mode, how)
    elif flags & O_CREAT:
        return await _open_or_create(task, dirfd, path, flags, mode, how)
    wanted = (0 if flags & O_NOFOLLOW else FOLLOW) | (DIRECTORY if flags & O_DIRECTORY else 0)
    place = await resolve(task, dirfd, path, wanted, how)
    if flags & O_PATH:
        return PathFile(place.dentry.inode, flags & ~O_CLOEXEC, place)
    return await open_place(task, place, flags)


async def _open_or_create(task: Task, dirfd: int, path: bytes, flags: int, mode: int, how: int) -> FileDescription:
    if not path:
        raise ENOENT
    start = start_of(task, dirfd, path, how)
    if flags & O_DIRECTORY:
        raise EINVAL
    links = 0
    tries = CREATE_TRIES
    while True:
        last = await walk(task, start, path, 0, how, links, to_parent=True)
        if not last.ordinary:
            raise EEXIST if flags & O_EXCL else EISDIR
        if last.slash:
            raise EISDIR
        directory = last.dentry
        async with directory.inode.mutex:
            try:
                child = await look_up_locked(directory, last.name)
            except ENOENT:
                try:
                    return await _create(task, Path(last.mount, directory), last.name, flags, mode)
                except EEXIST:  # made by others meanwhile, where others may
                    tries -= 1
                    if flags & O_EXCL or not directory.inode.fs.revalidates or not tries:
                        raise
                    continue
        if flags & O_EXCL:
            raise EEXIST
        place = top(Path(last.mount, child))
        link = place.dentry.inode
        if link.mode & S_IFMT != S_IFLNK:
            return await open_place(task, place, flags)
        links += 1
        if flags & O_NOFOLLOW or how & RESOLVE_NO_SYMLINKS or links > LINKS_MAX or place.mount.flags & MS_NOSYMFOLLOW:
            raise ELOOP
        magic = await link.follow(task)
        if magic is not None:
            if how & RESOLVE_NO_MAGICLINKS:
                raise ELOOP
            return await open_place(task, magic, flags)
        path = await link.readlink(task)
        if not path:
            raise ENOENT
        start = Path(last.mount, directory)


async def _create(task: Task, parent: Path, name: bytes, flags: int, mode: int) -> FileDescription:
    if parent.mount.readonly:
        raise EROFS
    directory = parent.dentry
    if directory.deleted:
        raise ENOENT
    check(task.creds, directory.inode, MAY_WRITE | MAY_EXEC)
    owner, mode = new_owner(task.creds, directory.inode, S_IFREG | mode & PERMISSIONS, task.fs.umask)
    with directory.changing(name):
        inode = await directory.inode.create(name, mode & PERMISSIONS, owner)
    dentry = directory.add(name, inode)
    notify.created(directory, dentry)
    file = await open_inode(task, Path(parent.mount, dentry), flags & ~O_TRUNC)
    if isinstance(file, RegularFile):
        file.created = True
    return file


async def _open_unnamed(task: Task, dirfd: int, path: bytes, flags: int, mode: int, how: int) -> FileDescription:
    place = await resolve(task, dirfd, path, FOLLOW | DIRECTORY, how)
    if place.mount.readonly:
        raise EROFS
    directory = place.dentry.inode
    check(task.creds, directory, MAY_WRITE | MAY_EXEC)
    owner, mode = new_owner(task.creds, directory, S_IFREG | mode & PERMISSIONS, task.fs.umask)
    inode = await directory.tmpfile(mode & PERMISSIONS, owner)
    dentry = Dentry(b"#%d" % inode.ino, place.dentry, inode)
    dentry.deleted = True
    return await open_inode(task, Path(place.mount, dentry), flags & ~O_TMPFILE)


async def open_place(task: Task, place: Path, flags: int) -> FileDescription:
    """Open what is at ``place``, which the caller has resolved: permissions, types, O_TRUNC."""
    inode = place.dentry.inode
    kind = inode.mode & S_IFMT
    wanted = _WANTED[flags & O_ACCMODE] | (MAY_WRITE if flags & O_TRUNC else 0)
    if kind == S_IFLNK:
        raise ELOOP
    if kind == S_IFDIR:
        if wanted & MAY_WRITE or flags & O_CREAT:
            raise EISDIR
    elif flags & O_DIRECTORY:
        raise ENOTDIR
    elif kind in (S_IFCHR, S_IFBLK) and place.mount.flags & MS_NODEV:
        raise EACCES
    if wanted & MAY_WRITE and kind == S_IFREG and place.mount.readonly:
        raise EROFS
    check(task.creds, inode, wanted)
    if flags & O_NOATIME and not owns(task.creds, inode):
        raise EPERM
    if flags & O_TRUNC and kind == S_IFREG:
        await truncate(task.creds, inode, 0)
        notify.announce(place.dentry, notify.IN_MODIFY)
    return await open_inode(task, place, flags)


async def open_inode(task: Task, place: Path, flags: int) -> FileDescription:
    """Make the description, whatever permissions say."""
    inode = place.dentry.inode
    flags = flags & ~_NOT_KEPT | O_LARGEFILE
    file = await inode.open(task, place, flags)
    if file is None:
        file = await _open_by_type(task, inode, place, flags)
    notify.announce(place.dentry, notify.IN_OPEN)
    return file


async def _open_by_type(task: Task, inode: Inode, place: Path, flags: int) -> FileDescription:
    kind = inode.mode & S_IFMT
    if kind == S_IFREG:
        write = flags & O_ACCMODE != O_RDONLY
        if write and inode.writecount < 0:
            raise ETXTBSY
        await inode.open_data(write)
        file = RegularFile(inode, flags, place)
        if write:
            file.claim(1)
        return file
    if kind == S_IFDIR:
        directory = DirectoryFile(place, flags, task.fs.root)
        stand(directory)
        return directory
    if kind == S_IFIFO:
        return await special.open_fifo(task, inode, place, flags)
    if kind == S_IFCHR:
        number = (await inode.attributes()).rdev
        opener = special.devices.get((major(number), minor(number)))
        if opener is not None:
            return await opener(task, place, flags)
    raise ENXIO


async def truncate(creds: Credentials, inode: Inode, size: int) -> None:
    """Set the size of a regular file, and what goes with that.  ETXTBSY: it is being executed."""
    if inode.writecount < 0:
        raise ETXTBSY
    mode = None
    if inode.mode & (S_ISUID | S_ISGID) and clears_suid(creds, inode):
        mode = without_suid(inode.mode) & PERMISSIONS
    await inode.set_attributes(Changes(size=size, mode=mode, mtime=clock()))


async def open_exec(task: Task, dirfd: int, path: bytes, flags: int = FOLLOW) -> FileDescription:
    """Open a program for execve(2), which nobody can write to while the description lives.

    EACCES: not regular, not executable, on a noexec mount; ELOOP: a link, not followed; ETXTBSY: open for writing.
    """
    place = await resolve(task, dirfd, path, flags)
    inode = place.dentry.inode
    kind = inode.mode & S_IFMT
    if kind == S_IFLNK:
        raise ELOOP
    if kind != S_IFREG or place.mount.flags & MS_NOEXEC:
        raise EACCES
    check(task.creds, inode, MAY_EXEC)
    if inode.writecount > 0:
        raise ETXTBSY
    file = await open_inode(task, place, O_RDONLY)
    if isinstance(file, RegularFile):
        file.claim(-1)
    return file
