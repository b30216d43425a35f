"""Timers as files (timerfd_create(2)).

As in Linux a periodic timer fires once, and goes on when it is read: what passed meanwhile is counted then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.clock import (
    CLOCK_BOOTTIME,
    CLOCK_BOOTTIME_ALARM,
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    CLOCK_REALTIME_ALARM,
    SECOND,
)
from pysc.cabi.linux.errors import EAGAIN, EINVAL
from pysc.cabi.linux.fcntl import O_RDWR
from pysc.cabi.linux.poll import IN
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.kernel.scheduler import Scheduler, Timer, WaitQueue, now, park

if TYPE_CHECKING:
    from collections.abc import Callable

FAR: Final = 1 << 62


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


CLOCKS: Final[dict[int, Callable[[], int]]] = {
    CLOCK_REALTIME: time.time_ns,
    CLOCK_MONOTONIC: now,
    CLOCK_BOOTTIME: _boottime,
    CLOCK_REALTIME_ALARM: time.time_ns,
    CLOCK_BOOTTIME_ALARM: _boottime,
}
"""Readers of the clocks by CLOCK_*."""


class TimerFile(AnonymousFile):
    """A timer.  ``_deadline`` is on the kernel's clock, 0 when it is disarmed or, without interval, has fired."""

    __slots__ = ("_absolute", "_deadline", "_scheduler", "_ticks", "_timer", "clock", "interval", "wait")

    kind = b"anon_inode:[timerfd]"

    def __init__(self, scheduler: Scheduler, clock: int, flags: int) -> None:
        super().__init__(O_RDWR | flags)
        self._scheduler = scheduler
        self.clock = clock
        self.interval = 0
        self._deadline = 0
        self._ticks = 0
        self._absolute = False
        self._timer: Timer | None = None
        self.wait = WaitQueue()

    def release(self) -> None:
        self._cancel()

    def set(self, value: int, interval: int, *, absolute: bool) -> None:
        """Arm it for ``value`` nanoseconds from now, or on its clock; 0 disarms."""
        self._cancel()
        self._ticks = 0
        self._absolute = absolute
        self.interval = interval
        self._deadline = 0
        if value:
            self._deadline = now() + value - (CLOCKS[self.clock]() if absolute else 0)
            self._deadline = max(1, min(self._deadline, FAR))
            self._schedule()

    def setting(self) -> tuple[int, int]:
        """Return what is left until it fires, and its interval: timerfd_gettime(2)."""
        self._catch_up()
        return max(1, self._deadline - now()) if self._deadline else 0, self.interval

    @property
    def info(self) -> bytes:
        """Lines of /proc/PID/fdinfo."""
        left, interval = (divmod(nanoseconds, SECOND) for nanoseconds in self.setting())
        return b"clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n" % (
            self.clock,
            self._ticks,
            self._absolute,
            *left,
            *interval,
        )

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = self._scheduler.call_at(self._deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._ticks += 1
        if not self.interval:
            self._deadline = 0
        self.wait.wake_all(IN)

    def _catch_up(self) -> None:
        """Count the intervals since it fired, and go on."""
        if self._timer is None and self._deadline and self.interval:
            periods = max(0, now() - self._deadline) // self.interval
            self._ticks += periods
            self._deadline += (periods + 1) * self.interval
            self._schedule()

    async def read(self, size: int) -> bytes:
        """Read how often it has fired since: eight bytes.  EINVAL for less room."""
        if size < 8:
            raise EINVAL
        while not self._ticks:
            if self.nonblock:
                raise EAGAIN
            await park(self.wait)
        self._catch_up()
        ticks, self._ticks = self._ticks, 0
        return (ticks & (1 << 64) - 1).to_bytes(8, "little")

    def poll(self) -> int:
        return IN if self._ticks else 0

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.wait,)
