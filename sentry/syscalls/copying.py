"""sendfile(2), copy_file_range(2), splice(2), tee(2), vmsplice(2): moved in steps through the sentry."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EBADF, EINVAL, EISDIR, ESPIPE, EXDEV, LinuxError
from pysc.cabi.linux.fcntl import O_APPEND
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT, S_IFREG
from pysc.sentry.fs import notify
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.fs.directory import DirectoryFile
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.hostfile import HostFile
from pysc.sentry.fs.memory_devices import NullFile
from pysc.sentry.fs.pipe import PipeFile
from pysc.sentry.fs.regular import RegularFile
from pysc.sentry.kernel.pidfd import PidFile
from pysc.sentry.kernel.scheduler import Interrupted, Reason, yield_now
from pysc.sentry.syscalls.buffers import MAX_RW_COUNT, STEP, gather, total, vector
from pysc.sentry.syscalls.rw import IDLE_SEEK, has_positions, read_pipe
from pysc.sentry.syscalls.table import U32, Addr, Fd, Size
from pysc.sentry.syscalls.waiting import Using, cut_short

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

SPLICE_F_MOVE: Final = 1
SPLICE_F_NONBLOCK: Final = 2
SPLICE_F_MORE: Final = 4
SPLICE_F_GIFT: Final = 8
SPLICE_FLAGS: Final = 15
PIPE_STEP: Final = 1 << 16
UNSPLICED: Final = (*IDLE_SEEK, PidFile, DirectoryFile, NullFile)
"""What is read of them goes to the caller's memory only (no splice_read)."""
_OFFSET: Final = struct.Struct("<q")


async def _offset(task: Task, address: int) -> int | None:
    if not address:
        return None
    (offset,) = _OFFSET.unpack(await task.copy_in(address, 8))
    if offset < 0:
        raise EINVAL
    return int(offset)


def _put_offset(task: Task, address: int, start: int | None, done: int) -> None:
    """Tell the guest where an offset of its own is now."""
    if start is not None:
        task.put(address, _OFFSET.pack(start + done))


async def _move(
    task: Task,
    source: FileDescription,
    start: int | None,
    target: FileDescription,
    place: int | None,
    count: int,
    step: int = STEP,
) -> int:
    """Copy up to ``count`` bytes; None is the description's own offset.  Stops at a short read or write.

    A source with an offset of its own does not lose what the target did not take; what a freeze leaves between the two
    is kept.
    """
    done = task.resume()
    left = b"" if task.record is None else task.record.left
    try:
        while left or done < count:
            size = min(count - done, step)
            begin = source.offset
            if left:
                data = left
            else:
                data = await (source.read(size) if start is None else source.pread(size, start + done))
            if not data:
                break
            taken = 0
            try:
                while taken < len(data):
                    piece = data[taken:]
                    taken += await (
                        target.write(piece) if place is None else target.pwrite(piece, place + done + taken)
                    )
            except Interrupted as interrupted:
                taken += interrupted.moved
                interrupted.moved = 0
                if interrupted.reason is Reason.FREEZE and not isinstance(source, RegularFile):
                    task.recorded().left = data[taken:]
                raise
            finally:
                done += taken
                if start is None and taken < len(data) and isinstance(source, RegularFile):
                    source.offset = begin + taken
            if left or (len(data) < size and not isinstance(source, RegularFile)):
                break
            await yield_now()
    except (LinuxError, Interrupted) as error:
        return cut_short(task, error, done)
    finally:
        if done:
            notify.used(source.path, notify.IN_ACCESS)
            notify.used(target.path, notify.IN_MODIFY)
    return done


async def _portion(
    task: Task, source: FileDescription | None, target: FileDescription, count: int, *, nonblock: bool
) -> int:
    """Wait for the pipes; return how much of ``count`` one has and the other has room for.  EAGAIN, EPIPE.

    If the call is begun again with something moved, or read, it is that, which there is no more to be waited for.
    """
    record = task.record
    if record is not None and (record.done or record.left):
        return record.done + len(record.left)
    if isinstance(source, PipeFile):
        count = min(count, await source.wait_bytes(nonblock))
    if isinstance(target, PipeFile):
        count = min(count, await target.wait_room(nonblock))
    return count


async def _is_seekable(source: FileDescription) -> bool:
    """Whether it can be sent to any file: what is read of others would be lost (FMODE_LSEEK)."""
    if isinstance(source, HostFile):
        return (await source.attributes()).mode & S_IFMT == S_IFREG
    return not isinstance(source, AnonymousFile) or isinstance(source, IDLE_SEEK)


async def sendfile(task: Task, out_fd: Fd, in_fd: Fd, offset: Addr, count: Size) -> int:
    """sendfile(2)."""
    start = await _offset(task, offset)
    with Using(task, in_fd) as source:
        if not source.readable:
            raise EBADF
        if start is not None and not has_positions(source):
            raise ESPIPE
        with Using(task, out_fd) as target:
            done = await _send(task, source, start, target, count)
    _put_offset(task, offset, start, done)
    return done


async def _send(task: Task, source: FileDescription, start: int | None, target: FileDescription, count: int) -> int:
    if not target.writable:
        raise EBADF
    if count >> 63:
        raise EINVAL
    if isinstance(target, PipeFile):
        count = await _portion(task, None, target, count, nonblock=target.nonblock)
    elif target.flags & O_APPEND or not await _is_seekable(source):
        raise EINVAL
    if not count:
        return 0
    if isinstance(source, (*UNSPLICED, PipeFile)) or (
        isinstance(target, IDLE_SEEK) and await source.pread(1, source.offset if start is None else start)
    ):
        raise EINVAL
    return await _move(task, source, start, target, None, min(count, MAX_RW_COUNT))


async def copy_file_range(
    task: Task, in_fd: Fd, in_offset: Addr, out_fd: Fd, out_offset: Addr, count: Size, flags: U32
) -> int:
    """copy_file_range(2)."""
    if flags:
        raise EINVAL
    with Using(task, in_fd) as source, Using(task, out_fd) as target:
        start, place = await _offset(task, in_offset), await _offset(task, out_offset)
        for file in (source, target):
            if (await file.attributes()).mode & S_IFMT == S_IFDIR:
                raise EISDIR
        if not isinstance(source, RegularFile) or not isinstance(target, RegularFile):
            raise EINVAL
        if not source.readable or not target.writable or target.flags & O_APPEND:
            raise EBADF
        if source.inode.fs is not target.inode.fs and type(source.inode.fs) is not type(target.inode.fs):
            raise EXDEV
        count = min(count, MAX_RW_COUNT)
        if source.inode is target.inode:
            begin = source.offset if start is None else start
            count = min(count, max(0, (await source.attributes()).size - begin))
            end = target.offset if place is None else place
            if begin < end + count and end < begin + count:
                raise EINVAL
        done = await _move(task, source, start, target, place, count)
    _put_offset(task, in_offset, start, done)
    _put_offset(task, out_offset, place, done)
    return done


def _nonblocking(source: FileDescription, target: FileDescription, flags: int) -> bool:
    """Whether a splice may not wait for a pipe."""
    if flags & SPLICE_F_NONBLOCK:
        return True
    return any(isinstance(end, PipeFile) and end.nonblock for end in (source, target))


async def splice(task: Task, in_fd: Fd, in_offset: Addr, out_fd: Fd, out_offset: Addr, count: Size, flags: U32) -> int:
    """splice(2): one end at least is a pipe."""
    if flags & ~SPLICE_FLAGS:
        raise EINVAL
    if not count:
        return 0
    with Using(task, in_fd) as source, Using(task, out_fd) as target:
        if not source.readable or not target.writable:
            raise EBADF
        if (in_offset and isinstance(source, PipeFile)) or (out_offset and isinstance(target, PipeFile)):
            raise ESPIPE
        if not isinstance(source, PipeFile) and not isinstance(target, PipeFile):
            raise EINVAL
        if isinstance(target, IDLE_SEEK):
            raise EINVAL  # they have no splice_write
        if target.flags & O_APPEND and not isinstance(target, PipeFile):
            raise EINVAL
        if isinstance(source, PipeFile) and isinstance(target, PipeFile) and source.pipe is target.pipe:
            raise EINVAL
        start, place = await _offset(task, in_offset), await _offset(task, out_offset)
        nonblock = _nonblocking(source, target, flags)
        count = min(count, MAX_RW_COUNT)
        count = await _portion(task, source, target, count, nonblock=nonblock)
        if isinstance(source, UNSPLICED):
            raise EINVAL
        done = await _move(task, source, start, target, place, count, PIPE_STEP)
    _put_offset(task, in_offset, start, done)
    _put_offset(task, out_offset, place, done)
    return done


async def vmsplice(task: Task, fd: Fd, iov: Addr, iovcnt: Size, flags: U32) -> int:
    """vmsplice(2): copies."""
    if flags & ~SPLICE_FLAGS:
        raise EINVAL
    with Using(task, fd) as file:
        if not isinstance(file, PipeFile):
            raise EBADF
        ranges = await vector(task, iov, iovcnt)
        size = min(total(ranges), STEP)
        if not size:
            return 0
        nonblock = bool(flags & SPLICE_F_NONBLOCK)
        if file.writable:
            done = task.resume()
            if done:
                return done
            size = min(size, await file.wait_room(nonblock))
            try:
                return await file.write(await gather(task, ranges, 0, size, partial=True))
            except (LinuxError, Interrupted) as error:
                return cut_short(task, error, 0)
        return await read_pipe(task, file, ranges, size, nonblock=nonblock)


async def tee(task: Task, in_fd: Fd, out_fd: Fd, count: Size, flags: U32) -> int:
    """tee(2): copies what the first pipe holds to the second, and leaves it."""
    if flags & ~SPLICE_FLAGS:
        raise EINVAL
    if not count:
        return 0
    with Using(task, in_fd) as source, Using(task, out_fd) as target:
        if not source.readable or not target.writable:
            raise EBADF
        if not isinstance(source, PipeFile) or not isinstance(target, PipeFile) or source.pipe is target.pipe:
            raise EINVAL
        nonblock = _nonblocking(source, target, flags)
        while True:
            there = await source.wait_bytes(nonblock)
            room = await target.wait_room(nonblock)
            data = source.pipe.peek(min(count, room, STEP))
            if not data and there:
                continue
            try:
                return await target.write(data)
            except Interrupted as interrupted:
                if not interrupted.moved:
                    raise
                return interrupted.moved
