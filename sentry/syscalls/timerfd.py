"""timerfd_create(2), timerfd_settime(2), timerfd_gettime(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pysc.cabi.linux.capability import CAP_WAKE_ALARM
from pysc.cabi.linux.clock import CLOCK_BOOTTIME_ALARM, CLOCK_REALTIME_ALARM, ITIMERSPEC, SECOND
from pysc.cabi.linux.errors import EINVAL, EPERM
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.sentry.fs.timerfd import CLOCKS, TimerFile
from pysc.sentry.syscalls.descriptors import install
from pysc.sentry.syscalls.table import I32, U32, Addr, Fd, only_bits
from pysc.sentry.syscalls.waiting import timespec_ns

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

TFD_CLOEXEC: Final = 0o2000000
TFD_TIMER_ABSTIME: Final = 1
TFD_TIMER_CANCEL_ON_SET: Final = 2
TfdFlags = Annotated[int, only_bits(O_NONBLOCK | TFD_CLOEXEC)]


def timerfd_create(task: Task, clockid: I32, flags: TfdFlags) -> int:
    """timerfd_create(2)."""
    if clockid not in CLOCKS:
        raise EINVAL
    if clockid in (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM) and not task.creds.has_capability(CAP_WAKE_ALARM):
        raise EPERM
    file = TimerFile(task.kernel.scheduler, clockid, flags & O_NONBLOCK)
    return install(task, file, cloexec=bool(flags & TFD_CLOEXEC))


def _timer(task: Task, fd: int) -> TimerFile:
    file = task.fds.get(fd)
    if not isinstance(file, TimerFile):
        raise EINVAL
    return file


def _pack(setting: tuple[int, int]) -> bytes:
    value, interval = setting
    return ITIMERSPEC.pack(*divmod(interval, SECOND), *divmod(value, SECOND))


async def timerfd_settime(task: Task, fd: Fd, flags: U32, new: Addr, old: Addr) -> None:
    """timerfd_settime(2).  Nobody inside can set a clock, so TFD_TIMER_CANCEL_ON_SET has nothing to cancel for."""
    data = await task.copy_in(new, ITIMERSPEC.size)
    if flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET):
        raise EINVAL
    interval, value = timespec_ns(data[:16]), timespec_ns(data[16:])
    timer = _timer(task, fd)
    before = timer.setting()
    timer.set(value, interval, absolute=bool(flags & TFD_TIMER_ABSTIME))
    if old:
        task.put(old, _pack(before))


def timerfd_gettime(task: Task, fd: Fd, current: Addr) -> None:
    """timerfd_gettime(2)."""
    task.put(current, _pack(_timer(task, fd).setting()))
