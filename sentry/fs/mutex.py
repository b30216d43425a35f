"""A mutex across awaits, for what must not interleave on one directory.

Order: the rename mutex of a file system, then directories, an ancestor before what is below it, else by number.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType

from pysc.sentry.kernel.scheduler import Completion


class Mutex:
    """First come, first served; the wait is uninterruptible, since holders wait for daemons at most."""

    __slots__ = ("_waiters", "held")

    def __init__(self) -> None:
        self.held = False
        self._waiters: deque[Completion[None]] | None = None

    async def __aenter__(self) -> None:
        if self.held:
            turn: Completion[None] = Completion()
            if self._waiters is None:
                self._waiters = deque()
            self._waiters.append(turn)
            await turn
        self.held = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.held = False
        if self._waiters:
            self.held = True
            self._waiters.popleft().resolve(None)
