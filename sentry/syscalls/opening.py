"""open(2), openat(2), openat2(2), creat(2), memfd_create(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import E2BIG, EAGAIN, EINVAL, ENODEV, LinuxError
from pysc.cabi.linux.fcntl import (
    AT_FDCWD,
    F_SEAL_EXEC,
    F_SEAL_SEAL,
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    MFD_EXEC,
    MFD_HUGE_MASK,
    MFD_HUGETLB,
    MFD_NOEXEC_SEAL,
    O_CLOEXEC,
    O_CREAT,
    O_LARGEFILE,
    O_PATH,
    O_RDWR,
    O_TMPFILE_BIT,
    O_TRUNC,
    O_WRONLY,
    OPEN_FLAGS,
    OPEN_HOW,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_FLAGS,
    RESOLVE_IN_ROOT,
)
from pysc.cabi.linux.limits import PAGE
from pysc.cabi.linux.stat import S_IFREG
from pysc.sentry.fs.inode import Owner
from pysc.sentry.fs.open import open_at
from pysc.sentry.fs.path import Dentry
from pysc.sentry.fs.path import Path as Place
from pysc.sentry.fs.regular import RegularFile
from pysc.sentry.fs.tmpfs import TmpfsFile
from pysc.sentry.syscalls.descriptors import check_room, install
from pysc.sentry.syscalls.stat import keep_stat
from pysc.sentry.syscalls.table import U32, Addr, Fd, Mode, Path, Size

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

MEMFD_NAME_MAX: Final = 249


async def openat(task: Task, dirfd: Fd, path: Path, flags: U32, mode: Mode) -> int:
    """openat(2): flags that it does not know are ignored."""
    return await _open(task, dirfd, path, flags & OPEN_FLAGS, mode)


async def _open(task: Task, dirfd: int, path: bytes, flags: int, mode: int, how: int = 0) -> int:
    if path:
        check_room(task)
    file = await open_at(task, dirfd, path, flags, mode, how)
    if isinstance(file, RegularFile) and file.created:
        await keep_stat(file.inode)  # who makes a file to write to looks at it first: every C library does
    return install(task, file, cloexec=bool(flags & O_CLOEXEC))


async def open_(task: Task, path: Path, flags: U32, mode: Mode) -> int:
    """open(2)."""
    return await openat(task, AT_FDCWD, path, flags, mode)


async def creat(task: Task, path: Path, mode: Mode) -> int:
    """creat(2)."""
    return await openat(task, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)


async def openat2(task: Task, dirfd: Fd, path: Path, how: Addr, size: Size) -> int:
    """openat2(2).  EINVAL: unknown flags; E2BIG: what we do not know is not zero."""
    if size < OPEN_HOW.size:
        raise EINVAL
    if size > PAGE:
        raise E2BIG
    data = await task.copy_in(how, size)
    if any(data[OPEN_HOW.size :]):
        raise E2BIG
    flags, mode, resolve = OPEN_HOW.unpack_from(data)
    if flags & ~OPEN_FLAGS or resolve & ~RESOLVE_FLAGS or mode & ~0o7777:
        raise EINVAL
    if resolve & RESOLVE_BENEATH and resolve & RESOLVE_IN_ROOT:
        raise EINVAL
    if mode and not flags & (O_CREAT | O_TMPFILE_BIT):
        raise EINVAL
    if flags & O_PATH and flags & ~(O_PATH | O_CLOEXEC | 0o200000 | 0o400000):
        raise EINVAL
    if resolve & RESOLVE_CACHED and flags & (O_TRUNC | O_CREAT | O_TMPFILE_BIT):
        raise EAGAIN
    return await _open(task, dirfd, path, flags, mode, resolve)


async def memfd_create(task: Task, name: Addr, flags: U32) -> int:
    """memfd_create(2).  ENODEV: no huge pages of any size."""
    known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC | MFD_HUGETLB
    if flags & ~(known | MFD_HUGE_MASK if flags & MFD_HUGETLB else known):
        raise EINVAL
    if flags & MFD_EXEC and flags & MFD_NOEXEC_SEAL:
        raise EINVAL
    try:
        text = await task.copy_in_string(name, MEMFD_NAME_MAX + 1)
    except LinuxError as error:
        raise (EINVAL if error.errno == 36 else type(error)) from None
    if flags & MFD_HUGETLB:
        raise ENODEV
    seals = F_SEAL_SEAL
    if flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL):
        seals = 0
    if flags & MFD_NOEXEC_SEAL:
        seals |= F_SEAL_EXEC
    mode = 0o666 if flags & MFD_NOEXEC_SEAL else 0o777
    fs = task.kernel.machine.shmem
    inode = TmpfsFile(fs, S_IFREG | mode, Owner(task.creds.fsuid, task.creds.fsgid), seals)
    inode.nlink = 0
    dentry = Dentry(b"memfd:" + text, fs.top.root, inode)
    dentry.deleted = True
    await inode.open_data(True)
    file = RegularFile(inode, O_RDWR | O_LARGEFILE, Place(fs.top, dentry))
    return install(task, file, cloexec=bool(flags & MFD_CLOEXEC))
