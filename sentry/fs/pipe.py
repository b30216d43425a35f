"""Pipes (pipe(7)): the buffer, and the description of either end; FIFOs use the same two."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import EAGAIN, EBUSY, EINVAL, ENOMEM, ENOTTY, ENXIO, EPERM, EPIPE
from pysc.cabi.linux.fcntl import O_ACCMODE, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY
from pysc.cabi.linux.mount import PIPEFS_MAGIC
from pysc.cabi.linux.poll import IN, OUT, POLLERR, POLLHUP
from pysc.cabi.linux.signals import SIGPIPE
from pysc.cabi.linux.stat import S_IFIFO
from pysc.cabi.linux.termios import FIONREAD
from pysc.sentry.fs.anonymous import ROOT, AnonymousFile, next_ino
from pysc.sentry.kernel.scheduler import Interrupted, WaitQueue, current_owner, park

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.inode import Attributes, Owner
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.locks import FileLocks
    from pysc.sentry.kernel.task import Task

PIPE_BUF: Final = 4096
DEFAULT_CAPACITY: Final = 65536
MAX_CAPACITY: Final = 1 << 20
"""fs.pipe-max-size, for those without CAP_SYS_RESOURCE."""
HARD_MAX_CAPACITY: Final = 1 << 31
ALLOCATED_MAX: Final = 1 << 28
"""The array of a larger one's pages is more than Linux gets in one piece."""

ENDS: Final = IN | OUT | POLLERR | POLLHUP


class Pipe:
    """The buffer between writers and readers: the face of a struct pysc_pipe, which fast paths work on too.

    A queue of its own for each kind of sleeper: a byte wakes one reader, who wakes the next if he leaves some, and
    every poller of that end.  Sleeping readers and writers re-check, so a wake too many is harmless; one too few would
    hang.

    Invariant: the sizes in ``_packets`` add up to the bytes held, or it is empty: nothing in packet mode (O_DIRECT)
    is held.  Whoever is about to wait has said so by :meth:`watch`: then fast paths tell of their moves.
    """

    __slots__ = (
        "__weakref__",
        "_c",
        "_packets",
        "index",
        "ino",
        "locks",
        "open_wait",
        "read_poll",
        "read_wait",
        "reader_opens",
        "write_poll",
        "write_wait",
        "writer_opens",
    )

    def __init__(self) -> None:
        self.index = objects.new(objects.PIPE)
        self._c: Any = lib.pysc_pipe_at(objects.OBJECTS, self.index)
        self._c.capacity = DEFAULT_CAPACITY
        self._packets: deque[Segment] = deque()
        self.ino = next_ino()
        self.reader_opens = 0
        """How often it was opened for reading: what openers of a FIFO wait to see change."""
        self.writer_opens = 0
        self.read_wait = WaitQueue()
        self.write_wait = WaitQueue()
        self.read_poll = WaitQueue()
        self.write_poll = WaitQueue()
        self.open_wait = WaitQueue()
        self.locks: FileLocks | None = None
        """Of a pipe without a name, what its descriptions have locked (flock(2), F_OFD_SETLK)."""

    def __del__(self, free: Callable[[int], None] = objects.free_pipe) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    def __len__(self) -> int:
        size: int = self._c.size
        return size

    @property
    def generation(self) -> int:
        """What tells the structure from others that had the index."""
        value: int = self._c.header.generation
        return value

    @property
    def capacity(self) -> int:
        """Bytes that it holds at most."""
        value: int = self._c.capacity
        return value

    @property
    def moves(self) -> int:
        """How often bytes have been taken, or have come back."""
        value: int = self._c.moves
        return value

    @property
    def readers(self) -> int:
        """Descriptions that are open for reading."""
        value: int = self._c.readers
        return value

    @property
    def writers(self) -> int:
        """Descriptions that are open for writing."""
        value: int = self._c.writers
        return value

    def watch(self, waits: int) -> None:
        """Somebody is about to wait for something (PYSC_WAITS_*)."""
        if not self._c.waits:
            objects.listen(objects.PIPE, self.index, self)
        self._c.waits |= waits

    def moved(self, events: int) -> None:
        """A fast path made it have ``events``: wake who waits for them, and remember who still waits."""
        if events & IN:
            self.read_wait.wake(1)
            self.read_poll.wake_all(IN)
        if events & OUT:
            self.write_wait.wake(1)
            self.write_poll.wake_all(OUT)
        waits = lib.PYSC_WAITS_POLL if self.read_poll else 0
        if self.write_poll:
            waits |= lib.PYSC_WAITS_POLL_ROOM
        if self.read_wait:
            waits |= lib.PYSC_WAITS_BYTES
        if self.write_wait:
            waits |= lib.PYSC_WAITS_ROOM
        self._c.waits = waits

    def rebuild(self) -> None:
        """Hear of what fast paths of this process move (pysc.sentry.state)."""
        objects.listen(objects.PIPE, self.index, self)
        self.moved(0)

    @property
    def room(self) -> int:
        """Bytes that fit.  A packet uses up a page at least, as in Linux."""
        used = len(self)
        for segment in self._packets:
            if segment.packet:
                used += PIPE_BUF - segment.size
        return max(0, self.capacity - used)

    @property
    def full(self) -> bool:
        """Whether a writer sees it as not ready."""
        return self.room < PIPE_BUF

    def append(self, data: bytes | memoryview, packet: bool) -> None:
        """Take ``data``, which fits, and wake a reader.  ENOMEM."""
        before = len(self)
        objects.check(lib.pysc_pipe_put(objects.OBJECTS, self._c, ffi.from_buffer(data), len(data)))
        if packet:
            if not self._packets and before:
                self._packets.append(Segment(before, False))
            self._packets.append(Segment(len(data), True))
            self._c.packets = 1
        elif self._packets:
            if not self._packets[-1].packet:
                self._packets[-1].size += len(data)
            else:
                self._packets.append(Segment(len(data), False))
        self._wake_reader()
        self.read_poll.wake_all(IN)

    def _wake_reader(self) -> None:
        """Wake one, and the one that fast paths let wait."""
        self.read_wait.wake(1)
        objects.rouse(self._c)

    def take(self, size: int) -> bytes:
        """Remove up to ``size`` bytes, as :meth:`drop` does, and return them."""
        data = self.look(size)
        self.drop(len(data))
        return data

    def look(self, size: int) -> bytes:
        """Return what :meth:`take` would, but leave it there: it is the head's until that has moved (:attr:`moves`)."""
        if self._packets:
            size = min(size, self._packets[0].size)
        return self.peek(size)

    def drop(self, size: int) -> None:
        """Remove bytes that have been looked at, and the rest of a packet; wake a writer and the next reader.

        Pollers hear of room where there was none: who asked for edges shall not see one with each read.
        """
        drops = self._packets[0].size if size and self._packets and self._packets[0].packet else size
        was_full = self.full
        lib.pysc_pipe_drop(self._c, drops)
        if drops and self._packets:
            self._packets[0].size -= drops
            if not self._packets[0].size:
                self._packets.popleft()
            self._c.packets = bool(self._packets)
        if not self.full:
            self.write_wait.wake(1)
            if was_full:
                self.write_poll.wake_all(OUT)
        if len(self):
            self._wake_reader()
        if not size:  # they may have come back from a reader that could not store them
            self.read_poll.wake_all(IN)

    def peek(self, size: int) -> bytes:
        """Return up to ``size`` bytes and leave them (tee(2))."""
        size = min(size, len(self))
        buffer = ffi.new("unsigned char[]", size)
        lib.pysc_pipe_peek(self._c, buffer, size)
        data: bytes = ffi.buffer(buffer)[:]
        return data

    def opened(self, readable: bool, writable: bool) -> None:
        """One description more."""
        if readable:
            self._c.readers += 1
            self.reader_opens += 1
        if writable:
            self._c.writers += 1
            self.writer_opens += 1

    def closed(self, readable: bool, writable: bool) -> None:
        """One description less; what nobody can read any more is dropped with the last one."""
        self._c.readers -= readable
        self._c.writers -= writable
        if not self.readers or not self.writers:
            objects.rouse(self._c)
        if not self.readers and not self.writers:
            lib.pysc_pipe_drop(self._c, len(self))
            self._packets.clear()
            self._c.packets = 0
        elif not self.readers or not self.writers:
            self.read_wait.wake_all()
            self.write_wait.wake_all()
            self.read_poll.wake_all(ENDS)
            self.write_poll.wake_all(ENDS)

    def resize(self, size: int, privileged: bool) -> int:
        """F_SETPIPE_SZ: round up to a power of two of pages.

        EINVAL; EPERM: over the limit; ENOMEM; EBUSY: it holds more.
        """
        if size > HARD_MAX_CAPACITY or size < 0:
            raise EINVAL
        capacity = max(PIPE_BUF, 1 << max(0, size - 1).bit_length())
        if capacity > MAX_CAPACITY and capacity > self.capacity and not privileged:
            raise EPERM
        if capacity > ALLOCATED_MAX:
            raise ENOMEM
        if len(self) > capacity:
            raise EBUSY
        self._c.capacity = capacity
        if not self.full:
            self.write_wait.wake_all()
            self.write_poll.wake_all(OUT)
        return capacity


class Segment:
    """Bytes in a pipe that was used in packet mode: one packet, or what was written plainly between two."""

    __slots__ = ("packet", "size")

    def __init__(self, size: int, packet: bool) -> None:
        self.size = size
        self.packet = packet


class PipeFile(AnonymousFile):
    """One end of a pipe, or both (a FIFO opened O_RDWR).

    ``writers_seen`` is the pipe's ``writer_opens`` when a FIFO was opened without a writer: no POLLHUP until one came.
    """

    __slots__ = ("pipe", "writers_seen")

    kind = b"pipe"
    magic = PIPEFS_MAGIC
    tells = True
    mode = S_IFIFO | 0o600

    def __init__(self, pipe: Pipe, flags: int, owner: Owner = ROOT, path: Path | None = None) -> None:
        super().__init__(flags, owner, pipe.ino)
        self.path = path
        self.pipe = pipe
        self.writers_seen = -1
        pipe.opened(self.readable, self.writable)
        self._c.flushes = path is not None
        self.serve(lib.PYSC_FILE_PIPE, pipe.index, pipe.generation)

    @property
    def locks(self) -> FileLocks | None:
        return self.pipe.locks if self.path is None else super().locks

    def release(self) -> None:
        self.pipe.closed(self.readable, self.writable)

    async def reopen(self, flags: int) -> FileDescription:
        """Open the pipe again, by /proc/PID/fd; unlike a FIFO it waits for nobody."""
        return PipeFile(self.pipe, flags, self.owner)

    async def wait_bytes(self, nonblock: bool) -> int:
        """Wait for bytes, and return how many there are; 0 once there are no writers either.  EAGAIN."""
        pipe = self.pipe
        while not len(pipe):
            if not pipe.writers:
                return 0
            if nonblock:
                raise EAGAIN
            pipe.watch(lib.PYSC_WAITS_BYTES)
            await park(pipe.read_wait)
        return len(pipe)

    async def wait_room(self, nonblock: bool) -> int:
        """Wait until it is not full any more, and return how many bytes fit.  EAGAIN; EPIPE, with SIGPIPE."""
        pipe = self.pipe
        waited = False
        while pipe.readers:
            if not pipe.full:
                if waited:
                    pipe.write_wait.wake(1)  # nothing may be written, after all
                return pipe.room
            if nonblock:
                raise EAGAIN
            waited = True
            pipe.watch(lib.PYSC_WAITS_ROOM)
            await park(pipe.write_wait)
        broken_pipe(await current_owner())
        raise EPIPE

    async def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; b"" once there are neither bytes nor writers."""
        if not size or not await self.wait_bytes(self.nonblock):
            return b""
        return self.pipe.take(size)

    async def write(self, data: bytes) -> int:
        """All of ``data``, at once if it is no more than PIPE_BUF.  EPIPE, with SIGPIPE."""
        pipe, total, done = self.pipe, len(data), 0
        packet = bool(self.flags & O_DIRECT)
        view = memoryview(data)
        while done < total:
            if not pipe.readers:
                broken_pipe(await current_owner())
                if done:
                    return done
                raise EPIPE
            size = min(PIPE_BUF, total - done) if packet else total - done
            room = pipe.room
            if room >= size or (room and not packet and total > PIPE_BUF):
                part = data if size == total and room >= size else view[done : done + min(size, room)]
                pipe.append(part, packet)
                done += len(part)
            elif self.nonblock:
                if done:
                    return done
                raise EAGAIN
            else:
                pipe.watch(lib.PYSC_WAITS_ROOM)
                try:
                    await park(pipe.write_wait)
                except Interrupted as interrupted:
                    interrupted.moved = done
                    raise
        if total and not pipe.full:
            pipe.write_wait.wake(1)  # the wake that came to this writer may have been for more room than it used
        return done

    def poll(self) -> int:
        pipe, events = self.pipe, 0
        if self.readable:
            if len(pipe):
                events |= IN
            if not pipe.writers and pipe.writer_opens != self.writers_seen:
                events |= POLLHUP
        if self.writable:
            if not pipe.full:
                events |= OUT
            if not pipe.readers:
                events |= POLLERR
        return events

    def queues(self) -> tuple[WaitQueue, ...]:
        pipe = self.pipe
        if not self.writable:
            pipe.watch(lib.PYSC_WAITS_POLL)
            return (pipe.read_poll,)
        if not self.readable:
            pipe.watch(lib.PYSC_WAITS_POLL_ROOM)
            return (pipe.write_poll,)
        pipe.watch(lib.PYSC_WAITS_POLL | lib.PYSC_WAITS_POLL_ROOM)
        return pipe.read_poll, pipe.write_poll

    async def attributes(self) -> Attributes:
        return await (super().attributes() if self.path is None else self.path.inode.attributes())

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        if request != FIONREAD:
            raise ENOTTY
        task.put(argument, len(self.pipe).to_bytes(4, "little"))
        return 0


def broken_pipe(task: Task | None) -> None:
    """Send SIGPIPE to a task that writes to what nobody reads."""
    from pysc.sentry.kernel.signals import SigInfo, send_signal

    if task is not None:
        send_signal(task, SigInfo.kill(SIGPIPE, task.group.tgid, task.creds.uid))


def make_pipe(flags: int, owner: Owner = ROOT) -> tuple[PipeFile, PipeFile]:
    """Return the reading and the writing end of a new pipe; ``flags`` are O_NONBLOCK, O_DIRECT."""
    pipe = Pipe()
    return PipeFile(pipe, O_RDONLY | flags, owner), PipeFile(pipe, O_WRONLY | flags, owner)


async def open_fifo(pipe: Pipe, flags: int, path: Path | None) -> PipeFile:
    """Open a FIFO (fifo(7)): wait for the other side, unless O_NONBLOCK or O_RDWR.

    Raises:
        ENXIO: O_WRONLY|O_NONBLOCK and nobody reads.
    """
    mode = flags & O_ACCMODE
    named = path is not None  # a pipe of pipe(2), opened through /proc/PID/fd, is there without the other side
    if named and mode == O_WRONLY and flags & O_NONBLOCK and not pipe.readers:
        raise ENXIO
    file = PipeFile(pipe, flags, path=path)
    pipe.open_wait.wake_all()
    if mode == O_RDWR or not named:
        return file
    try:
        if mode == O_RDONLY and not pipe.writers:
            if file.nonblock:
                file.writers_seen = pipe.writer_opens
            else:
                seen = pipe.writer_opens
                while pipe.writer_opens == seen:
                    await park(pipe.open_wait)
        elif mode == O_WRONLY and not pipe.readers:
            seen = pipe.reader_opens
            while pipe.reader_opens == seen:
                await park(pipe.open_wait)
    except BaseException:
        pipe.closed(file.readable, file.writable)
        raise
    return file
