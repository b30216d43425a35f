"""A mutex across awaits, for what must not interleave on one directory.

Order: the rename mutex of a file system, then directories, an ancestor before what is below it, else by number.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType

from pysc.sentry.kernel.scheduler import Completion


class Mutex:
    """First come, first served; the wait is uninterruptible, since holders wait for daemons at most."""

    __slots__ = ("_held", "_waiters")

    def __init__(self) -> None:
        self._held = False
        self._waiters: deque[Completion[None]] = deque()

    async def __aenter__(self) -> None:
        if self._held:
            turn: Completion[None] = Completion()
            self._waiters.append(turn)
            await turn
        self._held = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held = False
        if self._waiters:
            self._held = True
            self._waiters.popleft().resolve(None)
