"""C threads that make blocking host calls: a thin typed face over ``cabi/shim/workers.c``.

The loop submits, watches :attr:`Workers.fd`, and reaps; it never waits here.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Any, Final

from pysc.cabi._shim import ffi, lib

_BATCH: Final = 64


class Op(IntEnum):
    """What a job does; the fields of :meth:`Workers.submit` that it uses."""

    PREAD = 1
    """fd, buffer, offset (-1: the descriptor's own), flags (RWF_*)."""
    PWRITE = 2
    """The same."""
    FSYNC = 3
    """fd."""
    FDATASYNC = 4
    """fd."""
    OPEN_READ = 5
    """As :func:`pysc.cabi.host.open_read_at` of ``path`` below fd: flags."""
    READ_FILE = 6
    """Open ``path`` below fd with flags, read from offset on until the buffer is full or the file ends, close."""
    VM_READ = 7
    """process_vm_readv(2): fd is the pid, offset the address there."""
    VM_WRITE = 8
    """process_vm_writev(2): the same."""
    READ_LINK = 9
    """readlinkat(2) of ``path`` below fd into the buffer."""
    STAT = 10
    """statx(2) of ``path`` below fd, no link followed, into the buffer: packed :class:`HostAttributes`."""
    LOOK = 11
    """The same; the result is the magic number of its file system, as statfs(2) has it."""
    STATFS = 12
    """As :func:`pysc.cabi.host.statfs` of fd: 10 words into the buffer."""
    LIST = 13
    """As :func:`pysc.cabi.host.list_packed` of fd: into the buffer the next cookie, whether all, then records."""
    SEEK = 14
    """lseek(2): fd, offset, flags (whence)."""
    CLOSE = 15
    """fd."""


Buffer = bytes | bytearray | memoryview


class Workers:
    """A pool of threads.  Make it after the last change of credentials and before the filter, which covers it, too."""

    __slots__ = ("_next_id", "_pool", "_results", "_used")

    def __init__(self, count: int) -> None:
        """Start ``count`` threads.

        Raises:
            OSError: EAGAIN, ENOMEM: there are no more threads to be had.
        """
        error = ffi.new("int32_t *")
        self._pool = lib.pysc_workers_start(count, error)
        if self._pool == ffi.NULL:
            raise OSError(error[0], os.strerror(error[0]))
        self._results = ffi.new("struct pysc_result[]", _BATCH)
        self._next_id = 0
        self._used: dict[int, Any] = {}  # what a job in work points to

    @property
    def fd(self) -> int:
        """The eventfd that is readable while there are results."""
        return int(lib.pysc_workers_fd(self._pool))

    @property
    def outstanding(self) -> int:
        """Jobs that were submitted and not reaped."""
        return len(self._used)

    def submit(
        self, op: Op, fd: int, buffer: Buffer = b"", *, offset: int = 0, flags: int = 0, path: bytes = b""
    ) -> int:
        """Hand a job to the threads; return its id.  Buffer and path are kept alive until the result is reaped.

        Raises:
            OSError: EAGAIN: 1024 jobs are outstanding; EINVAL: the buffer is too small for what the operation stores.
        """
        id_ = self._next_id
        pointer = ffi.from_buffer(buffer)
        name = ffi.from_buffer(path)
        job = ffi.new("struct pysc_job *")
        job.id = id_
        job.address = int(ffi.cast("uintptr_t", pointer))
        job.size = len(pointer)
        job.offset = offset - (1 << 64) if offset >= 1 << 63 else offset
        job.op = op
        job.fd = fd
        job.flags = flags
        job.path_length = len(path)
        job.path = int(ffi.cast("uintptr_t", name))
        error = lib.pysc_workers_submit(self._pool, job)
        if error:
            raise OSError(-error, os.strerror(-error))
        self._next_id = id_ + 1
        self._used[id_] = (pointer, name)
        return id_

    def reap(self) -> list[tuple[int, int, int]]:
        """Return some of what is done: (id, the call's result or -errno, the nanoseconds that it took).

        More may be left: the eventfd tells.
        """
        count = lib.pysc_workers_reap(self._pool, self._results, _BATCH)
        reaped = []
        for result in self._results[0:count]:
            del self._used[result.id]
            reaped.append((result.id, result.result, result.took))
        return reaped

    def stop(self) -> None:
        """End the threads; one that is inside a call is waited for."""
        lib.pysc_workers_stop(self._pool)
        self._pool = ffi.NULL
        self._used.clear()
