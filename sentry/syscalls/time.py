"""Clocks and sleeping: clock_gettime(2), clock_nanosleep(2), gettimeofday(2), times(2)."""

from __future__ import annotations

import time as host
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import clock as abi
from pysc.cabi.linux.capability import CAP_SYS_TIME
from pysc.cabi.linux.clock import SECOND, TICK, TIMESPEC
from pysc.cabi.linux.errors import EINVAL, EOPNOTSUPP, EPERM
from pysc.sentry.kernel.scheduler import Interrupted, Reason, now, park
from pysc.sentry.kernel.usage import cpu_time, group_usage
from pysc.sentry.syscalls.table import I32, Addr, Restart, restarts
from pysc.sentry.syscalls.waiting import timespec_ns

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

COARSE: Final = 4_000_000
USEC_A_TICK: Final = TICK // 1000
_HOST: Final = {
    abi.CLOCK_REALTIME: host.CLOCK_REALTIME,
    abi.CLOCK_MONOTONIC: host.CLOCK_MONOTONIC,
    abi.CLOCK_MONOTONIC_RAW: host.CLOCK_MONOTONIC_RAW,
    abi.CLOCK_REALTIME_COARSE: abi.CLOCK_REALTIME_COARSE,
    abi.CLOCK_MONOTONIC_COARSE: abi.CLOCK_MONOTONIC_COARSE,
    abi.CLOCK_BOOTTIME: host.CLOCK_BOOTTIME,
    abi.CLOCK_REALTIME_ALARM: host.CLOCK_REALTIME,
    abi.CLOCK_BOOTTIME_ALARM: host.CLOCK_BOOTTIME,
    abi.CLOCK_TAI: host.CLOCK_TAI,
}
REALTIME_CLOCKS: Final = frozenset({abi.CLOCK_REALTIME, abi.CLOCK_REALTIME_ALARM, abi.CLOCK_TAI})
MONOTONIC_CLOCKS: Final = frozenset({abi.CLOCK_MONOTONIC, abi.CLOCK_BOOTTIME, abi.CLOCK_BOOTTIME_ALARM})


def is_clock(clock: int) -> bool:
    """Whether it is a clock of the wall's or the machine's."""
    return clock in _HOST


def cpu_clock(task: Task, clock: int) -> ThreadGroup | Task | None:
    """Return whose processor time a clock shows; None if it is not such a clock.  EINVAL (nobody's)."""
    if clock == abi.CLOCK_PROCESS_CPUTIME_ID:
        return task.group
    if clock == abi.CLOCK_THREAD_CPUTIME_ID:
        return task
    if clock >= 0:
        return None
    pid = ~(clock >> 3)
    if clock & abi.CPUCLOCK_MASK not in abi.CPUCLOCKS:
        raise EINVAL
    if not clock & abi.CPUCLOCK_PERTHREAD:
        group = task.group if pid == 0 else task.kernel.groups.get(pid)
        if group is None:
            raise EINVAL
        return group
    other = task if pid == 0 else task.kernel.tasks.get(pid)
    if other is None or other.group is not task.group:
        raise EINVAL
    return other


def read_clock(task: Task, clock: int) -> int:
    """Return a clock's time in nanoseconds.  EINVAL."""
    number = _HOST.get(clock)
    if number is not None:
        return host.clock_gettime_ns(number)
    who = cpu_clock(task, clock)
    if who is None:
        raise EINVAL
    return cpu_time(who)


def pack_timespec(nanoseconds: int) -> bytes:
    """Return a struct timespec."""
    return TIMESPEC.pack(nanoseconds // SECOND, nanoseconds % SECOND)


def clock_gettime(task: Task, clock: I32, address: Addr) -> int:
    """Return a clock's time."""
    task.put(address, pack_timespec(read_clock(task, clock)))
    return 0


def clock_getres(task: Task, clock: I32, address: Addr) -> int:
    """Return a clock's resolution."""
    if clock not in _HOST and cpu_clock(task, clock) is None:
        raise EINVAL
    if address:
        coarse = clock in (abi.CLOCK_REALTIME_COARSE, abi.CLOCK_MONOTONIC_COARSE)
        ticks = clock < 0 and clock & abi.CPUCLOCK_MASK != abi.CPUCLOCK_SCHED
        task.put(address, pack_timespec(COARSE if coarse or ticks else 1))
    return 0


async def clock_settime(task: Task, clock: I32, address: Addr) -> int:
    """Refuse: the host's clock is not a guest's to set."""
    if clock != abi.CLOCK_REALTIME and (clock >= 0 or cpu_clock(task, clock) is None):
        raise EINVAL
    timespec_ns(await task.copy_in(address, TIMESPEC.size))
    raise EPERM


async def adjtimex(task: Task, address: Addr) -> int:
    """Show a clock that nobody has synchronized, refuse to adjust the host's.  EINVAL, EPERM."""
    modes = int.from_bytes(await task.copy_in(address, 4), "little")
    if modes & abi.ADJ_ADJTIME and not modes & abi.ADJ_OFFSET_SINGLESHOT & ~abi.ADJ_ADJTIME:
        raise EINVAL
    if modes and modes != abi.ADJ_OFFSET_SS_READ:
        raise EPERM
    errors = (abi.NTP_MAX_ERROR, abi.NTP_MAX_ERROR, abi.STA_UNSYNC)
    time_now = divmod(host.time_ns() // 1000, 1_000_000)
    task.put(address, abi.TIMEX.pack(modes, 0, 0, *errors, 2, 1, abi.NTP_TOLERANCE, *time_now, USEC_A_TICK))
    return abi.TIME_ERROR


async def clock_adjtime(task: Task, clock: I32, address: Addr) -> int:
    """As adjtimex(2), of the one clock that can be adjusted.  EINVAL, EOPNOTSUPP."""
    if clock != abi.CLOCK_REALTIME:
        raise EOPNOTSUPP if clock in _HOST or cpu_clock(task, clock) is not None else EINVAL
    return await adjtimex(task, address)


async def settimeofday(task: Task, timeval: Addr, timezone: Addr) -> int:
    """Refuse, as clock_settime(2); a time zone alone is taken and ignored by the privileged."""
    if not timeval and timezone and task.creds.has_capability(CAP_SYS_TIME):
        return 0
    raise EPERM


def gettimeofday(task: Task, timeval: Addr, timezone: Addr) -> int:
    """Return the time of day; the time zone is UTC."""
    if timeval:
        microseconds = host.time_ns() // 1000
        task.put(timeval, TIMESPEC.pack(microseconds // 1_000_000, microseconds % 1_000_000))
    if timezone:
        task.put(timezone, bytes(8))
    return 0


def time(task: Task, address: Addr) -> int:
    """Return the seconds since the epoch."""
    seconds = int(host.time())
    if address:
        task.put(address, seconds.to_bytes(8, "little"))
    return seconds


def times(task: Task, address: Addr) -> int:
    """Return ticks since boot, and the processor times of the process and its children."""
    if address:
        own, children = group_usage(task.group), task.group.account.children
        values = (own.user, own.system, children.user, children.system)
        task.put(address, abi.TMS.pack(*(value // TICK for value in values)))
    return now() // TICK


@restarts(Restart.BLOCK)
async def nanosleep(task: Task, request: Addr, remainder: Addr) -> int:
    """Sleep.  EINTR with what is left of it."""
    duration = timespec_ns(await task.copy_in(request, TIMESPEC.size))
    return await _sleep_until(task, task.deadline(duration), remainder)


@restarts(Restart.BLOCK)
async def clock_nanosleep(task: Task, clock: I32, flags: I32, request: Addr, remainder: Addr) -> int:
    """Sleep for a time, or until one with TIMER_ABSTIME."""
    if clock not in REALTIME_CLOCKS | MONOTONIC_CLOCKS:
        if clock == abi.CLOCK_THREAD_CPUTIME_ID:
            raise EOPNOTSUPP
        who = cpu_clock(task, clock)
        if who is None or who is task:
            raise EOPNOTSUPP if clock in _HOST else EINVAL
        return await _sleep_on_cpu_time(task, who, flags, request)
    requested = timespec_ns(await task.copy_in(request, TIMESPEC.size))
    if not flags & abi.TIMER_ABSTIME:
        return await _sleep_until(task, task.deadline(requested), remainder)
    while True:
        left = requested - read_clock(task, clock)
        if left <= 0:
            return 0
        await park(deadline=now() + min(left, SECOND if clock in REALTIME_CLOCKS else left))


async def _sleep_on_cpu_time(task: Task, who: ThreadGroup | Task, flags: int, request: int) -> int:
    requested = timespec_ns(await task.copy_in(request, TIMESPEC.size))
    if not flags & abi.TIMER_ABSTIME:
        record = task.recorded()
        if record.deadline is None:
            record.deadline = cpu_time(who) + requested
        requested = record.deadline
    while (left := requested - cpu_time(who)) > 0:
        await park(deadline=now() + max(left // task.kernel.cpu_count, TICK // 10))
    return 0


async def _sleep_until(task: Task, deadline: int, remainder: int) -> int:
    try:
        while now() < deadline:
            await park(deadline=deadline)
    except Interrupted as interrupted:
        if remainder and interrupted.reason is Reason.SIGNAL:
            task.put(remainder, pack_timespec(max(0, deadline - now())))
        raise
    return 0
