"""Advisory locks (flock(2), fcntl(2)): POSIX and open-file-description records, and whole-file locks, of one inode.

The owner of a POSIX lock is the descriptor table that took it, as in Linux, that of the other two the description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EAGAIN, EDEADLK, ENOLCK
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.host_locks import ANOTHER, END
from pysc.sentry.kernel.scheduler import WaitQueue, now, park

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.host_locks import HostLocks

    Owner = FDTable | FileDescription

MAX_RECORDS: Final = 65536
MAX_CHAIN: Final = 10
"""How many owners a search for a circle of waiters looks at, as in Linux: longer circles are not found."""
HOST_DELAY: Final = 1_000_000
HOST_DELAY_MAX: Final = 100_000_000
"""Nanoseconds between two tries for a lock that another user of the host's file has; doubled each time."""


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

    __slots__ = ("_flocks", "_records", "callers", "host", "wait")

    def __init__(self) -> None:
        self._records: list[RecordLock] = []
        self._flocks: dict[Owner, bool] = {}
        """Whole-file locks: true is exclusive."""
        self.host: HostLocks | None = None
        """Where other users of the host's file see them, and are seen; on shared mounts, while there are locks."""
        self.callers = 0
        """Calls that are about to change or ask for something."""
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
        delay = HOST_DELAY
        while True:
            blocker = self.conflict(wanted)
            if blocker is None:
                records = self._replaced(wanted, keep=True)
                if self._agree(records, self._flocks):
                    break
            if not wait:
                raise EAGAIN
            if blocker is None:
                delay = await self._wait_for_host(delay)
            elif isinstance(wanted.owner, FDTable):
                await self._wait_for(blocker, wanted.owner)
            else:
                await park(self.wait)
        self._records = records
        self.wait.wake_all()

    def _agree(self, records: list[RecordLock], flocks: dict[Owner, bool]) -> bool:
        """Show the host what is about to be held; false if another user of its file has it."""
        if self.host is None:
            return True
        whole = [RecordLock(owner, -1, exclusive, 0, END) for owner, exclusive in flocks.items()]
        return self.host.change([*records, *whole])

    async def _wait_for_host(self, delay: int) -> int:
        """Sleep before the next try, and return how long the next sleep is: the host tells nobody."""
        await park(self.wait, deadline=now() + delay)
        return min(2 * delay, HOST_DELAY_MAX)

    def _give_up(self) -> None:
        """Let the host's other users have what was given up, and those who wait here."""
        self._agree(self._records, self._flocks)
        self._forget_host()
        self.wait.wake_all()

    def leave(self) -> None:
        """A call that has counted itself among ``callers`` ends."""
        self.callers -= 1
        self._forget_host()

    def _forget_host(self) -> None:
        if self.host is not None and not (self.callers or self._records or self._flocks):
            self.host.close()
            self.host = None

    def host_conflict(self, wanted: RecordLock) -> RecordLock | None:
        """Return a lock of another user of the host's file that stands in the way."""
        found = None
        if self.host is not None:
            found = self.host.conflict(wanted.start, wanted.end, exclusive=wanted.exclusive)
        return None if found is None else RecordLock(wanted.owner, ANOTHER, found[2], found[0], found[1])

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
        self._records = self._replaced(RecordLock(owner, 0, False, start, end), keep=False)
        self._give_up()

    def _replaced(self, given: RecordLock, *, keep: bool) -> list[RecordLock]:
        """Return the records with the range of ``given`` cut out of its owner's, and it there if it is to be kept."""
        new = RecordLock(given.owner, given.pid, given.exclusive, given.start, given.end)
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
        return left

    # Whole files
    async def flock(self, owner: FileDescription, exclusive: bool, *, wait: bool) -> None:
        """Take, or change, a whole-file lock; a change gives up the old one first, as in Linux.  EAGAIN."""
        held = self._flocks.get(owner)
        if held is exclusive:
            return
        self.unflock(owner)
        delay = HOST_DELAY
        while True:
            blocked = any(other is not owner and (exclusive or theirs) for other, theirs in self._flocks.items())
            if not blocked and self._agree(self._records, {**self._flocks, owner: exclusive}):
                break
            if not wait:
                raise EAGAIN
            if blocked:
                await park(self.wait)
            else:
                delay = await self._wait_for_host(delay)
        self._flocks[owner] = exclusive

    def unflock(self, owner: FileDescription) -> None:
        """Give it up."""
        if self._flocks.pop(owner, None) is not None:
            self._give_up()

    def release_owner(self, owner: Owner) -> None:
        """Give up all that an owner has: a descriptor was closed, or a description ended."""
        self._flocks.pop(owner, None)
        self._records = [lock for lock in self._records if lock.owner is not owner]
        self._give_up()
