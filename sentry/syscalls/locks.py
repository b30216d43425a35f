"""flock(2), and the locks of fcntl(2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EAGAIN, EBADF, EINVAL, EOVERFLOW
from pysc.cabi.linux.fcntl import (
    F_GETLK,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_RDLCK,
    F_SETLKW,
    F_UNLCK,
    F_WRLCK,
    FLOCK,
)
from pysc.sentry.fs import special
from pysc.sentry.fs.hostregular import HostRegular
from pysc.sentry.fs.pipe import PipeFile
from pysc.sentry.hostfds import duplicate
from pysc.sentry.kernel.host_locks import END, HostLocks, length_of
from pysc.sentry.kernel.locks import FileLocks, RecordLock
from pysc.sentry.syscalls.table import U32, Fd
from pysc.sentry.syscalls.waiting import Using

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task

LOCK_SH: Final = 1
LOCK_EX: Final = 2
LOCK_NB: Final = 4
LOCK_UN: Final = 8
LOCK_MAND: Final = 32
"""Was a kind of lock once; Linux says yes, and does nothing."""


def locks_of(file: FileDescription) -> FileLocks | None:
    """Return the locks of a file's inode.

    None for what has no place in a file system: nobody else could lock it, but for the other end of a pipe.
    """
    if isinstance(file, PipeFile) and file.path is None:
        pipe = file.pipe
        pipe.locks = pipe.locks or FileLocks()
        return pipe.locks
    if file.path is None:
        return None
    inode = file.path.inode
    if inode.locks is None:
        inode.locks = FileLocks()
        inode.withdraw()
    return inode.locks


def _shared(file: FileDescription) -> HostRegular | None:
    """Return the inode if other users of the host may have locks there, too."""
    inode = None if file.path is None else file.path.inode
    return inode if isinstance(inode, HostRegular) and inode.fs.revalidates else None


def _show_to_host(file: FileDescription, locks: FileLocks) -> None:
    """On a shared mount let others who use the host's file see what is locked here."""
    inode = _shared(file)
    if inode is None:
        return
    if locks.host is None:
        locks.host = HostLocks(duplicate(inode.write_fd if file.writable else inode.fd), writable=file.writable)
    elif file.writable and not locks.host.writable and not locks.host.reopen(duplicate(inode.write_fd)):
        raise EAGAIN


@contextmanager
def _asking(file: FileDescription, locks: FileLocks) -> Iterator[None]:
    """While a call takes or asks for locks, other users of the host's file see them."""
    locks.callers += 1
    try:
        _show_to_host(file, locks)
        yield
    finally:
        locks.leave()


async def flock(task: Task, fd: Fd, operation: U32) -> None:
    """flock(2)."""
    if operation & LOCK_MAND:
        return
    wait = not operation & LOCK_NB
    operation &= ~LOCK_NB
    if operation not in (LOCK_SH, LOCK_EX, LOCK_UN):
        raise EINVAL
    with Using(task, fd) as file:
        locks = locks_of(file)
        if locks is None:
            return
        if operation == LOCK_UN:
            locks.unflock(file)
            return
        with _asking(file, locks):
            await locks.flock(file, operation == LOCK_EX, wait=wait)


async def record_lock(task: Task, fd: int, command: int, address: int) -> int:
    """fcntl(2) with F_GETLK and its kin."""
    file = task.fds.get(fd)
    kind, whence, start, length, pid = FLOCK.unpack(await task.copy_in(address, FLOCK.size))
    of_description = command in (F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW)
    if of_description and pid:
        raise EINVAL
    first, last = await _range(file, whence, start, length)
    owner = file if of_description else task.fds
    locks = locks_of(file) or FileLocks()
    wanted = RecordLock(owner.lock_owner, -1 if of_description else task.group.tgid, kind == F_WRLCK, first, last)
    if command in (F_GETLK, F_OFD_GETLK):
        if kind == F_UNLCK and of_description:
            task.put(address, _found(locks.held(wanted), whence, start, length, pid))
            return 0
        if kind not in (F_RDLCK, F_WRLCK):
            raise EINVAL
        with _asking(file, locks):
            found = locks.conflict(wanted) or locks.host_conflict(wanted)
        task.put(address, _found(found, whence, start, length, pid))
        return 0
    if file.path is not None and _shared(file) is None:
        file.serve_locks(locks.index, locks.generation)
    if kind == F_UNLCK:
        locks.unlock(owner, first, last)
        return 0
    if kind not in (F_RDLCK, F_WRLCK):
        raise EINVAL
    if not (file.writable if kind == F_WRLCK else file.readable):
        raise EBADF
    file.get()
    try:
        with _asking(file, locks):
            await locks.lock(wanted, task.kernel.lock_waits, wait=command in (F_SETLKW, F_OFD_SETLKW))
        if not of_description:
            closed = not task.fds.has(fd, file)  # meanwhile, which has taken the others away
            # They end when the process closes a descriptor of the file.  Fast paths close pipes': none is kept.
            if closed or file.path is None:
                locks.unlock(owner, first, last)
            if closed:
                raise EBADF
    finally:
        file.put()
    return 0


def _found(lock: RecordLock | None, whence: int, start: int, length: int, pid: int) -> bytes:
    if lock is None:
        return FLOCK.pack(F_UNLCK, whence, start, length, pid)
    size = length_of(lock.start, lock.end)
    return FLOCK.pack(F_WRLCK if lock.exclusive else F_RDLCK, 0, lock.start, size, lock.pid)


async def _range(file: FileDescription, whence: int, start: int, length: int) -> tuple[int, int]:
    """Return the first and the last byte of a struct flock.  EINVAL, EOVERFLOW."""
    if whence == 0:
        base = 0
    elif whence == 1:
        base = file.offset
    elif whence == 2:
        base = (await file.attributes()).size
    else:
        raise EINVAL
    first = base + start
    if first > END:
        raise EOVERFLOW
    last = END if not length else first + length - 1
    if length < 0:
        first, last = first + length, first - 1
    if first < 0:
        raise EINVAL
    if last > END:
        raise EOVERFLOW
    return first, last


special.record_lock = record_lock
