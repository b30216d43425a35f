"""stat(2), statx(2), access(2), readlink(2), statfs(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pysc.cabi.linux.clock import SECOND
from pysc.cabi.linux.errors import EACCES, EFAULT, EINVAL, ENOENT, EROFS
from pysc.cabi.linux.fcntl import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
)
from pysc.cabi.linux.mount import (
    ANON_INODE_FS_MAGIC,
    MS_NOEXEC,
    MS_NOSYMFOLLOW,
    MS_PER_MOUNT,
    MS_RELATIME,
    ST_NOSYMFOLLOW,
    ST_RDONLY,
    ST_RELATIME,
    ST_VALID,
)
from pysc.cabi.linux.stat import (
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    STAT,
    STATFS,
    STATX,
    STATX__RESERVED,
    STATX_ATTR_MOUNT_ROOT,
    STATX_BASIC_STATS,
    STATX_BTIME,
    STATX_MNT_ID,
    W_OK,
    X_OK,
    major,
    minor,
)
from pysc.sentry.fs.inode import Attributes
from pysc.sentry.fs.path import Mount
from pysc.sentry.fs.path import Path as Place
from pysc.sentry.fs.permissions import check
from pysc.sentry.fs.walk import EMPTY, FOLLOW, resolve
from pysc.sentry.syscalls.table import I32, U32, Addr, Fd, Path, PathOrNull

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.task import Task

_SPECIAL: Final = (S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK)


def pack_stat(a: Attributes) -> bytes:
    """Return struct stat."""
    return STAT.pack(
        a.dev,
        a.ino,
        a.nlink,
        a.mode,
        a.uid,
        a.gid,
        a.rdev,
        a.size,
        a.blksize,
        a.blocks,
        a.atime // SECOND,
        a.atime % SECOND,
        a.mtime // SECOND,
        a.mtime % SECOND,
        a.ctime // SECOND,
        a.ctime % SECOND,
    )


def pack_statx(a: Attributes, mount: Mount | None, root: bool) -> bytes:
    """Return struct statx; ``root`` is whether it is the root of its mount."""
    mask = STATX_BASIC_STATS | STATX_MNT_ID | (STATX_BTIME if a.btime else 0)
    return STATX.pack(
        mask,
        a.blksize,
        STATX_ATTR_MOUNT_ROOT if root else 0,
        a.nlink,
        a.uid,
        a.gid,
        a.mode,
        a.ino,
        a.size,
        a.blocks,
        STATX_ATTR_MOUNT_ROOT,
        a.atime // SECOND,
        a.atime % SECOND,
        a.btime // SECOND,
        a.btime % SECOND,
        a.ctime // SECOND,
        a.ctime % SECOND,
        a.mtime // SECOND,
        a.mtime % SECOND,
        major(a.rdev),
        minor(a.rdev),
        major(a.dev),
        minor(a.dev),
        mount.id if mount is not None else 0,
    )


async def _attributes_at(task: Task, dirfd: int, path: bytes, flags: int) -> tuple[Attributes, Place | None]:
    """Return what is at a path, or what a descriptor refers to if that is empty (AT_EMPTY_PATH)."""
    if not path and flags & AT_EMPTY_PATH and dirfd != AT_FDCWD:
        file = task.fds.get_raw(dirfd)
        return await file.attributes(), file.path
    wanted = (0 if flags & AT_SYMLINK_NOFOLLOW else FOLLOW) | (EMPTY if flags & AT_EMPTY_PATH else 0)
    place = await resolve(task, dirfd, path, wanted)
    return await place.dentry.inode.attributes(), place


async def stat(task: Task, path: Path, buf: Addr) -> None:
    """stat(2)."""
    place = await resolve(task, AT_FDCWD, path)
    _show(task, buf, await place.dentry.inode.attributes(), place)


async def lstat(task: Task, path: Path, buf: Addr) -> None:
    """lstat(2)."""
    place = await resolve(task, AT_FDCWD, path, 0)
    _show(task, buf, await place.dentry.inode.attributes(), place)


async def fstat(task: Task, fd: Fd, buf: Addr) -> None:
    """fstat(2)."""
    file = task.fds.get_raw(fd)
    _show(task, buf, await file.attributes(), file.path)


def _show(task: Task, buf: int, attributes: Attributes, place: Place | None) -> None:
    """Write a struct stat; fast paths that know of the inode answer it from now on."""
    packed = pack_stat(attributes)
    data = place.inode.data() if place is not None else None
    if data is not None:
        data.keep(packed)
    task.put(buf, packed)


async def keep_stat(inode: Inode) -> None:
    """Let fast paths answer what stat(2) says of a new file, where nobody else changes it."""
    data = inode.data()
    if data is not None and not inode.fs.revalidates:
        data.keep(pack_stat(await inode.attributes()))


def _path(dirfd: int, path: bytes | None, flags: int) -> bytes:
    """Return the path, which is empty if it is NULL and no flag but AT_EMPTY_PATH is there.  EFAULT."""
    if path is not None:
        return path
    if dirfd < 0 or flags != AT_EMPTY_PATH:
        raise EFAULT
    return b""


async def newfstatat(task: Task, dirfd: Fd, path: PathOrNull, buf: Addr, flags: U32) -> None:
    """fstatat(2)."""
    path = _path(dirfd, path, flags)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT):
        raise EINVAL
    _show(task, buf, *await _attributes_at(task, dirfd, path, flags))


async def statx(task: Task, dirfd: Fd, path: PathOrNull, flags: U32, mask: U32, buf: Addr) -> None:
    """statx(2)."""
    path = _path(dirfd, path, flags & ~(AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE))
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE):
        raise EINVAL
    if flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE or mask & STATX__RESERVED:
        raise EINVAL
    attributes, place = await _attributes_at(task, dirfd, path, flags)
    mount = place.mount if place is not None else None
    root = place is not None and place.dentry is place.mount.root
    task.put(buf, pack_statx(attributes, mount, root))


async def _access(task: Task, dirfd: int, path: bytes, mode: int, flags: int) -> None:
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise EINVAL
    creds = task.creds if flags & AT_EACCESS else _real(task.creds)
    wanted = (0 if flags & AT_SYMLINK_NOFOLLOW else FOLLOW) | (EMPTY if flags & AT_EMPTY_PATH else 0)
    if not path and flags & AT_EMPTY_PATH and dirfd != AT_FDCWD:
        found = task.fds.get_raw(dirfd).path
        if found is None:
            return
        place = found
    else:
        place = await resolve(task, dirfd, path, wanted, creds=creds)
    inode = place.dentry.inode
    kind = inode.mode & S_IFMT
    if mode & X_OK and kind == S_IFREG and place.mount.flags & MS_NOEXEC:
        raise EACCES
    check(creds, inode, mode)
    if mode & W_OK and place.mount.readonly and kind not in _SPECIAL:
        raise EROFS


def _real(creds: Credentials) -> Credentials:
    """Return the credentials that access(2) checks with: the real ids."""
    if creds.fsuid == creds.uid and creds.fsgid == creds.gid:
        return creds if creds.uid == 0 else replace(creds, effective=0)
    return replace(creds, fsuid=creds.uid, fsgid=creds.gid, effective=creds.permitted if creds.uid == 0 else 0)


async def access(task: Task, path: Path, mode: U32) -> None:
    """access(2)."""
    await _access(task, AT_FDCWD, path, mode, 0)


async def faccessat(task: Task, dirfd: Fd, path: Path, mode: U32) -> None:
    """faccessat(2) as the kernel has it: without flags."""
    await _access(task, dirfd, path, mode, 0)


async def faccessat2(task: Task, dirfd: Fd, path: Path, mode: U32, flags: U32) -> None:
    """faccessat2(2)."""
    await _access(task, dirfd, path, mode, flags)


async def readlinkat(task: Task, dirfd: Fd, path: Path, buf: Addr, size: I32) -> int:
    """readlinkat(2): an empty path is the link that an O_PATH descriptor refers to."""
    if size <= 0:
        raise EINVAL
    if not path and dirfd != AT_FDCWD and task.fds.get_raw(dirfd).path is None:
        raise ENOENT
    place = await resolve(task, dirfd, path, EMPTY)
    inode = place.dentry.inode
    if inode.mode & S_IFMT != S_IFLNK:
        raise EINVAL if path else ENOENT
    target = (await inode.readlink(task))[:size]
    task.put(buf, target)
    return len(target)


async def readlink(task: Task, path: Path, buf: Addr, size: I32) -> int:
    """readlink(2)."""
    if not path:
        raise ENOENT
    return await readlinkat(task, AT_FDCWD, path, buf, size)


async def _pack_statfs(place: Place) -> bytes:
    mount = place.mount
    s = await mount.fs.statistics()
    flags = ST_VALID | mount.flags & MS_PER_MOUNT & ~(MS_RELATIME | MS_NOSYMFOLLOW)
    for shown, holds in (
        (ST_RDONLY, mount.readonly),
        (ST_RELATIME, mount.flags & MS_RELATIME),
        (ST_NOSYMFOLLOW, mount.flags & MS_NOSYMFOLLOW),
    ):
        if holds:
            flags |= shown
    dev = mount.fs.dev
    return STATFS.pack(
        s.magic, s.bsize, s.blocks, s.bfree, s.bavail, s.files, s.ffree, dev & 0x7FFF_FFFF, 0, s.namelen, s.bsize, flags
    )


async def statfs(task: Task, path: Path, buf: Addr) -> None:
    """statfs(2)."""
    task.put(buf, await _pack_statfs(await resolve(task, AT_FDCWD, path)))


async def fstatfs(task: Task, fd: Fd, buf: Addr) -> None:
    """fstatfs(2)."""
    file = task.fds.get_raw(fd)
    if file.path is None:
        magic = getattr(file, "magic", ANON_INODE_FS_MAGIC)
        data = STATFS.pack(magic, 4096, 0, 0, 0, 0, 0, 0, 0, 255, 4096, ST_VALID)
    else:
        data = await _pack_statfs(file.path)
    task.put(buf, data)
