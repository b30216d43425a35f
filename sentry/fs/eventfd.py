"""Event counters (eventfd(2))."""

from __future__ import annotations

from typing import Final

from pysc.cabi.linux.errors import EAGAIN, EINVAL
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.fs.file import O_RDWR, POLLERR, POLLIN, POLLOUT
from pysc.sentry.kernel.scheduler import WaitQueue, park

LIMIT: Final = (1 << 64) - 1
"""One more than the counter can hold."""


class EventFile(AnonymousFile):
    """A counter; reading takes all of it, or 1 as a semaphore."""

    __slots__ = ("count", "semaphore", "wait")

    kind = b"anon_inode:[eventfd]"

    def __init__(self, count: int, semaphore: bool, flags: int) -> None:
        super().__init__(O_RDWR | flags)
        self.count = count
        self.semaphore = semaphore
        self.wait = WaitQueue()

    async def read(self, size: int) -> bytes:
        """Eight bytes.  EINVAL for less room."""
        if size < 8:
            raise EINVAL
        while not self.count:
            if self.nonblock:
                raise EAGAIN
            await park(self.wait, events=POLLIN)
        taken = 1 if self.semaphore else self.count
        self.count -= taken
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
            await park(self.wait, events=POLLOUT)
        self.count += added
        self.wait.wake_all(POLLIN)
        return 8

    def signal(self, added: int) -> None:
        """Add from inside the kernel; it sticks at 2⁶⁴−1 (POLLERR)."""
        self.count = min(LIMIT, self.count + added)
        self.wait.wake_all(POLLIN | POLLERR)

    def poll(self) -> int:
        events = POLLIN if self.count else 0
        if self.count < LIMIT - 1:
            events |= POLLOUT
        if self.count == LIMIT:
            events |= POLLERR
        return events

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.wait,)
