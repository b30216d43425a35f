"""Blocking host calls as awaitables of the kernel: the C workers, their results delivered by the platform's loop.

A wait for a worker is uninterruptible (kernel.md §4: Linux's D state), so descriptors and buffers of a call stay valid
as long as its caller keeps them.  Where a call may take long, its caller is a routine of the kernel's own, for which a
task waits :meth:`~WorkerClient.killably`.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from pysc.cabi.linux.attributes import ATTRIBUTES_SIZE, HostAttributes
from pysc.cabi.linux.errors import EAGAIN, linux_error
from pysc.cabi.linux.poll import EPOLLIN
from pysc.cabi.workers import Buffer, Op, Workers
from pysc.sentry.hostfds import Held, Of, hold, let_go
from pysc.sentry.kernel.scheduler import Completion, Scheduler, killably

T = TypeVar("T")
THREADS: Final = 8
MOST_OF_ONE: Final = THREADS // 2
"""Calls on one slow file system that are in work at once: the other threads are for all else."""
_STATISTICS: Final = struct.Struct("=10Q")
_LISTED: Final = struct.Struct("=QQ")
MAX_PROC_FILE: Final = 4 << 20


class Watcher(Protocol):
    """What :class:`pysc.sentry.platform.interface.Platform` is to us."""

    def watch(self, fd: int, events: int, callback: Any) -> None:
        """Call back whenever the descriptor is ready."""

    def unwatch(self, fd: int) -> None:
        """Undo it."""


class _Job(NamedTuple):
    completion: Completion[int]
    lane: Lane
    op: Op
    fd: int
    buffer: Buffer
    how: dict[str, Any]


class Lane:
    """What waits for the same: of its calls no more than ``most`` are in work at once, and the others in order."""

    __slots__ = ("in_work", "most", "waiting")

    def __init__(self, most: int = MOST_OF_ONE) -> None:
        self.most = most
        self.in_work = 0
        self.waiting: deque[_Job] = deque()

    def note(self, op: Op, took: int) -> None:
        """Hear how many nanoseconds a call has taken."""


class WorkerClient:
    """The kernel's pool of workers; made before lock-down.

    Every method returns what the host call does; its errno is raised as a LinuxError.  ``lane`` is that of the file
    system, where the call is on one that may be slow.
    """

    __slots__ = ("_asked", "_held_up", "_lane", "_results", "_scheduler", "_watcher", "_workers")

    def __init__(self, watcher: Watcher, scheduler: Scheduler, threads: int = THREADS) -> None:
        self._workers: Workers | None = Workers(threads)
        self._watcher = watcher
        self._scheduler = scheduler
        self._asked: dict[int, _Job] = {}
        self._lane = Lane(1 << 30)
        self._held_up: dict[Lane, None] = {}
        """Lanes that the next result makes room for."""
        self._results = hold(self._workers.fd, Held(Of.OWN))
        watcher.watch(self._workers.fd, EPOLLIN, self._on_ready)

    async def killably(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await ``coroutine``, which makes calls here and holds what they need, unless the caller is killed."""
        return await killably(self._scheduler, coroutine)

    async def pread(self, fd: int, size: int, offset: int, flags: int = 0, *, lane: Lane | None = None) -> bytes:
        """preadv2(2); offset -1 is the descriptor's own."""
        buffer = bytearray(size)
        count = await self._call(Op.PREAD, fd, buffer, lane, offset=offset, flags=flags)
        return bytes(memoryview(buffer)[:count])

    async def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int, flags: int = 0) -> int:
        """preadv2(2) into a buffer that is writable and stays the caller's."""
        return await self._call(Op.PREAD, fd, buffer, offset=offset, flags=flags)

    async def pwrite(self, fd: int, data: Buffer, offset: int, flags: int = 0, *, lane: Lane | None = None) -> int:
        """pwritev2(2); offset -1 is the descriptor's own."""
        return await self._call(Op.PWRITE, fd, data, lane, offset=offset, flags=flags)

    async def fsync(self, fd: int, *, data_only: bool = False, lane: Lane | None = None) -> None:
        """fsync(2), fdatasync(2)."""
        await self._call(Op.FDATASYNC if data_only else Op.FSYNC, fd, b"", lane)

    async def seek(self, fd: int, offset: int, whence: int, *, lane: Lane | None = None) -> int:
        """lseek(2)."""
        return await self._call(Op.SEEK, fd, b"", lane, offset=offset, flags=whence)

    async def stat(self, dirfd: int, path: bytes = b"", *, lane: Lane | None = None) -> HostAttributes:
        """As :func:`pysc.cabi.host.stat_at`."""
        buffer = bytearray(ATTRIBUTES_SIZE)
        await self._call(Op.STAT, dirfd, buffer, lane, path=path)
        return HostAttributes.unpack_from(buffer)

    async def look(self, dirfd: int, path: bytes) -> int:
        """Return the magic number of the file system there, as statfs(2) has it."""
        return await self._call(Op.LOOK, dirfd, bytearray(ATTRIBUTES_SIZE), path=path)

    async def statfs(self, fd: int, *, lane: Lane | None = None) -> tuple[int, ...]:
        """As :func:`pysc.cabi.host.statfs`."""
        buffer = bytearray(_STATISTICS.size)
        await self._call(Op.STATFS, fd, buffer, lane)
        return _STATISTICS.unpack(buffer)

    async def list(self, fd: int, cookie: int, size: int, *, lane: Lane | None = None) -> tuple[bytes, int, bool]:
        """As :func:`pysc.cabi.host.list_packed`, without attributes."""
        buffer = bytearray(_LISTED.size + size)
        used = await self._call(Op.LIST, fd, buffer, lane, offset=cookie)
        next_cookie, end = _LISTED.unpack_from(buffer)
        return bytes(memoryview(buffer)[_LISTED.size : _LISTED.size + used]), next_cookie, bool(end)

    async def open_read(self, dirfd: int, path: bytes, flags: int = 0, *, lane: Lane | None = None) -> int:
        """As :func:`pysc.cabi.host.open_read_at`; the caller owns the descriptor."""
        return await self._call(Op.OPEN_READ, dirfd, b"", lane, flags=flags, path=path)

    def close(self, fd: int, *, lane: Lane | None = None) -> None:
        """Have a descriptor closed; nobody waits for that."""
        if self._workers is None:
            os.close(fd)
        else:
            self._submit(Op.CLOSE, fd, b"", lane, {})

    async def read_file(self, dirfd: int, path: bytes, size: int = MAX_PROC_FILE, offset: int = 0) -> bytes:
        """Read a file of a procfs, ``b"123/maps"``: up to ``size`` bytes from ``offset`` on."""
        buffer = bytearray(size)
        count = await self._call(Op.READ_FILE, dirfd, buffer, offset=offset, path=path)
        return bytes(memoryview(buffer)[:count])

    async def read_link(self, dirfd: int, path: bytes, *, lane: Lane | None = None) -> bytes:
        """As :func:`pysc.cabi.host.read_link_at`."""
        buffer = bytearray(4096)
        count = await self._call(Op.READ_LINK, dirfd, buffer, lane, path=path)
        return bytes(memoryview(buffer)[:count])

    async def vm_read(self, pid: int, address: int, size: int) -> bytes:
        """process_vm_readv(2): short at the first unmapped page.  EFAULT, ESRCH, EPERM."""
        buffer = bytearray(size)
        count = await self._call(Op.VM_READ, pid, buffer, offset=address)
        return bytes(memoryview(buffer)[:count])

    async def vm_write(self, pid: int, address: int, data: Buffer) -> int:
        """process_vm_writev(2): short at the first unmapped page.  EFAULT, ESRCH, EPERM."""
        return await self._call(Op.VM_WRITE, pid, data, offset=address)

    async def _call(self, op: Op, fd: int, buffer: Buffer = b"", lane: Lane | None = None, **how: Any) -> int:
        result = await self._submit(op, fd, buffer, lane, how)
        if result < 0:
            raise linux_error(-result)
        return result

    def _submit(self, op: Op, fd: int, buffer: Buffer, lane: Lane | None, how: dict[str, Any]) -> Completion[int]:
        if lane is None:
            lane = self._lane
        job = _Job(Completion(), lane, op, fd, buffer, how)
        lane.waiting.append(job)
        self._pump(lane)
        return job.completion

    def _pump(self, lane: Lane) -> None:
        assert self._workers is not None
        while lane.waiting and lane.in_work < lane.most:
            job = lane.waiting[0]
            try:
                id_ = self._workers.submit(job.op, job.fd, job.buffer, **job.how)
            except OSError as error:
                if error.errno == EAGAIN.errno:
                    self._held_up[lane] = None
                    return
                job.completion.fail(linux_error(error.errno or 0))
            else:
                self._asked[id_] = job
                lane.in_work += 1
            lane.waiting.popleft()

    def _on_ready(self, _ready: int) -> None:
        assert self._workers is not None
        for id_, result, took in self._workers.reap():
            job = self._asked.pop(id_)
            job.lane.in_work -= 1
            job.lane.note(job.op, took)
            job.completion.resolve(result)
            if job.lane.waiting:
                self._held_up[job.lane] = None
        held_up, self._held_up = self._held_up, {}
        for lane in held_up:
            self._pump(lane)

    def stop(self) -> None:
        """End the threads: when nothing is in work any more."""
        assert self._workers is not None
        self._watcher.unwatch(let_go(self._results))
        self._workers.stop()
        self._workers = None
