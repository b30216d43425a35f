"""Processor time and resident sets: what the host says of its processes and threads, and who used it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.clock import CPUCLOCK_SCHED, CPUCLOCK_VIRT
from pysc.sentry.fs import hostproc
from pysc.sentry.kernel.task import Task
from pysc.sentry.kernel.thread_group import Usage

if TYPE_CHECKING:
    from pysc.sentry.kernel.thread_group import ThreadGroup

HOST_TICK: Final = 10_000_000
"""USER_HZ, in nanoseconds."""
_KIB_A_PAGE: Final = 4
_STIME: Final = 12
"""Of the fields of stat that follow the name."""


def space_usage(host_pid: int) -> Usage:
    """Return what a host process has used; nothing if it is gone."""
    if host_pid <= 0:
        return Usage()
    clock = (~host_pid << 3) & 0xFFFF_FFFF
    if clock & 0x8000_0000:
        clock -= 1 << 32
    try:
        # Of another process: it needs no rights and cannot block.  What is counted in ticks may be ahead of the sum.
        both = time.clock_gettime_ns(clock | CPUCLOCK_SCHED)
        user = min(both, time.clock_gettime_ns(clock | CPUCLOCK_VIRT))
    except OSError:
        return Usage()
    return Usage(user, both - user, resident_set(host_pid))


def resident_set(host_pid: int) -> int:
    """Return the resident set of a host process in KiB.  statm takes no lock that a guest could hold."""
    try:
        return int(hostproc.read(f"{host_pid}/statm").split()[1]) * _KIB_A_PAGE
    except (OSError, ValueError, IndexError):
        return 0


def group_usage(group: ThreadGroup) -> Usage:
    """Return what a process has used up to now."""
    total = group.usage.plus(Usage())
    seen = set()
    for task in group.tasks.values():
        pid = task.memory.space.host_pid
        if pid not in seen and not task.memory.ended:
            seen.add(pid)
            total.add(space_usage(pid))
    return total


def task_usage(task: Task) -> Usage:
    """Return what a thread has used up to now.

    The host tells nobody the clock of another process's thread, so it is exact where the thread has always been alone;
    of others it says what it knew at the last tick, or when the thread slept.
    """
    group, memory = task.group, task.memory
    if memory.users == 1 and not group.threaded:
        return group_usage(group)
    place = f"{memory.space.host_pid}/task/{task.thread.host_tid}"
    try:
        total = int(hostproc.read(f"{place}/schedstat").split()[0])
        system = int(hostproc.read(f"{place}/stat").rpartition(b")")[2].split()[_STIME]) * HOST_TICK
    except (OSError, ValueError, IndexError):
        return Usage()
    return Usage(max(0, total - system), min(total, system), resident_set(memory.space.host_pid))


def cpu_time(who: ThreadGroup | Task) -> int:
    """Return the processor time of a process or a thread in nanoseconds."""
    usage = task_usage(who) if isinstance(who, Task) else group_usage(who)
    return usage.user + usage.system
