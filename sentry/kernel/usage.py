"""Processor time and resident sets: what the host says of its processes and threads, and who used it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.clock import CPUCLOCK_SCHED, CPUCLOCK_VIRT, TICK
from pysc.sentry.fs import hostproc
from pysc.sentry.kernel.account import Usage
from pysc.sentry.kernel.task import Task

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.thread_group import ThreadGroup
    from pysc.sentry.platform.interface import Space, Thread

_KIB_A_PAGE: Final = 4
_STIME: Final = 12
"""Of the fields of stat that follow the name."""


def _clock(host_pid: int, which: int) -> int:
    """Return a host process's processor time; 0 if it is gone.  It needs no rights and cannot block."""
    if host_pid <= 0:
        return 0
    clock = (~host_pid << 3 | which) & 0xFFFF_FFFF
    try:
        return time.clock_gettime_ns(clock - (1 << 32) if clock & 0x8000_0000 else clock)
    except OSError:
        return 0


def _split(of: Space | Thread, both: int, system: int) -> tuple[int, int]:
    """Divide processor time into the program's and the kernel's, so that neither ever goes back, as on Linux.

    The host counts the sum exactly and the parts in ticks: a tick of the program's, seen by itself, takes it from the
    kernel's part.
    """
    user_said, system_said = of.said
    both = max(both, user_said + system_said)
    system = min(max(system, system_said), both - user_said)
    of.said = both - system, system
    return of.said


def processor_times(space: Space) -> tuple[int, int]:
    """Return what a space has used, by itself and by the host's kernel, in ns; the last known if it is gone."""
    both = _clock(space.host_pid, CPUCLOCK_SCHED)
    return _split(space, both, both - _clock(space.host_pid, CPUCLOCK_VIRT))


def _resident_set(host_pid: int) -> int:
    """Return the resident set of a host process in KiB.  statm takes no lock that a guest could hold."""
    try:
        return int(hostproc.read(f"{host_pid}/statm").split()[1]) * _KIB_A_PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _spaces(tasks: Mapping[int, Task]) -> Collection[Space]:
    return {task.memory.space.host_pid: task.memory.space for task in tasks.values() if not task.memory.ended}.values()


def group_usage(group: ThreadGroup) -> Usage:
    """Return what a process has used up to now."""
    total = group.account.own.plus(Usage())
    for space in _spaces(group.tasks):
        total.add(Usage(*processor_times(space), _resident_set(space.host_pid)))
    return total


def machine_usage(kernel: Kernel) -> Usage:
    """Return the processor time that all processes have used up to now, whoever has waited for them."""
    total = kernel.spent.plus(Usage())
    for space in _spaces(kernel.tasks):
        total.add(Usage(*processor_times(space)))
    return total


def task_usage(task: Task) -> Usage:
    """Return what a thread has used up to now."""
    if _alone(task):
        return group_usage(task.group)
    total = _thread_time(task)
    host_pid = task.memory.space.host_pid
    try:
        fields = hostproc.read(f"{host_pid}/task/{task.thread.host_tid}/stat").rpartition(b")")[2].split()
        system = int(fields[_STIME]) * TICK
    except (OSError, ValueError, IndexError):
        system = 0
    return Usage(*_split(task.thread, total, system), _resident_set(host_pid))


def cpu_time(who: ThreadGroup | Task) -> int:
    """Return the processor time of a process or a thread in nanoseconds."""
    if isinstance(who, Task):
        if not _alone(who):
            return _thread_time(who)
        who = who.group
    clocks = sum(_clock(space.host_pid, CPUCLOCK_SCHED) for space in _spaces(who.tasks))
    return who.account.own.user + who.account.own.system + clocks


def _alone(task: Task) -> bool:
    """Whether no other thread has used what its process has used."""
    return task.memory.users == 1 and not task.group.threaded


def _thread_time(task: Task) -> int:
    """Return the processor time of one thread of several, as of the last tick or when it slept; 0 if it is gone.

    The host tells nobody the clock of another process's thread.
    """
    try:
        return int(hostproc.read(f"{task.memory.space.host_pid}/task/{task.thread.host_tid}/schedstat").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
