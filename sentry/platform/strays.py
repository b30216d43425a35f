"""Children that should not be: processes that have become no space, and spaces of which no process was ever heard.

Guests are children of the sentry's, so a process of which a hostile parent has told nothing, or that its parent keeps
from speaking, is listed by the host all the same.  Honest ones speak within moments; nobody is looked for meanwhile.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

from pysc.sentry.fs import hostproc

if TYPE_CHECKING:
    from pysc.sentry.platform.systrap import Systrap

PERIOD_NS: Final = 1_000_000_000
PATIENCE: Final = 30
"""Visits, not seconds: a sandbox that was frozen has not been visited."""


class Strays:
    """Visits them once in a while, as long as there may be any."""

    __slots__ = ("_next", "_platform", "_seen", "alert", "patience")

    def __init__(self, platform: Systrap) -> None:
        self._platform = platform
        self._next = 0
        self._seen: dict[int, int] = {}
        """How often a process was there that is no space's, by pid."""
        self.alert = False
        """There may be some, whether or not there are spaces that are waited for."""
        self.patience = PATIENCE

    def suspect(self) -> None:
        """Somebody has ended whose pid is not known, or has not: look soon."""
        self.alert = True

    def timeout(self, timeout_ns: int | None) -> int | None:
        """Return how long the loop may sleep, at most so long."""
        now = time.monotonic_ns()
        if now >= self._next:
            self._next = now + PERIOD_NS
            self._visit()
        left = self._next - now
        return left if timeout_ns is None else min(timeout_ns, left)

    def _visit(self) -> None:
        for space in list(self._platform.unborn.values()):
            space.visits += 1
            if space.visits > self.patience:
                space.close()
        strangers = self._strangers()
        self._seen = {pid: self._seen.get(pid, 0) + 1 for pid in strangers}
        self.alert = bool(strangers)
        for pid, often in self._seen.items():
            if often > self.patience:
                os.kill(pid, signal.SIGKILL)  # it is not reaped but here, so the pid is its own
            if often > 1:  # it has not ended before its first word was read
                os.waitpid(pid, os.WNOHANG)

    def _strangers(self) -> list[int]:
        """Return children that are no space's and not the zygote."""
        own = os.getpid()
        try:
            children = [int(pid) for pid in hostproc.read(f"{own}/task/{own}/children").split()]
        except OSError:  # a host without CONFIG_PROC_CHILDREN
            return []
        return [pid for pid in children if pid not in self._platform.spaces and pid != self._platform.zygote_pid]
