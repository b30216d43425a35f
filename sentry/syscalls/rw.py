"""read(2), write(2) and their kin; lseek(2)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from pysc.cabi.linux.errors import EAGAIN, EBADF, EFAULT, EFBIG, EINVAL, EOPNOTSUPP, ESPIPE, LinuxError
from pysc.cabi.linux.fcntl import O_APPEND
from pysc.cabi.linux.resource import RLIM_INFINITY, RLIMIT_FSIZE
from pysc.cabi.linux.signals import SIGXFSZ
from pysc.cabi.linux.stat import PERMISSIONS, S_ISGID, S_ISUID
from pysc.sentry.fs import notify
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.fs.directory import DirectoryFile
from pysc.sentry.fs.epoll import EpollFile
from pysc.sentry.fs.eventfd import EventFile
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.hostfile import HostFile
from pysc.sentry.fs.inode import Changes
from pysc.sentry.fs.inotify import InotifyFile
from pysc.sentry.fs.memory_devices import DeviceFile, NullFile, ZeroFile
from pysc.sentry.fs.permissions import clears_suid, without_suid
from pysc.sentry.fs.pipe import PIPE_BUF, PipeFile
from pysc.sentry.fs.regular import MAX_LFS_FILESIZE, RegularFile
from pysc.sentry.fs.signalfd import SignalFile
from pysc.sentry.fs.timerfd import TimerFile
from pysc.sentry.kernel.scheduler import Interrupted, yield_now
from pysc.sentry.kernel.signals import SigInfo, send_signal
from pysc.sentry.net.socket import Socket
from pysc.sentry.syscalls.buffers import STEP, Range, gather, scatter, single, total, vector
from pysc.sentry.syscalls.socket_messages import receive
from pysc.sentry.syscalls.table import I32, I64, U32, U64, Addr, Fd, Size
from pysc.sentry.syscalls.waiting import Using, cut_short

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

PARTICULAR: Final = (EventFile, TimerFile, SignalFile, EpollFile, DirectoryFile)
"""They refuse even an empty buffer: too small, or nothing that is read."""
UNHEEDING: Final = (NullFile, ZeroFile)
"""What is written to them is not even looked at."""
READ_ONLY: Final = (TimerFile, SignalFile, EpollFile, InotifyFile)
"""They are never written to, whatever their access mode says."""
IDLE_SEEK: Final = (EventFile, TimerFile, SignalFile, EpollFile, InotifyFile)
"""Their lseek(2) does nothing and says 0 (noop_llseek)."""

SEEK_MAX: Final = 4
RWF_HIPRI: Final = 0x01
RWF_DSYNC: Final = 0x02
RWF_SYNC: Final = 0x04
RWF_NOWAIT: Final = 0x08
RWF_APPEND: Final = 0x10
RWF_NOAPPEND: Final = 0x20
RWF_SUPPORTED: Final = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND


async def _read(task: Task, file: FileDescription, ranges: list[Range], offset: int | None) -> int:
    """Read into the ranges; ``offset`` None is the description's own."""
    size = total(ranges)
    regular = isinstance(file, RegularFile)
    if not size and not isinstance(file, (RegularFile, *PARTICULAR)):
        return 0
    if isinstance(file, Socket):
        received = await receive(task, file, ranges, 0, last=True)
        received.drop_files()
        return len(received.data)
    if isinstance(file, PipeFile):
        return await read_pipe(task, file, ranges, size, nonblock=file.nonblock)
    fills = regular or isinstance(file, DeviceFile)
    if fills:
        _in_range(file, offset, size)
    done = 0
    try:
        while True:
            step = min(size - done, STEP)
            try:
                data = await (file.read(step) if offset is None else file.pread(step, offset + done))
            except (LinuxError, Interrupted) as error:
                return cut_short(task, error, done)
            last = not fills or len(data) < step or done + step >= size
            try:
                # Of a file it is known how much was taken before it is said: nothing is lost.
                taken = await scatter(task, ranges, done, data, last=last and not regular, partial=regular)
            except LinuxError:
                if offset is None and regular:
                    file.offset -= len(data)
                if done:
                    return done
                raise
            done += taken
            if taken < len(data) and offset is None and regular:
                file.offset -= len(data) - taken
            if last or taken < len(data):
                return done
            await yield_now()
    finally:
        if done:
            notify.used(file.path, notify.IN_ACCESS)


async def read_pipe(task: Task, file: PipeFile, ranges: list[Range], size: int, *, nonblock: bool) -> int:
    """Read from a pipe: what cannot be stored stays there, by pages, since Linux stores one after the other."""
    pipe, done = file.pipe, 0
    while len(pipe) if done else await file.wait_bytes(nonblock):
        moves, data = pipe.moves, pipe.look(min(size - done, STEP))
        try:
            stored = await scatter(task, ranges, done, data, partial=True)
        except EFAULT:
            stored = 0
        if stored < len(data):
            stored -= stored % PIPE_BUF
        if pipe.moves != moves:
            continue
        pipe.drop(stored)
        done += stored
        if not done:
            raise EFAULT
        if stored < STEP or done == size:
            break
    if done:
        notify.used(file.path, notify.IN_ACCESS)
    return done


def _in_range(file: FileDescription, offset: int | None, size: int) -> None:
    """Refuse what would go beyond the last offset there is.  EINVAL."""
    if (file.offset if offset is None else offset) > MAX_LFS_FILESIZE - size:
        raise EINVAL


async def _read_vector(task: Task, file: FileDescription, ranges: list[Range], offset: int | None) -> int:
    """Read into an iovec; one without any room is not even looked at by the file."""
    return await _read(task, file, ranges, offset) if total(ranges) else 0


async def _write_vector(
    task: Task, file: FileDescription, ranges: list[Range], offset: int | None, append: bool | None = None
) -> int:
    """Write an iovec; an empty one is not even looked at by the file."""
    if not total(ranges):
        if isinstance(file, READ_ONLY):
            raise EINVAL
        return 0
    if isinstance(file, EventFile):
        return await _write_each(task, file, ranges)
    return await _write(task, file, ranges, offset, append)


async def _written(task: Task, file: FileDescription, iov: int, iovcnt: int) -> list[Range]:
    """Copy the iovec of a write in."""
    return await vector(task, iov, iovcnt, whole=isinstance(file, EventFile))


async def _write_each(task: Task, file: FileDescription, ranges: list[Range]) -> int:
    """Write each part by itself, empty ones, too, as Linux does where a file takes no iovec."""
    done = skipped = task.resume()
    try:
        while ranges and total(ranges):
            part = ranges.pop(0)
            if skipped >= part[1] > 0:
                skipped -= part[1]
                continue
            taken = await file.write(await gather(task, [part], 0, min(part[1], STEP)))
            done += taken
            if taken < part[1]:
                break
    except (LinuxError, Interrupted) as error:
        return cut_short(task, error, done)
    return done


async def _write(
    task: Task, file: FileDescription, ranges: list[Range], offset: int | None, append: bool | None = None
) -> int:
    """Write the ranges; ``append`` is whether to the end, None: as O_APPEND says."""
    size = total(ranges)
    regular = isinstance(file, RegularFile)
    if append is None:
        append = bool(file.flags & O_APPEND)
    if isinstance(file, RegularFile):
        if not size:
            return 0
        size = await _prepare_write(task, file, size, offset, append=append)
    done = task.resume()
    try:
        while True:
            step = min(size - done, STEP)
            try:
                if isinstance(file, PipeFile):
                    data = await _gather_pages(task, file, ranges, done, step)
                elif isinstance(file, UNHEEDING):
                    data = bytes(step)
                else:
                    data = await gather(task, ranges, done, step, partial=regular)
                place = None if offset is None else offset + done
                if isinstance(file, RegularFile):
                    taken = await file.write_as(data, place, append=append)
                else:
                    taken = await (file.write(data) if place is None else file.pwrite(data, place))
            except (LinuxError, Interrupted) as error:
                return cut_short(task, error, done)
            done += taken
            if taken < step or done >= size:
                break
            await yield_now()
        return done
    finally:
        if done:
            notify.used(file.path, notify.IN_MODIFY)


async def _gather_pages(task: Task, file: PipeFile, ranges: list[Range], done: int, size: int) -> bytes:
    """Copy in what a pipe takes: it fills page after page, so those before one that cannot be read are written.

    EFAULT, but only where there is a reader, and room; else as :meth:`PipeFile.wait_room`.
    """
    try:
        return await gather(task, ranges, done, size)
    except EFAULT:
        data = b""
    with suppress(EFAULT):
        data = await gather(task, ranges, done, size, partial=True)
    if len(data) < PIPE_BUF:
        await file.wait_room(file.nonblock)
        raise EFAULT
    return data[: len(data) - len(data) % PIPE_BUF]


async def _prepare_write(task: Task, file: RegularFile, size: int, offset: int | None, *, append: bool) -> int:
    """Take setuid away where a write does; return how much RLIMIT_FSIZE leaves.  EFBIG."""
    inode = file.inode
    if inode.mode & (S_ISUID | S_ISGID) and clears_suid(task.creds, inode):
        await inode.set_attributes(Changes(mode=without_suid(inode.mode) & PERMISSIONS))
    limit = task.group.limit(RLIMIT_FSIZE)
    if limit == RLIM_INFINITY:
        return size
    if append:
        start = await inode.size()
    else:
        start = file.offset if offset is None else offset
    if start >= limit:
        exceed(task)
    return min(size, limit - start)


def exceed(task: Task) -> NoReturn:
    """Tell a task that a file may not grow so far (RLIMIT_FSIZE).  EFBIG, with SIGXFSZ."""
    send_signal(task, SigInfo.kill(SIGXFSZ, task.group.tgid, task.creds.uid))
    raise EFBIG


def _check_readable(file: FileDescription) -> None:
    if not file.readable:
        raise EBADF


def _check_writable(file: FileDescription) -> None:
    if not file.writable:
        raise EBADF


def has_positions(file: FileDescription) -> bool:
    """Whether it can be read or written at an offset (FMODE_PREAD, FMODE_PWRITE)."""
    return not isinstance(file, AnonymousFile) or isinstance(file, HostFile)


def _check_positions(file: FileDescription) -> None:
    """Refuse what has no positions, which Linux looks at before the access mode.  ESPIPE."""
    if not has_positions(file):
        raise ESPIPE


async def read(task: Task, fd: Fd, buf: Addr, count: Size) -> int:
    """read(2)."""
    with Using(task, fd) as file:
        _check_readable(file)
        return await _read(task, file, single(buf, count), None)


async def write(task: Task, fd: Fd, buf: Addr, count: Size) -> int:
    """write(2)."""
    with Using(task, fd) as file:
        _check_writable(file)
        return await _write(task, file, single(buf, count), None)


async def pread64(task: Task, fd: Fd, buf: Addr, count: Size, offset: I64) -> int:
    """pread(2)."""
    if offset < 0:
        raise EINVAL
    with Using(task, fd) as file:
        _check_positions(file)
        _check_readable(file)
        return await _read(task, file, single(buf, count), offset)


async def pwrite64(task: Task, fd: Fd, buf: Addr, count: Size, offset: I64) -> int:
    """pwrite(2)."""
    if offset < 0:
        raise EINVAL
    with Using(task, fd) as file:
        _check_positions(file)
        _check_writable(file)
        return await _write(task, file, single(buf, count), offset)


async def readv(task: Task, fd: Fd, iov: Addr, iovcnt: Size) -> int:
    """readv(2)."""
    with Using(task, fd) as file:
        _check_readable(file)
        return await _read_vector(task, file, await vector(task, iov, iovcnt), None)


async def writev(task: Task, fd: Fd, iov: Addr, iovcnt: Size) -> int:
    """writev(2)."""
    with Using(task, fd) as file:
        _check_writable(file)
        return await _write_vector(task, file, await _written(task, file, iov, iovcnt), None)


async def preadv(task: Task, fd: Fd, iov: Addr, iovcnt: Size, low: U64, high: U64) -> int:
    """preadv(2); ``high`` means nothing on 64-bit machines."""
    if low >> 63:
        raise EINVAL
    with Using(task, fd) as file:
        _check_positions(file)
        _check_readable(file)
        return await _read_vector(task, file, await vector(task, iov, iovcnt), low)


async def pwritev(task: Task, fd: Fd, iov: Addr, iovcnt: Size, low: U64, high: U64) -> int:
    """pwritev(2)."""
    if low >> 63:
        raise EINVAL
    with Using(task, fd) as file:
        _check_positions(file)
        _check_writable(file)
        return await _write_vector(task, file, await _written(task, file, iov, iovcnt), low)


def _contradict(flags: int, ranges: list[Range]) -> bool:
    """Whether flags exclude each other, which is not seen where nothing is to be moved."""
    return bool(flags & RWF_APPEND and flags & RWF_NOAPPEND and total(ranges))


async def preadv2(task: Task, fd: Fd, iov: Addr, iovcnt: Size, low: I64, high: U64, flags: I32) -> int:
    """preadv2(2); an offset of -1 is the description's own."""
    if flags & ~RWF_SUPPORTED:
        raise EOPNOTSUPP
    if low < -1:
        raise EINVAL
    with Using(task, fd) as file:
        if low != -1:
            _check_positions(file)
        _check_readable(file)
        if flags & RWF_NOWAIT and not isinstance(file, RegularFile) and file.queues() and not file.poll() & 1:
            raise EAGAIN
        ranges = await vector(task, iov, iovcnt)
        if _contradict(flags, ranges):
            raise EINVAL
        return await _read_vector(task, file, ranges, None if low == -1 else low)


async def pwritev2(task: Task, fd: Fd, iov: Addr, iovcnt: Size, low: I64, high: U64, flags: I32) -> int:
    """pwritev2(2)."""
    if flags & ~RWF_SUPPORTED:
        raise EOPNOTSUPP
    if low < -1:
        raise EINVAL
    with Using(task, fd) as file:
        if low != -1:
            _check_positions(file)
        _check_writable(file)
        ranges = await _written(task, file, iov, iovcnt)
        append = bool(flags & RWF_APPEND) if flags & (RWF_APPEND | RWF_NOAPPEND) else None
        if _contradict(flags, ranges):
            raise EINVAL
        written = await _write_vector(task, file, ranges, None if low == -1 else low, append)
        if flags & (RWF_DSYNC | RWF_SYNC):
            await file.sync(not flags & RWF_SYNC)
        return written


async def lseek(task: Task, fd: Fd, offset: I64, whence: U32) -> int:
    """lseek(2)."""
    file = task.fds.get(fd)
    if whence > SEEK_MAX:
        raise EINVAL
    if isinstance(file, IDLE_SEEK):
        return 0
    return await file.seek(offset, whence)
