"""How often something may be started again: so many times within a while, not in its life."""

from __future__ import annotations

from collections import deque


class Restarts:
    """At most ``most`` within ``seconds``, as systemd's StartLimitBurst= and StartLimitIntervalSec=."""

    def __init__(self, most: int, seconds: float) -> None:
        self._times: deque[float] = deque(maxlen=most)
        self._seconds = seconds

    def may(self, now: float) -> bool:
        """Whether there may be one more at the time ``now``; then it counts."""
        if len(self._times) == self._times.maxlen and now - self._times[0] < self._seconds:
            return False
        self._times.append(now)
        return True
