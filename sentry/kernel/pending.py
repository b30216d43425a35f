"""Pending signals (struct sigpending) and dispositions (struct sighand_struct)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.signals import (
    IGNORED_BY_DEFAULT,
    NSIG,
    SIG_DFL,
    SIG_IGN,
    SIGRTMIN,
    SYNCHRONOUS,
)
from pysc.sentry.kernel.siginfo import SigInfo


class SigAction(msgspec.Struct, frozen=True):
    """What sigaction(2) sets for one signal."""

    handler: int = SIG_DFL
    flags: int = 0
    restorer: int = 0
    mask: int = 0


DEFAULT_ACTION = SigAction()


class SignalHandlers:
    """The dispositions of a process, which CLONE_SIGHAND shares: the face of a struct pysc_handlers."""

    __slots__ = ("_c", "index")

    def __init__(self, index: int | None = None) -> None:
        """ENFILE."""
        self.index = objects.new(objects.HANDLERS) if index is None else index
        self._c: Any = lib.pysc_handlers_at(objects.OBJECTS, self.index)

    def __del__(self, free: Callable[[int], None] = objects.free_handlers) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    def __getitem__(self, signo: int) -> SigAction:
        c = self._c.actions[signo - 1]
        return SigAction(c.handler, c.flags, c.restorer, c.mask)

    def __setitem__(self, signo: int, action: SigAction) -> None:
        c = self._c.actions[signo - 1]
        c.handler, c.flags, c.restorer, c.mask = action.handler, action.flags, action.restorer, action.mask

    def copy(self) -> SignalHandlers:
        """Return an unshared copy (fork).  ENFILE."""
        return SignalHandlers(objects.answered(lib.pysc_handlers_copy(objects.OBJECTS, self._c, False)))

    def after_exec(self) -> SignalHandlers:
        """Return the table of a new program: what was ignored stays ignored, the rest is default.  ENFILE."""
        return SignalHandlers(objects.answered(lib.pysc_handlers_copy(objects.OBJECTS, self._c, True)))

    def ignores(self, signo: int) -> bool:
        """Whether the signal would be discarded on delivery."""
        handler = self._c.actions[signo - 1].handler
        return handler == SIG_IGN or (handler == SIG_DFL and bool(IGNORED_BY_DEFAULT >> (signo - 1) & 1))

    @property
    def caught(self) -> int:
        """The set of signals with a handler (SigCgt)."""
        return lib.pysc_handlers_caught(self._c)

    @property
    def ignored(self) -> int:
        """The set of explicitly ignored signals (SigIgn)."""
        return lib.pysc_handlers_ignored(self._c)


class PendingSignals:
    """The pending signals of a task or a thread group.

    Invariant: bit n-1 of ``mask`` is set exactly if ``_queues[n]`` exists and is not empty; a classic signal is pending
    at most once, real-time signals queue in order.
    """

    __slots__ = ("_queues", "mask")

    def __init__(self) -> None:
        self.mask = 0
        self._queues: dict[int, deque[SigInfo]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def has(self, signo: int) -> bool:
        """Whether ``signo`` is pending."""
        return bool(self.mask >> (signo - 1) & 1)

    def add(self, info: SigInfo) -> bool:
        """Queue a signal; false if it is a classic one that is pending already."""
        if info.signo < SIGRTMIN and self.has(info.signo):
            return False
        self._queues.setdefault(info.signo, deque()).append(info)
        self.mask |= 1 << (info.signo - 1)
        return True

    def take(self, allowed: int) -> SigInfo | None:
        """Dequeue the next signal of the set ``allowed``: synchronous ones first, then by number."""
        candidates = self.mask & allowed
        if not candidates:
            return None
        candidates = candidates & SYNCHRONOUS or candidates
        signo = (candidates & -candidates).bit_length()
        queue = self._queues[signo]
        info = queue.popleft()
        if not queue:
            del self._queues[signo]
            self.mask &= ~(1 << (signo - 1))
        return info

    def remove(self, signals: int) -> None:
        """Drop all pending signals of a set."""
        dropped = self.mask & signals
        self.mask &= ~dropped
        for signo in [signo for signo in self._queues if dropped >> (signo - 1) & 1]:
            del self._queues[signo]

    def has_timer(self, signo: int, timer: int) -> bool:
        """Whether the signal of POSIX timer ``timer`` is queued."""
        return any(info.layout == "timer" and info.timer == timer for info in self._queues.get(signo, ()))

    def drop_timer(self, timer: int) -> None:
        """Drop the signals of a deleted POSIX timer."""
        for signo in list(self._queues):
            left = deque(info for info in self._queues[signo] if info.layout != "timer" or info.timer != timer)
            if left:
                self._queues[signo] = left
            else:
                del self._queues[signo]
                self.mask &= ~(1 << (signo - 1))


ALL_SIGNALS = (1 << NSIG) - 1
