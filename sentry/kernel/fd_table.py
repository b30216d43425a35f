"""Descriptor tables (struct files_struct): what CLONE_FILES shares."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EBADF, EMFILE
from pysc.sentry.fs.file import FileDescription

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

FD_MAX: Final = 1 << 20
"""Upper bound of any table (fs.nr_open)."""


class FDTable:
    """Descriptors to open file descriptions.

    Invariant: each number in ``_files`` holds one reference; ``_free`` is a heap of the free numbers below ``_next``,
    and may hold some that were taken since (skipped when they come up).
    """

    __slots__ = ("_cloexec", "_files", "_free", "_next", "lock_waits", "users")

    def __init__(self) -> None:
        self._files: dict[int, FileDescription] = {}
        self._cloexec: set[int] = set()
        self._free: list[int] = []
        self._next = 0
        self.users = 1
        """Tasks that share the table."""
        self.lock_waits: list[object] = []
        """Owners of the POSIX locks that tasks of this table wait for (locks.py)."""

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, fd: int) -> bool:
        """Whether the number is open."""
        return fd in self._files

    def __iter__(self) -> Iterator[int]:
        """Iterate the open numbers, ascending, as they are now."""
        return iter(sorted(self._files))

    def get(self, fd: int) -> FileDescription:
        """Return the description (borrowed: take a reference before any await).  EBADF."""
        try:
            return self._files[fd]
        except KeyError:
            raise EBADF from None

    def install(self, file: FileDescription, limit: int, *, cloexec: bool = False, lowest: int = 0) -> int:
        """Give ``file`` the lowest free number from ``lowest`` on; takes a reference.  EMFILE at ``limit``."""
        fd = self._lowest_free(lowest)
        if fd >= min(limit, FD_MAX):
            if fd < self._next:
                heapq.heappush(self._free, fd)
            raise EMFILE
        self._put(fd, file, cloexec)
        return fd

    def replace(self, task: Task, fd: int, file: FileDescription, limit: int, *, cloexec: bool = False) -> None:
        """Make ``fd`` refer to ``file``, closing what was there (dup2(2)).  EBADF at ``limit``."""
        if not 0 <= fd < min(limit, FD_MAX):
            raise EBADF
        file.get()
        try:
            self.close(task, fd)
        except EBADF:
            pass
        self._put(fd, file, cloexec)
        file.put()

    def close(self, task: Task, fd: int) -> None:
        """close(2) of one number.  EBADF."""
        file = self._files.pop(fd, None)
        if file is None:
            raise EBADF
        self._cloexec.discard(fd)
        heapq.heappush(self._free, fd)
        file.flush(task)
        file.put()

    def cloexec(self, fd: int) -> bool:
        """Whether FD_CLOEXEC is set.  EBADF."""
        self.get(fd)
        return fd in self._cloexec

    def set_cloexec(self, fd: int, value: bool) -> None:
        """Set or clear FD_CLOEXEC.  EBADF."""
        self.get(fd)
        (self._cloexec.add if value else self._cloexec.discard)(fd)

    def copy(self) -> FDTable:
        """Return an unshared copy (fork)."""
        table = FDTable()
        table._files = dict(self._files)
        table._cloexec = set(self._cloexec)
        table._free = list(self._free)
        table._next = self._next
        for file in table._files.values():
            file.get()
        return table

    def close_on_exec(self, task: Task) -> None:
        """Close what has FD_CLOEXEC."""
        for fd in sorted(self._cloexec):
            self.close(task, fd)

    def leave(self, task: Task) -> None:
        """One user less; the last one closes everything."""
        self.users -= 1
        if self.users == 0:
            for fd in sorted(self._files):
                self.close(task, fd)

    def _put(self, fd: int, file: FileDescription, cloexec: bool) -> None:
        for number in range(self._next, fd):
            heapq.heappush(self._free, number)
        self._next = max(self._next, fd + 1)
        file.get()
        self._files[fd] = file
        if cloexec:
            self._cloexec.add(fd)

    def _lowest_free(self, lowest: int) -> int:
        skipped = []
        found = -1
        while self._free:
            fd = heapq.heappop(self._free)
            if fd in self._files:
                continue
            if fd >= lowest:
                found = fd
                break
            skipped.append(fd)
        for fd in skipped:
            heapq.heappush(self._free, fd)
        return found if found >= 0 else max(self._next, lowest)
