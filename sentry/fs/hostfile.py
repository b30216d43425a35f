"""Descriptors of the host as descriptions: the standard input, output and error that the sandbox was given.

Others share these files, so they are never made non-blocking: RWF_NOWAIT asks for that one call at a time.  Where the
host refuses it (terminals, FIFOs) a call follows a readiness check, with no more bytes than that one promised.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Coroutine
from fcntl import F_GETFL, fcntl, ioctl
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from pysc.cabi import host
from pysc.cabi.linux.errors import EACCES, EAGAIN, EINVAL, ENOTTY, EOPNOTSUPP, EPIPE, answered_by_host
from pysc.cabi.linux.fcntl import O_ACCMODE, O_APPEND, O_RDWR
from pysc.cabi.linux.poll import EPOLLET, IN, OUT, POLLPRI, POLLRDHUP, UNASKED
from pysc.cabi.linux.termios import FIONREAD
from pysc.sentry.fs.anonymous import ROOT, AnonymousFile, next_ino
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Attributes, Owner
from pysc.sentry.fs.pipe import broken_pipe
from pysc.sentry.fs.superblock import DATA, Superblock
from pysc.sentry.hostfds import HostFd, close, duplicate
from pysc.sentry.kernel.scheduler import Interrupted, WaitQueue, current_owner, park

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.workers import WorkerClient
    from pysc.sentry.platform.interface import Platform

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
CHUNK: Final = 1 << 16
PROMISED: Final = 512
"""Bytes that a writable FIFO or terminal takes without waiting (POSIX: PIPE_BUF of the smallest)."""
EVENTS: Final = IN | OUT | POLLPRI | POLLRDHUP | UNASKED


class HostFile(AnonymousFile):
    """An open file of the host; owns ``fd``.  Seekable ones share their position with whoever else has the file.

    ``workers`` make calls that may take long (superblock.py); None: nobody does.
    """

    __slots__ = ("_superblock", "_workers", "fd", "host_mode", "rdev")

    def __init__(self, fd: HostFd, owner: Owner = ROOT, workers: WorkerClient | None = None) -> None:
        super().__init__(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), owner, next_ino())
        status = os.fstat(fd)
        self.fd = fd
        self.host_mode = status.st_mode
        self.rdev = status.st_rdev
        self._workers = workers
        self._superblock = Superblock(host.statfs(fd)[0])

    @property
    def link(self) -> bytes:
        """The target of the link in /proc/PID/fd: what it is, not where the host has it."""
        if stat.S_ISFIFO(self.host_mode):
            return b"pipe:[%d]" % self.ino
        if stat.S_ISSOCK(self.host_mode):
            return b"socket:[%d]" % self.ino
        if stat.S_ISCHR(self.host_mode) and self.rdev == os.makedev(1, 3):
            return b"/dev/null"
        return b"host:[%d]" % self.ino

    def release(self) -> None:
        close(self.fd)

    async def reopen(self, flags: int) -> FileDescription:
        """Return another description of the same open file of the host.  EACCES: it is not open for that."""
        have = self.flags & O_ACCMODE
        if have not in (O_RDWR, flags & O_ACCMODE):
            raise EACCES
        other = self._duplicate(duplicate(self.fd))
        other.flags = flags & ~O_APPEND | self.flags & O_APPEND
        other.ino = self.ino
        return other

    def _duplicate(self, fd: HostFd) -> HostFile:
        return HostFile(fd, self.owner, self._workers)

    def _who_waits(self) -> WorkerClient | None:
        return self._workers if self._superblock.is_slow(DATA) else None

    async def _by(self, workers: WorkerClient, call: Coroutine[Any, Any, T]) -> T:
        """Await a worker's call, which keeps the descriptor open."""
        return await workers.killably(self._with_reference(call))

    async def _with_reference(self, call: Coroutine[Any, Any, T]) -> T:
        self.get()
        try:
            return await call
        finally:
            self.put()

    def _here(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        with answered_by_host():
            return self._superblock.inline(DATA, call, *args, **kwargs)

    async def read(self, size: int) -> bytes:
        workers = self._who_waits()
        if workers is not None:
            return await self._by(workers, workers.pread(self.fd, size, -1, lane=self._superblock.lane))
        return self._here(os.read, self.fd, size)

    async def write(self, data: bytes) -> int:
        workers = self._who_waits()
        if workers is not None:
            return await self._by(workers, workers.pwrite(self.fd, data, -1, lane=self._superblock.lane))
        return self._here(os.write, self.fd, data)

    async def pread(self, size: int, offset: int) -> bytes:
        workers = self._who_waits()
        if workers is not None:
            return await self._by(workers, workers.pread(self.fd, size, offset, lane=self._superblock.lane))
        return self._here(os.pread, self.fd, size, offset)

    async def pwrite(self, data: bytes, offset: int) -> int:
        workers = self._who_waits()
        if workers is not None:
            return await self._by(workers, workers.pwrite(self.fd, data, offset, lane=self._superblock.lane))
        return self._here(os.pwrite, self.fd, data, offset)

    async def seek(self, offset: int, whence: int) -> int:
        workers = self._who_waits()
        if workers is not None:
            return await self._by(workers, workers.seek(self.fd, offset, whence, lane=self._superblock.lane))
        return self._here(os.lseek, self.fd, offset, whence)

    async def truncate(self, size: int) -> None:
        self._here(os.ftruncate, self.fd, size)

    async def sync(self, data_only: bool) -> None:
        if self._workers is not None:
            call = self._workers.fsync(self.fd, data_only=data_only, lane=self._superblock.lane)
            await self._by(self._workers, call)
        else:
            self._here(os.fdatasync if data_only else os.fsync, self.fd)

    async def attributes(self) -> Attributes:
        shown = await super().attributes()
        shown.mode = self.host_mode
        shown.rdev = self.rdev
        if stat.S_ISREG(self.host_mode):
            workers = self._workers if self._superblock.remote else None
            if workers is not None:
                status = await self._by(workers, workers.stat(self.fd, lane=self._superblock.lane))
            else:
                status = host.stat_at(self.fd)
            shown.size, shown.blocks = status.size, status.blocks
            shown.atime, shown.mtime, shown.ctime = status.atime, status.mtime, status.ctime
        return shown


class HostStream(HostFile):
    """A pipe, socket or character device of the host.

    It is watched on the host, edge-triggered, only while somebody waits here: the edge is the wake.  Whether it is
    ready is always asked of the host.
    """

    __slots__ = ("_nowait", "_platform", "_poller", "_watched", "wait")

    def __init__(self, fd: HostFd, platform: Platform, owner: Owner = ROOT) -> None:
        super().__init__(fd, owner)
        self._platform = platform
        self._watched = False
        self._nowait = True
        self.wait = WaitQueue()
        self.rebuild()

    def rebuild(self) -> None:
        """Make what is of this process (pysc.sentry.state)."""
        self._poller = select.poll()
        self._poller.register(self.fd, EVENTS)
        if self._watched:
            self._watched = False
            self.queues()

    def release(self) -> None:
        self._unwatch()
        super().release()

    def _duplicate(self, fd: HostFd) -> HostFile:
        return HostStream(fd, self._platform, self.owner)

    # Readiness
    def poll(self) -> int:
        ready = self._poller.poll(0)
        return ready[0][1] if ready else 0

    def queues(self) -> tuple[WaitQueue, ...]:
        """Return the queue; whoever asks is about to wait, so the host is watched from now on."""
        if not self._watched:
            try:
                self._platform.watch(self.fd, EVENTS | EPOLLET, self._on_ready)
            except PermissionError:  # epoll_ctl(2)'s word for what is always ready
                return ()
            self._watched = True
        return (self.wait,)

    def _on_ready(self, events: int) -> None:
        if self.wait:
            self.wait.wake_all(events)
        else:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._platform.unwatch(self.fd)

    # Data
    async def read(self, size: int) -> bytes:
        while size:
            data = self._read_now(size)
            if data is not None:
                return data
            if self.nonblock:
                raise EAGAIN
            await park(*self.queues(), events=IN | UNASKED | POLLRDHUP)
        return b""

    def _read_now(self, size: int) -> bytes | None:
        """Read what there is; None if that is nothing yet."""
        with answered_by_host():
            if self._nowait:
                buffer = bytearray(min(size, CHUNK))
                try:
                    return bytes(memoryview(buffer)[: os.preadv(self.fd, [buffer], -1, os.RWF_NOWAIT)])
                except BlockingIOError:
                    return None
                except OSError as error:
                    self._refused(error)
            return os.read(self.fd, min(size, CHUNK)) if self.poll() & (IN | UNASKED) else None

    async def write(self, data: bytes) -> int:
        view, done = memoryview(data), 0
        while done < len(data):
            try:
                taken = self._write_now(view[done:])
                if not taken:
                    if self.nonblock:
                        raise EAGAIN
                    await park(*self.queues(), events=OUT | UNASKED)
            except Interrupted as interrupted:
                interrupted.moved = done
                raise
            except (EAGAIN, EPIPE) as error:
                if isinstance(error, EPIPE):
                    broken_pipe(await current_owner())
                if done:
                    break
                raise
            done += taken
        return done

    def _write_now(self, data: memoryview) -> int:
        """Write what fits now, maybe nothing."""
        with answered_by_host():
            if self._nowait:
                try:
                    return os.pwritev(self.fd, [data[: CHUNK * 16]], -1, os.RWF_NOWAIT)
                except BlockingIOError:
                    return 0
                except OSError as error:
                    self._refused(error)
            return os.write(self.fd, data[:PROMISED]) if self.poll() & (OUT | UNASKED) else 0

    def _refused(self, error: OSError) -> None:
        """Go on without RWF_NOWAIT, if that is what the host does not like."""
        if error.errno not in (EOPNOTSUPP.errno, EINVAL.errno):
            raise error
        self._nowait = False

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        if request != FIONREAD:
            raise ENOTTY
        with answered_by_host():
            count = ioctl(self.fd, FIONREAD, bytes(4))
        task.put(argument, count)
        return 0


def open_host_file(
    fd: HostFd, platform: Platform, owner: Owner = ROOT, workers: WorkerClient | None = None
) -> FileDescription:
    """Return the description of a donated descriptor, which it then owns.  Terminals are tty.py's."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode):
        return HostFile(fd, owner, workers)
    return HostStream(fd, platform, owner)
