"""What the calls that wait for files share: timeouts, temporary signal masks, what becomes of half a call."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.clock import SECOND, TIMESPEC
from pysc.cabi.linux.errors import EINVAL, LinuxError
from pysc.sentry.kernel.scheduler import Interrupted, Reason
from pysc.sentry.kernel.signals import set_temporary_mask

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

TIMEVAL: Final = Struct("<qq")
FOREVER: Final = 1 << 62
"""Longer than this is cut to this, as the kernel does with KTIME_MAX."""


def timespec_ns(data: bytes) -> int:
    """Return the nanoseconds of a struct timespec.  EINVAL."""
    seconds, nanoseconds = TIMESPEC.unpack(data)
    if seconds < 0 or not 0 <= nanoseconds < SECOND:
        raise EINVAL
    return min(int(seconds) * SECOND + int(nanoseconds), FOREVER)


def timeval_ns(data: bytes) -> int:
    """Return the nanoseconds of a struct timeval; more than a second of microseconds is allowed.  EINVAL."""
    seconds, microseconds = TIMEVAL.unpack(data)
    if seconds < 0 or microseconds < 0:
        raise EINVAL
    return min(int(seconds) * SECOND + int(microseconds) * 1000, FOREVER)


async def deadline_in(task: Task, address: int) -> int | None:
    """Read the struct timespec of a timeout; None (no pointer) is forever.  EFAULT, EINVAL."""
    if not address:
        return None
    return task.deadline(timespec_ns(await task.copy_in(address, TIMESPEC.size)))


async def read_sigmask(task: Task, address: int, size: int) -> int | None:
    """Read a sigset_t; None if there is none.  EFAULT, EINVAL (its size)."""
    if not address:
        return None
    if size != 8:
        raise EINVAL
    return int.from_bytes(await task.copy_in(address, 8), "little")


def use_sigmask(task: Task, mask: int | None) -> None:
    """Block ``mask``, if there is one, until the call in progress ends, or its signal handler has returned."""
    if mask is not None:
        set_temporary_mask(task, mask)


def cut_short(task: Task, error: LinuxError | Interrupted, done: int) -> int:
    """Return the result of a call that could not go on after ``done`` bytes; raise ``error`` if that is none.

    A freeze is no end: the call goes on behind them when it is begun again.
    """
    if isinstance(error, Interrupted):
        done += error.moved
        if error.reason is Reason.FREEZE:
            task.recorded().done = done
            raise error
    if not done:
        raise error
    return done
