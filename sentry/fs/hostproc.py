"""The sentry's own procfs: it shows the guests' host processes and the sentry's descriptors, nothing else.

Opened before lock-down, since no path can be named afterwards.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from pysc.sentry.hostfds import NONE, Held, HostFd, Of, hold

if TYPE_CHECKING:
    from pysc.sentry.kernel.workers import WorkerClient

CHUNK: Final = 1 << 16


class _Opened:
    __slots__ = ()

    proc = NONE
    descriptors = NONE


def prepare() -> int:
    """Open what is needed after lock-down; return the directory below which the filter must let links be followed."""
    if _Opened.proc < 0:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        _Opened.proc = hold(os.open("/proc", flags), Held(Of.OWN))
        _Opened.descriptors = hold(os.open("/proc/self/fd", flags), Held(Of.OWN))
    return _Opened.descriptors


def read(path: str) -> bytes:
    """Return a file below /proc.  OSError."""
    prepare()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=_Opened.proc)
    try:
        parts = []
        while part := os.read(fd, CHUNK):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def sleeps(pid: int, tid: int) -> bool:
    """Return whether a guest's thread sleeps; false if it is gone.  stat takes no lock that a guest could hold."""
    try:
        return read(f"{pid}/task/{tid}/stat").rpartition(b")")[2][1:2] == b"S"
    except OSError:
        return False


def reopen_read_only(fd: int) -> HostFd:
    """Return a new descriptor of the same file in memory, open for reading only."""
    return hold(os.open(b"%d" % fd, os.O_RDONLY | os.O_CLOEXEC, dir_fd=prepare()), Held(Of.MEMORY))


async def read_file(workers: WorkerClient, path: bytes, size: int, offset: int = 0) -> bytes:
    """Return up to ``size`` bytes of a file below /proc, which may take a while: a guest can hold its memory's lock."""
    prepare()
    return await workers.read_file(_Opened.proc, path, size, offset)
