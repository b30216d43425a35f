"""Advisory locks (flock(2), fcntl(2)): POSIX and open-file-description records, and whole-file locks, of one inode.

The owner of a POSIX lock is the descriptor table that took it, as in Linux, that of the other two the description.
Records name their owners by ``lock_owner`` of these: fast paths set them, too (cabi/dispatch/locks.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from pysc.cabi import objects
from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import EAGAIN, EDEADLK, ENOLCK
from pysc.cabi.objects import memory_is_out
from pysc.sentry.kernel.host_locks import ANOTHER, END
from pysc.sentry.kernel.scheduler import WaitQueue, now, park

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.fd_table import FDTable
    from pysc.sentry.kernel.host_locks import HostLocks

    Owner: TypeAlias = FDTable | FileDescription

MAX_CHAIN: Final = 10
"""How many owners a search for a circle of waiters looks at, as in Linux: longer circles are not found."""
HOST_DELAY: Final = 1_000_000
HOST_DELAY_MAX: Final = 100_000_000
"""Nanoseconds between two tries for a lock that another user of the host's file has; doubled each time."""


class RecordLock(NamedTuple):
    """Bytes ``start`` to ``end``, both included."""

    owner: int
    """``lock_owner`` of a table, or of a description."""
    pid: int
    """Who took it; -1 for a description."""
    exclusive: bool
    start: int
    end: int

    @property
    def is_posix(self) -> bool:
        """Whether it is a table's: then a circle of waiters is an error."""
        return not self.owner & 1

    def in_c(self) -> Any:
        """Return it as a struct pysc_lock."""
        return ffi.new("struct pysc_lock *", (self.owner, self.start, self.end, self.pid, self.exclusive))


class FileLocks:
    """The locks of an inode; the records are the face of a struct pysc_locks."""

    __slots__ = ("_c", "_flocks", "callers", "host", "index", "wait")

    def __init__(self) -> None:
        """ENFILE."""
        self.index = objects.new(objects.LOCKS)
        self._c: Any = lib.pysc_locks_at(objects.OBJECTS, self.index)
        self._flocks: dict[Owner, bool] = {}
        """Whole-file locks: true is exclusive."""
        self.host: HostLocks | None = None
        """Where other users of the host's file see them, and are seen; on shared mounts, while there are locks."""
        self.callers = 0
        """Calls that are about to change or ask for something."""
        self.wait = WaitQueue()

    def __del__(self, free: Callable[[int], None] = objects.free_locks) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    @property
    def generation(self) -> int:
        """What tells the structure from others that had the index."""
        value: int = self._c.header.generation
        return value

    # Records
    def conflict(self, wanted: RecordLock) -> RecordLock | None:
        """Return a lock of somebody else's that stands in the way."""
        at = lib.pysc_locks_conflict(self._c, wanted.in_c())
        return None if at < 0 else self._record(at)

    def _record(self, at: int) -> RecordLock:
        lock = self._c.records[at]
        return RecordLock(lock.owner, lock.pid, bool(lock.exclusive), lock.start, lock.end)

    def held(self, wanted: RecordLock) -> RecordLock | None:
        """Return a lock that the owner itself has there."""
        mine = (lock for lock in self.records() if lock.owner == wanted.owner)
        return next((lock for lock in mine if lock.start <= wanted.end and wanted.start <= lock.end), None)

    def records(self) -> tuple[RecordLock, ...]:
        """Return all records, by their start (/proc/locks)."""
        return tuple(self._record(at) for at in range(self._c.n))

    def whole(self) -> tuple[tuple[Owner, bool], ...]:
        """Return who has whole-file locks, and whether exclusive ones (/proc/locks)."""
        return tuple(self._flocks.items())

    async def lock(self, wanted: RecordLock, waits: dict[int, list[int]], *, wait: bool) -> None:
        """Take a lock, changing what the owner has there.

        ``waits`` has for each owner of POSIX locks those whose locks it waits for, and is kept up to date.

        Raises:
            EAGAIN: somebody else has it, and ``wait`` is false.
            EDEADLK: they wait for us (POSIX locks only).
            ENOLCK: there are too many, or memory is out.
        """
        delay = HOST_DELAY
        while True:
            blocker = self.conflict(wanted)
            if blocker is None and self._take(wanted):
                break
            if not wait:
                raise EAGAIN
            if blocker is None:
                delay = await self._wait_for_host(delay)
            elif wanted.is_posix:
                await self._wait_for(blocker, wanted.owner, waits)
            else:
                await self._park()
        self.wait.wake_all()

    def _take(self, wanted: RecordLock) -> bool:
        """Take what conflicts with nothing here; false, and no change, if another user of the host's file has it."""
        before = self.records() if self.host is not None else ()
        if memory_is_out():
            raise ENOLCK
        self._change(wanted, keep=True)
        if self._agree(self._flocks):
            return True
        records = ffi.new("struct pysc_lock[]", [(r.owner, r.start, r.end, r.pid, r.exclusive) for r in before])
        lib.pysc_locks_set(self._c, records, len(before))
        return False

    def _change(self, given: RecordLock, *, keep: bool) -> None:
        if lib.pysc_locks_change(self._c, given.in_c(), keep) < 0:
            raise ENOLCK

    def _agree(self, flocks: dict[Owner, bool]) -> bool:
        """Show the host what is held, or about to be; false if another user of its file has it."""
        if self.host is None:
            return True
        whole = [RecordLock(owner.lock_owner, -1, exclusive, 0, END) for owner, exclusive in flocks.items()]
        return self.host.change([*self.records(), *whole])

    @contextmanager
    def _awaited(self) -> Iterator[None]:
        """Whoever changes something tells us."""
        self._c.awaited += 1
        try:
            yield
        finally:
            self._c.awaited -= 1

    async def _park(self, deadline: int | None = None) -> None:
        with self._awaited():
            await park(self.wait, deadline=deadline)

    async def _wait_for_host(self, delay: int) -> int:
        """Sleep before the next try, and return how long the next sleep is: the host tells nobody."""
        await self._park(now() + delay)
        return min(2 * delay, HOST_DELAY_MAX)

    def _give_up(self) -> None:
        """Let the host's other users have what was given up, and those who wait here."""
        self._agree(self._flocks)
        self._forget_host()
        self.wait.wake_all()

    def leave(self) -> None:
        """A call that has counted itself among ``callers`` ends."""
        self.callers -= 1
        self._forget_host()

    def _forget_host(self) -> None:
        if self.host is not None and not (self.callers or self._c.n or self._flocks):
            self.host.close()
            self.host = None

    def host_conflict(self, wanted: RecordLock) -> RecordLock | None:
        """Return a lock of another user of the host's file that stands in the way."""
        found = None
        if self.host is not None:
            found = self.host.conflict(wanted.start, wanted.end, exclusive=wanted.exclusive)
        return None if found is None else RecordLock(wanted.owner, ANOTHER, found[2], found[0], found[1])

    async def _wait_for(self, blocker: RecordLock, owner: int, waits: dict[int, list[int]]) -> None:
        chain = blocker.owner
        for _ in range(MAX_CHAIN):
            if chain == owner:
                raise EDEADLK
            if chain not in waits:
                break
            chain = waits[chain][0]
        mine = waits.setdefault(owner, [])
        mine.append(blocker.owner)
        try:
            await self._park()
        finally:
            mine.remove(blocker.owner)
            if not mine:
                del waits[owner]

    def unlock(self, owner: Owner, start: int, end: int) -> None:
        """Give up what the owner has in a range; a lock may be split.  ENOLCK."""
        self._change(RecordLock(owner.lock_owner, 0, False, start, end), keep=False)
        self._give_up()

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
            if not blocked and self._agree({**self._flocks, owner: exclusive}):
                break
            if not wait:
                raise EAGAIN
            if blocked:
                await self._park()
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
        lib.pysc_locks_release(self._c, owner.lock_owner)
        self._give_up()
