"""Timers that send signals: alarm(2), setitimer(2), timer_create(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import clock as abi
from pysc.cabi.linux.clock import SECOND
from pysc.cabi.linux.errors import EAGAIN, EINVAL, EOPNOTSUPP
from pysc.cabi.linux.signals import NSIG, SIGALRM
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.kernel.timers import ITIMER_REAL, ITIMER_SIGNALS, ItimerTimer, PosixTimer
from pysc.sentry.syscalls.table import I32, U32, Addr
from pysc.sentry.syscalls.time import MONOTONIC_CLOCKS, REALTIME_CLOCKS, cpu_clock, is_clock, read_clock
from pysc.sentry.syscalls.waiting import FOREVER

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

TIMERS_MAX: Final = 4096


def _itimer(group: ThreadGroup, which: int) -> ItimerTimer:
    timer = group.alarm_timers.get(which)
    if timer is None:
        timer = group.alarm_timers[which] = ItimerTimer(group, which)
    return timer


def _pack_itimerval(interval: int, value: int) -> bytes:
    value = -(-value // 1000)
    interval //= 1000
    return abi.ITIMERVAL.pack(interval // 1_000_000, interval % 1_000_000, value // 1_000_000, value % 1_000_000)


def getitimer(task: Task, which: I32, address: Addr) -> int:
    """Return what is left of an interval timer.  EINVAL."""
    if which not in ITIMER_SIGNALS:
        raise EINVAL
    timer = _itimer(task.group, which)
    task.put(address, _pack_itimerval(timer.interval, timer.remaining()))
    return 0


async def setitimer(task: Task, which: I32, new: Addr, old: Addr) -> int:
    """Set an interval timer.  EINVAL."""
    interval = value = 0
    if new:
        fields = abi.ITIMERVAL.unpack(await task.copy_in(new, abi.ITIMERVAL.size))
        if fields[0] < 0 or fields[2] < 0 or not all(0 <= part < 1_000_000 for part in (fields[1], fields[3])):
            raise EINVAL
        interval = min((fields[0] * 1_000_000 + fields[1]) * 1000, FOREVER)
        value = min((fields[2] * 1_000_000 + fields[3]) * 1000, FOREVER)
    if which not in ITIMER_SIGNALS:
        raise EINVAL
    timer = _itimer(task.group, which)
    before = _pack_itimerval(timer.interval, timer.remaining())
    timer.arm(timer.clock() + value if value else 0, interval if value else 0)
    if old:
        task.put(old, before)
    return 0


def alarm(task: Task, seconds: U32) -> int:
    """Send SIGALRM in some seconds; return the seconds that were left."""
    timer = _itimer(task.group, ITIMER_REAL)
    left = timer.remaining()
    timer.arm(now() + seconds * SECOND if seconds else 0, 0)
    return max(1, (left + SECOND // 2) // SECOND) if left else 0


async def timer_create(task: Task, clock: I32, event: Addr, number: Addr) -> int:
    """Make a timer.  EINVAL, EAGAIN."""
    cpu = cpu_clock(task, clock)
    if clock not in REALTIME_CLOCKS | MONOTONIC_CLOCKS and cpu is None:
        raise EOPNOTSUPP if is_clock(clock) else EINVAL
    group = task.group
    if len(group.posix_timers) >= TIMERS_MAX:
        raise EAGAIN
    identifier = next(i for i in range(TIMERS_MAX + 1) if i not in group.posix_timers)
    value, signo, notify, tid = identifier, SIGALRM, abi.SIGEV_SIGNAL, 0
    if event:
        value, signo, notify, tid = abi.SIGEVENT.unpack_from(await task.copy_in(event, abi.SIGEVENT_SIZE))
    target = None
    if notify == abi.SIGEV_THREAD_ID | abi.SIGEV_SIGNAL:
        target = group.tasks.get(tid)
        if target is None:
            raise EINVAL
    elif notify == abi.SIGEV_NONE:
        signo = 0
    elif notify not in (abi.SIGEV_SIGNAL, abi.SIGEV_THREAD):
        raise EINVAL
    if notify != abi.SIGEV_NONE and not 1 <= signo <= NSIG:
        raise EINVAL
    timer = PosixTimer(
        group,
        identifier,
        signo,
        value,
        target,
        cpu=cpu,
        realtime=clock in REALTIME_CLOCKS,
    )
    await task.copy_out(number, identifier.to_bytes(4, "little"))
    group.posix_timers[identifier] = timer
    return 0


def _timer(task: Task, number: int) -> PosixTimer:
    try:
        return task.group.posix_timers[number]
    except KeyError:
        raise EINVAL from None


def _pack_itimerspec(timer: PosixTimer) -> bytes:
    left = timer.remaining()
    return abi.ITIMERSPEC.pack(*divmod(timer.interval, SECOND), *divmod(left, SECOND))


async def timer_settime(task: Task, number: I32, flags: I32, new: Addr, old: Addr) -> int:
    """Arm or disarm a timer.  EINVAL."""
    if not new:
        raise EINVAL
    fields = abi.ITIMERSPEC.unpack(await task.copy_in(new, abi.ITIMERSPEC.size))
    if fields[0] < 0 or fields[2] < 0 or not all(0 <= part < SECOND for part in (fields[1], fields[3])):
        raise EINVAL
    interval = min(fields[0] * SECOND + fields[1], FOREVER)
    value = min(fields[2] * SECOND + fields[3], FOREVER)
    timer = _timer(task, number)
    before = _pack_itimerspec(timer)
    deadline = 0
    if value:
        if not flags & abi.TIMER_ABSTIME:
            deadline = timer.clock() + value
        elif timer.realtime:
            deadline = max(1, now() + value - read_clock(task, abi.CLOCK_REALTIME))
        else:
            deadline = value
    timer.reset_overrun()
    timer.arm(deadline, interval if value else 0)
    if old:
        task.put(old, before)
    return 0


def timer_gettime(task: Task, number: I32, address: Addr) -> int:
    """Return what is left of a timer.  EINVAL."""
    task.put(address, _pack_itimerspec(_timer(task, number)))
    return 0


def timer_getoverrun(task: Task, number: I32) -> int:
    """Return the expiries that the last signal stood for, beyond the first.  EINVAL."""
    return _timer(task, number).last_overrun


def timer_delete(task: Task, number: I32) -> int:
    """Delete a timer; a signal of it that is queued is dropped.  EINVAL."""
    timer = _timer(task, number)
    timer.disarm()
    del task.group.posix_timers[number]
    task.group.pending.drop_timer(number)
    if timer.target is not None:
        timer.target.pending.drop_timer(number)
    return 0
