"""Open file descriptions (open(2)): the base class of everything that a descriptor can refer to.

A type overrides what it supports; the defaults are the errors that Linux gives for what it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EBADF, EINVAL, ENODEV, ENOTDIR, ENOTTY, ENXIO, ESPIPE
from pysc.cabi.linux.fcntl import O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY, SEEK_CUR, SEEK_SET
from pysc.cabi.linux.poll import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from pysc.sentry.fs import notify
from pysc.sentry.kernel.scheduler import WaitQueue

if TYPE_CHECKING:
    from pysc.sentry.fs.epoll import EpollItem
    from pysc.sentry.fs.fasync import Notice
    from pysc.sentry.fs.inode import Attributes
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.fd_table import FDTable
    from pysc.sentry.kernel.locks import FileLocks
    from pysc.sentry.kernel.task import Task


class Referenced(dict[int, "FileDescription"]):
    """All descriptions that have a reference, by index: what descriptor tables hold are indices (cabi/objects.py).

    One that a fast path opened is made into an object when it is asked for, by ``see`` (dcache.py).
    """

    __slots__ = ("see",)

    see: Callable[[int], FileDescription]

    def __missing__(self, index: int) -> FileDescription:
        return self.see(index)

    def see_at(self, dentry: int) -> None:
        """Make objects of all that fast paths opened at a dentry of theirs."""
        index = lib.pysc_file_unseen(objects.OBJECTS, dentry, 0)
        while index >= 0:
            self.see(index)
            index = lib.pysc_file_unseen(objects.OBJECTS, dentry, index + 1)


referenced: Final = Referenced()


class FileDescription:
    """An open file description: the face of a struct pysc_file, which fast paths work on too.

    Invariant: ``references`` counts the descriptors (of all tables), messages in flight and calls that use it now;
    at 0 it is released, once.  ``flags`` are the O_* that fcntl(F_GETFL) shows.
    """

    __slots__ = ("_c", "epoll_items", "index", "notice", "path")

    tells: ClassVar[bool] = False
    """Whether it can send signals when it is ready (O_ASYNC)."""
    is_place: ClassVar[bool] = False
    """Whether it is what O_PATH opens."""

    def __init__(self, flags: int, path: Path | None = None, index: int | None = None) -> None:
        """``index`` is that of a structure that exists already."""
        self.index = objects.new(objects.FILE) if index is None else index
        self._c: Any = lib.pysc_file_at(objects.OBJECTS, self.index)
        self._c.faced = True
        self._c.flags = flags
        self._c.flushes = path is not None
        self.path = path
        """Where it was opened: mount and dentry; None for what has no name (pipes, sockets, eventfds)."""
        self.epoll_items: dict[EpollItem, None] | None = None
        """Who watches this description by epoll(7): they end with it."""
        self.notice: Notice | None = None
        """Who is signalled, if that was ever asked for."""

    def __del__(self, free: Callable[[int], None] = objects.free_file) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    @property
    def flags(self) -> int:
        """O_*."""
        value: int = self._c.flags
        return value

    @flags.setter
    def flags(self, value: int) -> None:
        self._c.flags = value

    @property
    def offset(self) -> int:
        """Where the next read or write begins."""
        value: int = self._c.offset
        return value

    @offset.setter
    def offset(self, value: int) -> None:
        self._c.offset = value

    @property
    def generation(self) -> int:
        """What tells the structure from others that had the index."""
        value: int = self._c.header.generation
        return value

    @property
    def lock_owner(self) -> int:
        """What names it as the owner of its own locks (locks.py)."""
        owner: int = lib.pysc_file_lock_owner(self._c)
        return owner

    def serve_locks(self, index: int, generation: int) -> None:
        """Let fast paths set locks of its inode: the struct pysc_locks."""
        self._c.locks, self._c.locks_generation = index + 1, generation

    @property
    def references(self) -> int:
        """How many hold it."""
        value: int = self._c.references
        return value

    def serve(self, kind: int, index: int, generation: int) -> None:
        """Let fast paths serve it: what it is (PYSC_FILE_*), and which structure it works on."""
        c = self._c
        c.object, c.generation = index, generation
        c.type = kind

    # Lifetime
    def get(self) -> None:
        """Take a reference."""
        c = self._c
        if not c.references:
            referenced[self.index] = self
        c.references += 1

    def put(self) -> None:
        """Drop a reference; the last one releases."""
        c = self._c
        assert c.references > 0
        c.references -= 1
        if not c.references:
            del referenced[self.index]
            for item in tuple(self.epoll_items or ()):
                item.detach()
            if self.notice is not None:
                self.notice.stop()
            self._release_locks(self)
            if not self.is_place:
                notify.used(self.path, notify.IN_CLOSE_WRITE if self.writable else notify.IN_CLOSE_NOWRITE)
            self.release()

    def release(self) -> None:
        """Free what it holds.  Called once; never waits (what must wait is started as a routine of the kernel)."""

    def flush(self, task: Task) -> None:
        """A descriptor of ``task``'s table was closed: so end the POSIX locks that were taken through the table."""
        self._release_locks(task.fds)

    @property
    def locks(self) -> FileLocks | None:
        """Those of its inode, if there ever were any."""
        return None if self.path is None else self.path.inode.locks

    def _release_locks(self, owner: FileDescription | FDTable) -> None:
        locks = self.locks
        if locks is not None:
            locks.release_owner(owner)

    # Modes
    @property
    def readable(self) -> bool:
        """Whether it is open for reading."""
        return self.flags & O_ACCMODE in (O_RDONLY, O_RDWR) and not self.is_place

    @property
    def writable(self) -> bool:
        """Whether it is open for writing."""
        return self.flags & O_ACCMODE in (O_WRONLY, O_RDWR) and not self.is_place

    @property
    def nonblock(self) -> bool:
        """Whether a read or write must not wait (O_NONBLOCK)."""
        return bool(self.flags & O_NONBLOCK)

    # Data.  The caller has checked readable/writable and bounded the size.
    async def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes at the offset and move it; b"" at the end.  EAGAIN if nonblock; park()s else."""
        raise EINVAL

    async def write(self, data: bytes) -> int:
        """Write at the offset (or the end, O_APPEND) and move it; the number of bytes taken.  EAGAIN, EPIPE …"""
        raise EINVAL

    async def pread(self, size: int, offset: int) -> bytes:
        """Read at ``offset``.  ESPIPE for what has no positions."""
        raise ESPIPE

    async def pwrite(self, data: bytes, offset: int) -> int:
        """Write at ``offset``.  ESPIPE for what has no positions."""
        raise ESPIPE

    def move(self, offset: int, whence: int) -> int:
        """Set the offset of what has no end, and return it: SEEK_SET, SEEK_CUR.  EINVAL."""
        if whence == SEEK_CUR:
            offset += self.offset
        elif whence != SEEK_SET:
            raise EINVAL
        if offset < 0:
            raise EINVAL
        self.offset = offset
        return offset

    async def seek(self, offset: int, whence: int) -> int:
        """lseek(2)."""
        raise ESPIPE

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        """ioctl(2); ``argument`` is a guest address or an int.  ENOTTY for an unknown request."""
        raise ENOTTY

    async def reopen(self, flags: int) -> FileDescription:
        """Return another description of the same object (opening /proc/PID/fd/N of what has no path).  ENXIO."""
        raise ENXIO

    def identity(self) -> tuple[int, int]:
        """Return the number of its inode, and the device that this is on: for show."""
        return (0, 0) if self.path is None else (self.path.inode.ino, self.path.inode.fs.dev)

    # Readiness
    def poll(self) -> int:
        """Return the POLL* bits that hold now (always of {IN, OUT, …}; ERR and HUP unasked).  Never waits."""
        return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM

    def queues(self) -> tuple[WaitQueue, ...]:
        """Return the queues that are woken when :meth:`poll` may have changed; () if it is always ready."""
        return ()

    # Metadata and the rest
    async def attributes(self) -> Attributes:
        """What fstat(2) shows."""
        raise EBADF

    async def truncate(self, size: int) -> None:
        """ftruncate(2)."""
        raise EINVAL

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2)."""
        raise ENODEV

    async def sync(self, data_only: bool) -> None:
        """fsync(2), fdatasync(2)."""
        raise EINVAL

    async def list(self, size: int) -> bytes:
        """Return whole linux_dirent64 records of at most ``size`` bytes; moves the offset (getdents64(2))."""
        raise ENOTDIR

    async def mapping_fd(self, prot: int, flags: int) -> int:
        """Return a host descriptor (borrowed, of a regular file) for mmap(2), open as the guest opened it."""
        raise ENODEV
