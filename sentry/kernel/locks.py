"""Advisory locks (flock(2), fcntl(2)): POSIX and open-file-description records, and whole-file locks, of one inode.

The owner of a POSIX lock is the descriptor table that took it, as in Linux, that of the other two the description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EAGAIN, EDEADLK, ENOLCK
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.scheduler import WaitQueue, park

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription

    Owner = FDTable | FileDescription

END: Final = (1 << 63) - 1
"""The last byte that a lock can hold: "to the end, however long it grows"."""
MAX_RECORDS: Final = 65536
MAX_CHAIN: Final = 10
"""How many owners a search for a circle of waiters looks at, as in Linux: longer circles are not found."""


class RecordLock:
    """Bytes ``start`` to ``end``, both included."""

    __slots__ = ("end", "exclusive", "owner", "pid", "start")

    def __init__(self, owner: Owner, pid: int, exclusive: bool, start: int, end: int) -> None:
        self.owner = owner
        self.pid = pid
        """Who took it; -1 for a description."""
        self.exclusive = exclusive
        self.start = start
        self.end = end

    def conflicts(self, other: RecordLock) -> bool:
        """Whether not both can be held."""
        return (
            self.owner is not other.owner
            and (self.exclusive or other.exclusive)
            and self.start <= other.end
            and other.start <= self.end
        )


class FileLocks:
    """The locks of an inode.

    Invariant: records of one owner do not overlap, and equal ones do not touch; no two records conflict.
    """

    __slots__ = ("_flocks", "_records", "wait")

    def __init__(self) -> None:
        self._records: list[RecordLock] = []
        self._flocks: dict[Owner, bool] = {}
        """Whole-file locks: true is exclusive."""
        self.wait = WaitQueue()

    # Records
    def conflict(self, wanted: RecordLock) -> RecordLock | None:
        """Return a lock of somebody else's that stands in the way."""
        return next((lock for lock in self._records if lock.conflicts(wanted)), None)

    def records(self) -> tuple[RecordLock, ...]:
        """Return all records (/proc/locks)."""
        return tuple(self._records)

    async def lock(self, wanted: RecordLock, *, wait: bool) -> None:
        """Take a lock, changing what the owner has there.

        Raises:
            EAGAIN: somebody else has it, and ``wait`` is false.
            EDEADLK: they wait for us (POSIX locks only).
        """
        while (blocker := self.conflict(wanted)) is not None:
            if not wait:
                raise EAGAIN
            if isinstance(wanted.owner, FDTable):
                await self._wait_for(blocker, wanted.owner)
            else:
                await park(self.wait)
        self._replace(wanted, keep=True)

    async def _wait_for(self, blocker: RecordLock, owner: FDTable) -> None:
        chain: object = blocker.owner
        for _ in range(MAX_CHAIN):
            if chain is owner:
                raise EDEADLK
            if not isinstance(chain, FDTable) or not chain.lock_waits:
                break
            chain = chain.lock_waits[0]
        owner.lock_waits.append(blocker.owner)
        try:
            await park(self.wait)
        finally:
            owner.lock_waits.remove(blocker.owner)

    def unlock(self, owner: Owner, start: int, end: int) -> None:
        """Give up what the owner has in a range; a lock may be split."""
        self._replace(RecordLock(owner, 0, False, start, end), keep=False)

    def _replace(self, new: RecordLock, *, keep: bool) -> None:
        """Cut the range of ``new`` out of its owner's locks, and put ``new`` there if it is to be kept."""
        if len(self._records) >= MAX_RECORDS:
            raise ENOLCK
        left = []
        for lock in self._records:
            if lock.owner is not new.owner:
                left.append(lock)
                continue
            joins = keep and lock.exclusive == new.exclusive
            if lock.end + joins < new.start or new.end + joins < lock.start:
                left.append(lock)
            elif joins:
                new.start, new.end = min(new.start, lock.start), max(new.end, lock.end)
            else:
                if lock.start < new.start:
                    left.append(RecordLock(lock.owner, lock.pid, lock.exclusive, lock.start, new.start - 1))
                if new.end < lock.end:
                    left.append(RecordLock(lock.owner, lock.pid, lock.exclusive, new.end + 1, lock.end))
        if keep:
            left.append(new)
        left.sort(key=lambda lock: lock.start)
        self._records = left
        self.wait.wake_all()

    # Whole files
    async def flock(self, owner: FileDescription, exclusive: bool, *, wait: bool) -> None:
        """Take, or change, a whole-file lock; a change gives up the old one first, as in Linux.  EAGAIN."""
        held = self._flocks.get(owner)
        if held is exclusive:
            return
        self.unflock(owner)
        while any(other is not owner and (exclusive or theirs) for other, theirs in self._flocks.items()):
            if not wait:
                raise EAGAIN
            await park(self.wait)
        self._flocks[owner] = exclusive

    def unflock(self, owner: FileDescription) -> None:
        """Give it up."""
        if self._flocks.pop(owner, None) is not None:
            self.wait.wake_all()

    def release_owner(self, owner: Owner) -> None:
        """Give up all that an owner has: a descriptor was closed, or a description ended."""
        self._flocks.pop(owner, None)
        self._records = [lock for lock in self._records if lock.owner is not owner]
        self.wait.wake_all()
