"""Contents of files that live in the sentry's memory: in their structure while small, then, or once mapped, a memfd.

What is stored is charged to budgets in pages; ENOSPC when one is exhausted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fcntl import fcntl
from typing import Any, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import EINVAL, ENOSPC, EOPNOTSUPP, EPERM
from pysc.cabi.linux.fcntl import (
    F_ADD_SEALS,
    F_SEAL_EXEC,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
)
from pysc.sentry.fs.data import Data
from pysc.sentry.fs.hostproc import reopen_read_only

PAGE: Final = 4096
SMALL: Final = 1 << 16
"""Up to here contents are in the structure (SMALL_FILE of fast_regular.c)."""
STEP: Final = 1 << 18


def pages(size: int) -> int:
    """Return how many pages hold ``size`` bytes."""
    return -(-size // PAGE)


class Budget:
    """Pages that may be used, and are; a charge goes to all budgets above, too.  The face of a struct pysc_budget."""

    __slots__ = ("_c", "index", "parent")

    def __init__(self, limit: int, parent: Budget | None = None) -> None:
        self.index = objects.new(objects.BUDGET)
        self._c: Any = lib.pysc_budget_at(objects.OBJECTS, self.index)
        self._c.limit = limit
        self._c.parent = 0 if parent is None else parent.index + 1
        self.parent = parent

    def __del__(self, free: Callable[[int], None] = objects.free_budget) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    @property
    def limit(self) -> int:
        """How many there may be."""
        value: int = self._c.limit
        return value

    @property
    def used(self) -> int:
        """How many there are."""
        value: int = self._c.used
        return value

    @property
    def generation(self) -> int:
        """What tells it from others that had the index."""
        value: int = self._c.header.generation
        return value

    @property
    def free(self) -> int:
        """Pages left, here and above."""
        return lib.pysc_budget_free(objects.OBJECTS, self._c)

    def charge(self, count: int) -> None:
        """Take pages (negative: give back).  ENOSPC."""
        if count > 0 and count > self.free:
            raise ENOSPC
        self.note(count)

    def note(self, count: int) -> None:
        """Take pages that are already in use, whatever the limit says."""
        lib.pysc_budget_note(objects.OBJECTS, self._c, count)


UNLIMITED_BUDGET: Final = Budget(1 << 62)
"""For what guests cannot make grow."""


class Contents:
    """The bytes of one file.

    Invariant: with a memfd nothing is in the structure itself; ``length`` is the size in both forms, ``charged`` what
    the budget has.
    """

    __slots__ = ("_budget", "_c", "_read_only", "data")

    def __init__(self, budget: Budget, seals: int = F_SEAL_SEAL) -> None:
        self.data = Data()
        self._budget = budget
        self._read_only = -1
        c = self._c = self.data.c
        c.where = lib.PYSC_DATA_MEMORY
        c.budget, c.budget_generation = budget.index, budget.generation
        c.seals = seals

    def __del__(
        self,
        close: Callable[[int], None] = os.close,
        note: Callable[[object, int], None] = objects.note_budget,
    ) -> None:
        if hasattr(self, "_c"):
            for fd in (self._fd, self._read_only):
                if fd >= 0:
                    close(fd)
            if self.charged:
                note(self._budget._c, -self.charged)

    @property
    def length(self) -> int:
        """The file's size."""
        value: int = self._c.length
        return value

    @property
    def charged(self) -> int:
        """Pages that the budget has for it."""
        value: int = self._c.charged
        return value

    @property
    def seals(self) -> int:
        """F_SEAL_*, enforced by the host's memfd and here."""
        value: int = self._c.seals
        return value

    @property
    def _fd(self) -> int:
        value: int = self._c.file
        return value

    def take_modified(self) -> int:
        """Return when a fast path wrote last, in ns since the epoch; 0: not since this was asked."""
        value: int = self._c.modified
        if value:
            self._c.modified = 0
        return value

    def let_write(self, allowed: bool) -> None:
        """Whether fast paths may write: a write changes nothing but the bytes, the size and the times."""
        self._c.writes_here = allowed

    def _small(self, start: int, end: int) -> Any:
        """Return a part of what is kept in the structure."""
        return ffi.buffer(self._c.small + start, end - start)

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes."""
        length = self.length
        if offset >= length:
            return b""
        if self._fd < 0:
            data: bytes = self._small(offset, min(offset + size, length))[:]
            return data
        return os.pread(self._fd, size, offset)

    def write(self, data: bytes, offset: int) -> int:
        """Store ``data``; return how much fitted, at least one byte.  ENOSPC; EPERM (seals)."""
        end = offset + len(data)
        if self.seals & F_SEAL_WRITE or (self.seals & F_SEAL_GROW and end > self.length):
            raise EPERM
        if not data:
            return 0
        if self._fd < 0 and end <= SMALL:
            self._charge(max(self.charged, pages(end)))
            self._grow(end)
            ffi.memmove(self._c.small + offset, data, len(data))
            self._c.length = max(self.length, end)
            return len(data)
        fd = self.memfd()
        room = self._budget.free * PAGE
        if room < len(data) + PAGE and not self._is_stored(offset, end):
            data = data[: room & ~(PAGE - 1)]
            if not data:
                raise ENOSPC
        written = os.pwrite(fd, data, offset)
        self._c.length = max(self.length, offset + written)
        self._recharge()
        return written

    def _grow(self, size: int) -> None:
        if lib.pysc_data_grow(self._c, size) < 0:
            raise ENOSPC

    def truncate(self, size: int) -> None:
        """Set the length.  EPERM (seals)."""
        if (size < self.length and self.seals & F_SEAL_SHRINK) or (size > self.length and self.seals & F_SEAL_GROW):
            raise EPERM
        if self._fd < 0 and size <= SMALL:
            self._charge(pages(size))
            length = self.length
            if size < length:
                self._small(size, length)[:] = bytes(length - size)
            else:
                self._grow(size)
        else:
            os.ftruncate(self.memfd(), size)
            self._recharge()
        self._c.length = size

    def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2): mode 0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE.  EOPNOTSUPP, ENOSPC, EPERM (seals)."""
        end = offset + length
        if mode not in (
            0,
            FALLOC_FL_KEEP_SIZE,
            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            FALLOC_FL_ZERO_RANGE,
            FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
        ):
            raise EOPNOTSUPP
        clears = bool(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        grows = not mode & FALLOC_FL_KEEP_SIZE and end > self.length
        if (clears and self.seals & F_SEAL_WRITE) or (grows and self.seals & F_SEAL_GROW):
            raise EPERM
        if pages(end) - pages(min(end, self.length)) > self._budget.free and not mode & FALLOC_FL_PUNCH_HOLE:
            raise ENOSPC
        if clears:
            self._clear(offset, min(end, self.length))
        if grows:
            self.truncate(end)
            if self._fd >= 0:
                os.posix_fallocate(self._fd, offset, length)
                self._recharge()

    def seek_data(self, offset: int, hole: bool) -> int:
        """Return the next data or hole from ``offset``, which is below the length.  OSError: ENXIO."""
        if self._fd < 0:
            return self.length if hole else offset
        return os.lseek(self._fd, offset, os.SEEK_HOLE if hole else os.SEEK_DATA)

    def add_seals(self, seals: int) -> None:
        """fcntl(F_ADD_SEALS).  EPERM; OSError: EBUSY."""
        if self.seals & F_SEAL_SEAL:
            raise EPERM
        if seals & ~(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC):
            raise EINVAL
        fcntl(self.memfd(), F_ADD_SEALS, seals & ~(F_SEAL_SEAL | F_SEAL_EXEC))
        self._c.seals |= seals

    def memfd(self) -> int:
        """Return the memfd (borrowed), which is made if need be."""
        if self._fd < 0:
            fd = os.memfd_create("pysc-file", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            if self.length:
                os.pwrite(fd, self._small(0, self.length)[:], 0)
            os.ftruncate(fd, self.length)
            self._c.file = fd
            lib.pysc_data_shrink(self._c)
            self._recharge()
        return self._fd

    def read_only_fd(self) -> int:
        """Return the memfd open for reading only (borrowed): what may be mapped by who may not write."""
        if self._read_only < 0:
            self._read_only = reopen_read_only(self.memfd())
            self.data.donate(self._read_only)
        return self._read_only

    def _clear(self, start: int, end: int) -> None:
        if self._fd < 0:
            if end > start:
                self._small(start, end)[:] = bytes(end - start)
            return
        for position in range(start, end, STEP):
            os.pwrite(self._fd, bytes(min(STEP, end - position)), position)

    def _is_stored(self, start: int, end: int) -> bool:
        return end <= self.length and os.lseek(self.memfd(), start, os.SEEK_HOLE) >= end

    def _charge(self, count: int) -> None:
        if count != self.charged:
            self._budget.charge(count - self.charged)
            self._c.charged = count
            self.data.touch()

    def _recharge(self) -> None:
        count = os.fstat(self._fd).st_blocks * 512 // PAGE
        self._budget.note(count - self.charged)
        self._c.charged = count
        self.data.touch()
