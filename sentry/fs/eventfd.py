"""Event counters (eventfd(2))."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EAGAIN, EINVAL
from pysc.cabi.linux.fcntl import O_RDWR
from pysc.cabi.linux.poll import POLLERR, POLLIN, POLLOUT
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.kernel.scheduler import WaitQueue, park

LIMIT: Final = (1 << 64) - 1
"""One more than the counter can hold."""


class EventFile(AnonymousFile):
    """A counter; reading takes all of it, or 1 as a semaphore.  The face of a struct pysc_counter, too.

    Whoever is about to wait has said so: then fast paths tell of their moves.
    """

    __slots__ = ("__weakref__", "_counter", "_counter_index", "wait")

    kind = b"anon_inode:[eventfd]"

    def __init__(self, count: int, semaphore: bool, flags: int) -> None:
        super().__init__(O_RDWR | flags)
        self._counter_index = objects.new(objects.COUNTER)
        self._counter: Any = lib.pysc_counter_at(objects.OBJECTS, self._counter_index)
        self._counter.count = count
        self._counter.semaphore = semaphore
        self.wait = WaitQueue()
        objects.listen(objects.COUNTER, self._counter_index, self)
        self.serve(lib.PYSC_FILE_COUNTER, self._counter_index, self._counter.header.generation)

    def __del__(
        self,
        free: Callable[[int], None] = objects.free_file,
        free_counter: Callable[[int], None] = objects.free_counter,
    ) -> None:
        super().__del__(free)
        if hasattr(self, "_counter_index"):
            free_counter(self._counter_index)

    @property
    def count(self) -> int:
        """Where it is."""
        value: int = self._counter.count
        return value

    @property
    def semaphore(self) -> bool:
        """EFD_SEMAPHORE."""
        return bool(self._counter.semaphore)

    @property
    def info(self) -> bytes:
        """Lines of /proc/PID/fdinfo."""
        return b"eventfd-count: %16x\neventfd-id: %d\neventfd-semaphore: %d\n" % (
            self.count,
            self._counter_index,
            self.semaphore,
        )

    def moved(self, events: int) -> None:
        """A fast path made it have ``events``: wake who waits for them, and remember whether anybody still waits."""
        self.wait.wake_all(events)
        self._counter.waits = bool(self.wait)

    def rebuild(self) -> None:
        """Hear of what fast paths of this process move (pysc.sentry.state)."""
        objects.listen(objects.COUNTER, self._counter_index, self)
        self.moved(0)

    async def read(self, size: int) -> bytes:
        """Eight bytes.  EINVAL for less room."""
        if size < 8:
            raise EINVAL
        while not self.count:
            if self.nonblock:
                raise EAGAIN
            await park(*self.queues(), events=POLLIN)
        taken = 1 if self.semaphore else self.count
        self._counter.count -= taken
        self.wait.wake_all(POLLOUT)
        return taken.to_bytes(8, "little")

    async def write(self, data: bytes) -> int:
        """Add eight bytes' worth; waits while it would overflow.  EINVAL (too short, or 2⁶⁴−1)."""
        if len(data) < 8:
            raise EINVAL
        added = int.from_bytes(data[:8], "little")
        if added == LIMIT:
            raise EINVAL
        while self.count + added >= LIMIT:
            if self.nonblock:
                raise EAGAIN
            await park(*self.queues(), events=POLLOUT)
        self._counter.count += added
        self.wait.wake_all(POLLIN)
        return 8

    def signal(self, added: int) -> None:
        """Add from inside the kernel; it sticks at 2⁶⁴−1 (POLLERR)."""
        self._counter.count = min(LIMIT, self.count + added)
        self.wait.wake_all(POLLIN | POLLERR)

    def poll(self) -> int:
        events = POLLIN if self.count else 0
        if self.count < LIMIT - 1:
            events |= POLLOUT
        if self.count == LIMIT:
            events |= POLLERR
        return events

    def queues(self) -> tuple[WaitQueue, ...]:
        self._counter.waits = 1
        return (self.wait,)
