"""Contents of files that live in the sentry's memory: a bytearray while small, a memfd from then on or once mapped.

What is stored is charged to budgets in pages; ENOSPC when one is exhausted.
"""

from __future__ import annotations

import os
from fcntl import fcntl
from typing import Final

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
from pysc.sentry.fs.hostproc import reopen_read_only

PAGE: Final = 4096
SMALL: Final = 1 << 16
"""Up to here contents are a bytearray."""
STEP: Final = 1 << 18


def pages(size: int) -> int:
    """Return how many pages hold ``size`` bytes."""
    return -(-size // PAGE)


class Budget:
    """Pages that may be used, and are; a charge goes to all the budgets above, too."""

    __slots__ = ("limit", "parent", "used")

    def __init__(self, limit: int, parent: Budget | None = None) -> None:
        self.limit = limit
        self.used = 0
        self.parent = parent

    @property
    def free(self) -> int:
        """Pages left, here and above."""
        here = max(0, self.limit - self.used)
        return here if self.parent is None else min(here, self.parent.free)

    def charge(self, count: int) -> None:
        """Take pages (negative: give back).  ENOSPC."""
        if count > 0 and count > self.free:
            raise ENOSPC
        self.note(count)

    def note(self, count: int) -> None:
        """Take pages that are already in use, whatever the limit says."""
        budget: Budget | None = self
        while budget is not None:
            budget.used += count
            budget = budget.parent


UNLIMITED_BUDGET: Final = Budget(1 << 62)
"""For what guests cannot make grow."""


class Contents:
    """The bytes of one file.

    Invariant: below a memfd ``_small`` is empty; ``length`` is the size in both forms, ``charged`` what the budget has.
    """

    __slots__ = ("_budget", "_fd", "_read_only", "_small", "charged", "length", "seals")

    def __init__(self, budget: Budget, seals: int = F_SEAL_SEAL) -> None:
        self._budget = budget
        self._small = bytearray()
        self._fd = -1
        self._read_only = -1
        self.length = 0
        self.charged = 0
        self.seals = seals
        """F_SEAL_*, enforced by the host's memfd and here."""

    def __del__(self) -> None:
        for fd in (self._fd, self._read_only):
            if fd >= 0:
                os.close(fd)
        if self.charged:
            self._budget.note(-self.charged)

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes."""
        if self._fd < 0:
            return bytes(self._small[offset : offset + size])
        return os.pread(self._fd, size, offset) if offset < self.length else b""

    def write(self, data: bytes, offset: int) -> int:
        """Store ``data``; return how much fitted, at least one byte.  ENOSPC; EPERM (seals)."""
        end = offset + len(data)
        if self.seals & F_SEAL_WRITE or (self.seals & F_SEAL_GROW and end > self.length):
            raise EPERM
        if not data:
            return 0
        if self._fd < 0 and end <= SMALL:
            self._charge(max(self.charged, pages(end)))
            if offset > self.length:
                self._small.extend(bytes(offset - self.length))
            self._small[offset:end] = data
            self.length = max(self.length, end)
            return len(data)
        fd = self.memfd()
        room = self._budget.free * PAGE
        if room < len(data) + PAGE and not self._is_stored(offset, end):
            data = data[: room & ~(PAGE - 1)]
            if not data:
                raise ENOSPC
        written = os.pwrite(fd, data, offset)
        self.length = max(self.length, offset + written)
        self._recharge()
        return written

    def truncate(self, size: int) -> None:
        """Set the length.  EPERM (seals)."""
        if (size < self.length and self.seals & F_SEAL_SHRINK) or (size > self.length and self.seals & F_SEAL_GROW):
            raise EPERM
        if self._fd < 0 and size <= SMALL:
            self._charge(pages(size))
            if size < self.length:
                del self._small[size:]
            else:
                self._small.extend(bytes(size - self.length))
        else:
            os.ftruncate(self.memfd(), size)
            self._recharge()
        self.length = size

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
        self.seals |= seals

    def memfd(self) -> int:
        """Return the memfd (borrowed), which is made if need be."""
        if self._fd < 0:
            fd = os.memfd_create("pysc-file", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            self._fd = fd
            if self._small:
                os.pwrite(fd, self._small, 0)
            os.ftruncate(fd, self.length)
            self._small = bytearray()
            self._recharge()
        return self._fd

    def read_only_fd(self) -> int:
        """Return the memfd open for reading only (borrowed): what may be mapped by who may not write."""
        if self._read_only < 0:
            self._read_only = reopen_read_only(self.memfd())
        return self._read_only

    def _clear(self, start: int, end: int) -> None:
        if self._fd < 0:
            if end > start:
                self._small[start:end] = bytes(end - start)
            return
        for position in range(start, end, STEP):
            os.pwrite(self._fd, bytes(min(STEP, end - position)), position)

    def _is_stored(self, start: int, end: int) -> bool:
        return end <= self.length and os.lseek(self.memfd(), start, os.SEEK_HOLE) >= end

    def _charge(self, count: int) -> None:
        if count != self.charged:
            self._budget.charge(count - self.charged)
            self.charged = count

    def _recharge(self) -> None:
        count = os.fstat(self._fd).st_blocks * 512 // PAGE
        self._budget.note(count - self.charged)
        self.charged = count
