"""Timers of processes that send signals: interval timers (setitimer(2)) and POSIX timers (timer_create(2))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import LinuxError
from pysc.cabi.linux.signals import SI_TIMER, SIGALRM, SIGPROF, SIGVTALRM
from pysc.sentry.kernel.scheduler import Timer, now
from pysc.sentry.kernel.siginfo import SigInfo
from pysc.sentry.kernel.usage import cpu_time

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

ITIMER_REAL: Final = 0
ITIMER_VIRTUAL: Final = 1
ITIMER_PROF: Final = 2
ITIMER_SIGNALS: Final = {ITIMER_REAL: SIGALRM, ITIMER_VIRTUAL: SIGVTALRM, ITIMER_PROF: SIGPROF}

MAX_DELAY: Final = 1 << 62
MIN_INTERVAL: Final = 100_000
"""A periodic timer of less is looked at this often: the overrun count says what was missed."""
CPU_POLL: Final = 10_000_000
"""How often the processor time of a process with a CPU timer is read: a tick of HZ=100."""


class IntervalTimer:
    """One deadline with an interval, on the wall's clock or on processor time."""

    __slots__ = ("_timer", "cpu", "deadline", "group", "interval")

    def __init__(self, group: ThreadGroup, cpu: ThreadGroup | Task | None) -> None:
        self.group = group
        self.cpu = cpu
        """Whose processor time its clock is; None: the wall's."""
        self.deadline = 0
        """In the timer's own clock; 0: disarmed."""
        self.interval = 0
        self._timer: Timer | None = None

    def clock(self) -> int:
        """Read the timer's clock."""
        return now() if self.cpu is None else cpu_time(self.cpu)

    def remaining(self) -> int:
        """Return the nanoseconds until it expires (at least 1 while it is armed); 0 if it is disarmed."""
        return max(1, self.deadline - self.clock()) if self.deadline else 0

    def arm(self, deadline: int, interval: int) -> None:
        """Set the absolute ``deadline`` (0 disarms) and the interval (0: once)."""
        self.disarm()
        self.interval = interval
        self.deadline = deadline
        if deadline:
            self._schedule()

    def disarm(self) -> None:
        """Stop it."""
        self.deadline = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        when = now() + CPU_POLL if self.cpu is not None else min(self.deadline, now() + MAX_DELAY)
        self._timer = self.group.kernel.scheduler.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.group.exited or not self.deadline:
            return
        time_now = self.clock()
        if time_now < self.deadline:
            self._schedule()
            return
        missed = 0
        if self.interval:
            interval = max(self.interval, MIN_INTERVAL)
            periods = (time_now - self.deadline) // interval
            missed = (time_now - self.deadline) // self.interval
            self.deadline += (periods + 1) * interval
            self._schedule()
        else:
            self.deadline = 0
        self.on_expiry(missed)

    def on_expiry(self, missed: int) -> None:
        """Called at each expiry; ``missed`` more have passed since."""
        raise NotImplementedError


class ItimerTimer(IntervalTimer):
    """setitimer(2), alarm(2)."""

    __slots__ = ("signo",)

    def __init__(self, group: ThreadGroup, which: int) -> None:
        super().__init__(group, None if which == ITIMER_REAL else group)
        self.signo = ITIMER_SIGNALS[which]

    def on_expiry(self, missed: int) -> None:
        """Send the timer's signal to the process."""
        from pysc.sentry.kernel.signals import send_signal

        send_signal(self.group, SigInfo.kernel(self.signo))


class PosixTimer(IntervalTimer):
    """timer_create(2): with SIGEV_SIGNAL, SIGEV_THREAD_ID or SIGEV_NONE.  ``signo`` 0 is SIGEV_NONE."""

    __slots__ = ("_overrun", "last_overrun", "number", "realtime", "signo", "target", "value")

    def __init__(
        self,
        group: ThreadGroup,
        number: int,
        signo: int,
        value: int,
        target: Task | None,
        *,
        cpu: ThreadGroup | Task | None,
        realtime: bool,
    ) -> None:
        super().__init__(group, cpu)
        self.number = number
        self.signo = signo
        self.value = value
        self.target = target
        """The task of SIGEV_THREAD_ID."""
        self.realtime = realtime
        """Absolute times are CLOCK_REALTIME's."""
        self._overrun = 0
        self.last_overrun = 0

    def on_expiry(self, missed: int) -> None:
        """Queue the signal unless it is queued still: then it is an overrun."""
        from pysc.sentry.kernel.signals import send_signal

        if not self.signo:
            return
        receiver = self.target if self.target is not None else self.group
        self._overrun += missed
        if receiver.pending.has_timer(self.signo, self.number):
            self._overrun += 1
            return
        info = SigInfo(self.signo, SI_TIMER, "timer", value=self.value, timer=self.number)
        try:
            send_signal(receiver, info)
        except LinuxError:  # the queue is full: what Linux loses, too
            self._overrun += 1

    def collect_overrun(self) -> int:
        """Return the expiries since the signal was queued; the signal is being delivered."""
        self.last_overrun = min(self._overrun, 0x7FFF_FFFF)
        self._overrun = 0
        return self.last_overrun

    def reset_overrun(self) -> None:
        """Forget overruns (timer_settime)."""
        self._overrun = self.last_overrun = 0
