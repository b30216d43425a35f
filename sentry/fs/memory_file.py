"""Contents of files that live in the sentry's memory: in their structure while small, then, or once mapped, a memfd.

Those of segments of shared memory, too.  What is stored is charged to budgets in pages; ENOSPC when one is exhausted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fcntl import fcntl
from typing import Any, Final

from pysc.cabi import host, objects
from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import EINVAL, ENOSPC, ENXIO, EOPNOTSUPP, EPERM
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
from pysc.cabi.linux.limits import PAGE
from pysc.sentry.fs.data import Data
from pysc.sentry.fs.hostproc import reopen_read_only
from pysc.sentry.hostfds import NONE, Held, HostFd, Of, hold
from pysc.sentry.hostfds import close as close_held

SMALL: Final = 1 << 16
"""Up to here contents are in the structure (SMALL_FILE of fast_regular.c)."""
EXTENTS: Final = 256
"""How many are looked at."""


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

    __slots__ = ("_budget", "_c", "_read_only", "_reserved", "data")

    def __init__(self, budget: Budget, seals: int = F_SEAL_SEAL) -> None:
        self.data = Data()
        self._budget = budget
        self._read_only = NONE
        self._reserved = (0, 0)
        """From where to where all pages are there, since fallocate(2) was asked for them last."""
        c = self._c = self.data.c
        c.where = lib.PYSC_DATA_MEMORY
        c.budget, c.budget_generation = budget.index, budget.generation
        c.seals = seals

    def __del__(
        self,
        close: Callable[[HostFd], None] = close_held,
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
    def stored(self) -> int:
        """Bytes of the pages that are there, those that were written by mappings, too."""
        if self._fd >= 0:
            return os.fstat(self._fd).st_blocks * 512
        here: int = self._c.stored
        return here.bit_count() * PAGE

    @property
    def seals(self) -> int:
        """F_SEAL_*, enforced by the host's memfd and here."""
        value: int = self._c.seals
        return value

    @property
    def _fd(self) -> HostFd:
        value: HostFd = self._c.file
        return value

    @_fd.setter
    def _fd(self, fd: HostFd) -> None:
        """In another process (pysc.sentry.state) the structure has had none yet.  EINVAL: it has one, or needs none."""
        if fd >= 0:
            objects.answered(lib.pysc_data_set_file(self._c, fd))

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
            self._c.stored |= lib.pysc_data_pages(offset, end)
            self._c.length = max(self.length, end)
            return len(data)
        fd = self.memfd()
        room = self._budget.free * PAGE
        if room < len(data) + PAGE and not self._is_stored(offset, end):
            first, last = self._reserved
            data = data[: max(room & -PAGE, last - offset if first <= offset else 0)]
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
        self._release(size, self._reserved[1])
        if (size < self.length and self.seals & F_SEAL_SHRINK) or (size > self.length and self.seals & F_SEAL_GROW):
            raise EPERM
        if self._fd < 0 and size <= SMALL:
            self._charge(pages(size))
            length = self.length
            if size < length:
                self._small(size, length)[:] = bytes(length - size)
                self._c.stored &= lib.pysc_data_pages(0, size) if size else 0
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
        if not mode & FALLOC_FL_PUNCH_HOLE and self._missing(offset, end) > self._budget.free:
            raise ENOSPC
        if clears:
            self._punch(offset, end)
        if not mode & FALLOC_FL_PUNCH_HOLE:
            self._reserve(offset, end)
            if grows:
                self.truncate(end)

    def _missing(self, start: int, end: int) -> int:
        """Return how many pages there are none of yet, or more."""
        if self._fd < 0:
            return pages(end) - self.charged
        missing = pages(end) - start // PAGE
        for _ in range(EXTENTS):
            if start >= min(end, self.length):
                break
            try:
                start = os.lseek(self._fd, start, os.SEEK_DATA)
            except OSError:  # ENXIO: no more
                break
            hole = min(os.lseek(self._fd, start, os.SEEK_HOLE), end)
            missing -= max(0, pages(hole) - start // PAGE)
            start = hole
        return missing

    def _punch(self, start: int, end: int) -> None:
        """Make a hole, as far as that is whole pages; zeros around it."""
        self._release(start, end)
        if self._fd >= 0 or pages(start) < end // PAGE:
            host.allocate(self.memfd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start)
            self._recharge()
        elif start < min(end, self.length):
            end = min(end, self.length)
            self._small(start, end)[:] = bytes(end - start)

    def _reserve(self, start: int, end: int) -> None:
        """Make all pages be there, whatever the length is."""
        if self._fd < 0 and end <= SMALL:
            self._charge(max(self.charged, pages(end)))
            self._grow(end)
            return
        host.allocate(self.memfd(), FALLOC_FL_KEEP_SIZE, start, end - start)
        self._recharge()
        first, last = self._reserved
        overlap = start <= last and first <= end and first < last
        self._reserved = (min(first, start), max(last, end)) if overlap else (start, end)

    def _release(self, start: int, end: int) -> None:
        """Pages from ``start`` to ``end`` may be missing again."""
        first, last = self._reserved
        if start < last and first < end:
            self._reserved = (first, start) if start > first else (min(end, last), last)

    def seek_data(self, offset: int, hole: bool) -> int:
        """Return the next data or hole from ``offset``, which is below the length.  OSError, ENXIO."""
        if self._fd >= 0:
            return os.lseek(self._fd, offset, os.SEEK_HOLE if hole else os.SEEK_DATA)
        for page in range(offset // PAGE, pages(self.length)):
            if bool(self._c.stored >> page & 1) is not hole:
                return max(offset, page * PAGE)
        if hole:
            return self.length
        raise ENXIO

    def add_seals(self, seals: int) -> None:
        """fcntl(F_ADD_SEALS).  EPERM; OSError: EBUSY."""
        if self.seals & F_SEAL_SEAL:
            raise EPERM
        if seals & ~(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC):
            raise EINVAL
        fcntl(self.memfd(), F_ADD_SEALS, seals & ~(F_SEAL_SEAL | F_SEAL_EXEC))
        self._c.seals |= seals

    def memfd(self) -> int:
        """Return the memfd (borrowed), which is made if need be.  ENFILE."""
        if self._fd < 0:
            fd = hold(os.memfd_create("pysc-file", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), Held(Of.MEMORY))
            for start in range(0, self.length, PAGE):
                if self._c.stored >> start // PAGE & 1:
                    os.pwrite(fd, self._small(start, min(start + PAGE, self.length))[:], start)
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
