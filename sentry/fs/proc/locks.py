"""/proc/locks (proc_locks(5)): the locks of all files that processes have open."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Iterator
from os import major, minor
from typing import TYPE_CHECKING, Any, Final

from pysc.sentry.fs.proc.base import Source
from pysc.sentry.kernel.host_locks import END
from pysc.sentry.kernel.scheduler import yield_now

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.task import Task

AT_ONCE: Final = 256
"""Descriptors, or locks, that are looked at between two yields."""


class Locks(Source):
    """The text.  Who has a whole-file lock is the first process that is found with the description."""

    __slots__ = ()

    def text(self, reader: Task) -> Coroutine[Any, Any, bytes]:
        return _text(reader.kernel)


async def _text(kernel: Kernel) -> bytes:
    locked: dict[Inode, dict[object, int]] = {}
    looked = 0
    for group in list(kernel.groups.values()):
        tables = {id(task.fds): task.fds for task in group.tasks.values()}
        for table in tables.values():
            for fd in table:
                file = table.get_raw(fd)
                if file.path is not None and file.path.inode.locks is not None:
                    locked.setdefault(file.path.inode, {}).setdefault(file, group.tgid)
                looked += 1
                if looked % AT_ONCE == 0:
                    await yield_now()
    lines = []
    for inode, holders in locked.items():
        for _owner, line in _lines(inode, holders):
            lines.append(line)
            if len(lines) % AT_ONCE == 0:
                await yield_now()
    return b"".join(_numbered(lines))


def locks_held(task: Task, file: FileDescription) -> Iterator[bytes]:
    """Return what /proc/PID/fdinfo says of those that are held by a description, or by the process on its file."""
    if file.path is not None and file.path.inode.locks is not None:
        lines = _lines(file.path.inode, {file: task.group.tgid})
        ours = (file.lock_owner, task.fds.lock_owner)
        yield from _numbered(line for owner, line in lines if owner in ours)


def _numbered(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (b"%d: %s\n" % numbered for numbered in enumerate(lines, 1))


def _lines(inode: Inode, holders: dict[object, int]) -> Iterator[tuple[int, bytes]]:
    """Yield the ``lock_owner`` of each lock, and what is said of it."""
    assert inode.locks is not None
    place = b"%02x:%02x:%d" % (major(inode.fs.dev), minor(inode.fs.dev), inode.ino)
    for owner, exclusive in inode.locks.whole():
        yield owner.lock_owner, _line(b"FLOCK", exclusive, holders.get(owner, 0), place, 0, END)
    for lock in inode.locks.records():
        kind = b"POSIX" if lock.is_posix else b"OFDLCK"
        yield lock.owner, _line(kind, lock.exclusive, lock.pid, place, lock.start, lock.end)


def _line(kind: bytes, exclusive: bool, pid: int, place: bytes, start: int, end: int) -> bytes:
    last = b"EOF" if end == END else b"%d" % end
    mode = b"WRITE" if exclusive else b"READ"
    return b"%-6s ADVISORY  %-5s %d %s %d %s" % (kind, mode, pid, place, start, last)
