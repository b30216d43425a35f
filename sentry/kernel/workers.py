"""Blocking host calls as awaitables of the kernel: the C workers, their results delivered by the platform's loop.

A wait for a worker is uninterruptible (kernel.md §4: Linux's D state), so descriptors and buffers of a call stay valid
as long as its caller keeps them.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

from pysc.cabi.linux.errors import EAGAIN, linux_error
from pysc.cabi.workers import Buffer, Op, Workers
from pysc.sentry.kernel.scheduler import Completion

EPOLLIN: Final = 0x1
THREADS: Final = 4
MAX_PROC_FILE: Final = 4 << 20


class Watcher(Protocol):
    """What :class:`pysc.sentry.platform.interface.Platform` is to us."""

    def watch(self, fd: int, events: int, callback: Any) -> None:
        """Call back whenever the descriptor is ready."""

    def unwatch(self, fd: int) -> None:
        """Undo it."""


class WorkerClient:
    """The kernel's pool of workers; made before lock-down.

    Every method returns what the host call does; its errno is raised as a LinuxError.
    """

    __slots__ = ("_asked", "_waiting", "_watcher", "_workers")

    def __init__(self, watcher: Watcher, threads: int = THREADS) -> None:
        self._workers = Workers(threads)
        self._watcher = watcher
        self._asked: dict[int, Completion[int]] = {}
        self._waiting: deque[tuple[Completion[int], Op, int, Buffer, dict[str, Any]]] = deque()
        watcher.watch(self._workers.fd, EPOLLIN, self._on_ready)

    async def pread(self, fd: int, size: int, offset: int, flags: int = 0) -> bytes:
        """preadv2(2); offset -1 is the descriptor's own."""
        buffer = bytearray(size)
        count = await self._call(Op.PREAD, fd, buffer, offset=offset, flags=flags)
        return bytes(memoryview(buffer)[:count])

    async def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int, flags: int = 0) -> int:
        """preadv2(2) into a buffer that is writable and stays the caller's."""
        return await self._call(Op.PREAD, fd, buffer, offset=offset, flags=flags)

    async def pwrite(self, fd: int, data: Buffer, offset: int, flags: int = 0) -> int:
        """pwritev2(2); offset -1 is the descriptor's own."""
        return await self._call(Op.PWRITE, fd, data, offset=offset, flags=flags)

    async def fsync(self, fd: int, *, data_only: bool = False) -> None:
        """fsync(2), fdatasync(2)."""
        await self._call(Op.FDATASYNC if data_only else Op.FSYNC, fd)

    async def open_read(self, dirfd: int, path: bytes, flags: int = 0) -> int:
        """As :func:`pysc.cabi.host.open_read_at`; the caller owns the descriptor."""
        return await self._call(Op.OPEN_READ, dirfd, path, flags=flags)

    async def read_file(self, dirfd: int, path: bytes, size: int = MAX_PROC_FILE, offset: int = 0) -> bytes:
        """Read a file of a procfs, ``b"123/maps"``: up to ``size`` bytes from ``offset`` on."""
        buffer = bytearray(size)
        count = await self._call(Op.READ_FILE, dirfd, buffer, offset=offset, path=path)
        return bytes(memoryview(buffer)[:count])

    async def read_link(self, dirfd: int, path: bytes) -> bytes:
        """readlinkat(2) in a procfs, ``b"123/exe"``."""
        buffer = bytearray(4096)
        count = await self._call(Op.READ_LINK, dirfd, buffer, path=path)
        return bytes(memoryview(buffer)[:count])

    async def vm_read(self, pid: int, address: int, size: int) -> bytes:
        """process_vm_readv(2): short at the first unmapped page.  EFAULT, ESRCH, EPERM."""
        buffer = bytearray(size)
        count = await self._call(Op.VM_READ, pid, buffer, offset=address)
        return bytes(memoryview(buffer)[:count])

    async def vm_write(self, pid: int, address: int, data: Buffer) -> int:
        """process_vm_writev(2): short at the first unmapped page.  EFAULT, ESRCH, EPERM."""
        return await self._call(Op.VM_WRITE, pid, data, offset=address)

    async def _call(self, op: Op, fd: int, buffer: Buffer = b"", **how: Any) -> int:
        completion: Completion[int] = Completion()
        self._waiting.append((completion, op, fd, buffer, how))
        self._pump()
        result = await completion
        if result < 0:
            raise linux_error(-result)
        return result

    def _pump(self) -> None:
        while self._waiting:
            completion, op, fd, buffer, how = self._waiting[0]
            try:
                id_ = self._workers.submit(op, fd, buffer, **how)
            except OSError as error:
                if error.errno == EAGAIN.errno:
                    return  # the next result makes room
                completion.fail(linux_error(error.errno or 0))
            else:
                self._asked[id_] = completion
            self._waiting.popleft()

    def _on_ready(self, _ready: int) -> None:
        for id_, result in self._workers.reap():
            self._asked.pop(id_).resolve(result)
        self._pump()

    def stop(self) -> None:
        """End the threads: when nothing is in work any more."""
        self._watcher.unwatch(self._workers.fd)
        self._workers.stop()
