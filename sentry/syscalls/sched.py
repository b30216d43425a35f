"""Scheduling (sched(7)): priorities are kept and shown, the host schedules as it does."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.capability import CAP_SYS_NICE
from pysc.cabi.linux.errors import E2BIG, EACCES, EINVAL, EPERM, ESRCH
from pysc.cabi.linux.resource import RLIMIT_NICE
from pysc.cabi.linux.sched import (
    SCHED_BATCH,
    SCHED_FIFO,
    SCHED_IDLE,
    SCHED_OTHER,
    SCHED_RESET_ON_FORK,
    SCHED_RR,
)
from pysc.sentry.syscalls.table import I32, U32, Addr, HostCall, Pid
from pysc.sentry.syscalls.time import pack_timespec

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

NR_SCHED_YIELD: Final = 24
PRIO_PROCESS: Final = 0
PRIO_PGRP: Final = 1
PRIO_USER: Final = 2
_POLICIES: Final = frozenset({SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE})
_REALTIME: Final = frozenset({SCHED_FIFO, SCHED_RR})
SCHED_ATTR: Final = struct.Struct("<IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period."""
RR_INTERVAL: Final = 4_000_000


def sched_yield(task: Task) -> HostCall:
    """Let others run."""
    del task
    return HostCall(NR_SCHED_YIELD, ())


def _task(task: Task, pid: int) -> Task:
    if pid < 0:
        raise EINVAL
    other = task if pid == 0 else task.kernel.tasks.get(pid)
    if other is None:
        raise ESRCH
    return other


def sched_getaffinity(task: Task, pid: Pid, size: U32, address: Addr) -> int:
    """Return the processors that a task may run on; the bytes written."""
    _task(task, pid)
    count = task.kernel.cpu_count
    words = -(-count // 64)
    if size < words * 8 or size % 8:
        raise EINVAL
    task.put(address, ((1 << count) - 1).to_bytes(words * 8, "little"))
    return words * 8


async def sched_setaffinity(task: Task, pid: Pid, size: U32, address: Addr) -> int:
    """Check that a processor is left; the host's scheduler is not told."""
    _task(task, pid)
    mask = int.from_bytes(await task.copy_in(address, min(size, 1024)), "little")
    if not mask & ((1 << task.kernel.cpu_count) - 1):
        raise EINVAL
    return 0


def sched_getscheduler(task: Task, pid: Pid) -> int:
    """Return the policy: everybody's is SCHED_OTHER."""
    _task(task, pid)
    return SCHED_OTHER


async def sched_setscheduler(task: Task, pid: Pid, policy: I32, address: Addr) -> int:
    """Set the policy: real-time ones are EPERM."""
    (priority,) = struct.unpack("<i", await task.copy_in(address, 4))
    _set_policy(task, pid, policy & ~SCHED_RESET_ON_FORK, priority)
    return 0


def _set_policy(task: Task, pid: int, policy: int, priority: int) -> None:
    _task(task, pid)
    if policy not in _POLICIES:
        raise EINVAL
    if policy in _REALTIME:
        if not 1 <= priority <= 99:
            raise EINVAL
        raise EPERM
    if priority:
        raise EINVAL


async def sched_setparam(task: Task, pid: Pid, address: Addr) -> int:
    """Set the priority of SCHED_OTHER, which has none."""
    (priority,) = struct.unpack("<i", await task.copy_in(address, 4))
    _set_policy(task, pid, SCHED_OTHER, priority)
    return 0


def sched_getparam(task: Task, pid: Pid, address: Addr) -> int:
    """Return the priority, 0."""
    _task(task, pid)
    if not address:
        raise EINVAL
    task.put(address, bytes(4))
    return 0


def sched_get_priority_max(task: Task, policy: I32) -> int:
    """Return the highest priority of a policy."""
    del task
    if policy not in _POLICIES:
        raise EINVAL
    return 99 if policy in _REALTIME else 0


def sched_get_priority_min(task: Task, policy: I32) -> int:
    """Return the lowest priority of a policy."""
    del task
    if policy not in _POLICIES:
        raise EINVAL
    return 1 if policy in _REALTIME else 0


def sched_rr_get_interval(task: Task, pid: Pid, address: Addr) -> int:
    """Return a time slice."""
    _task(task, pid)
    task.put(address, pack_timespec(RR_INTERVAL))
    return 0


def sched_getattr(task: Task, pid: Pid, address: Addr, size: U32, flags: U32) -> int:
    """Return policy and nice value."""
    other = _task(task, pid)
    if flags or size < SCHED_ATTR.size or size > 4096:
        raise EINVAL
    task.put(address, SCHED_ATTR.pack(SCHED_ATTR.size, SCHED_OTHER, 0, other.nice, 0, 0, 0, 0))
    return 0


async def sched_setattr(task: Task, pid: Pid, address: Addr, flags: U32) -> int:
    """Set policy and nice value: real-time policies are EPERM."""
    if flags:
        raise EINVAL
    size, policy, _, nice, priority, _, _, _ = SCHED_ATTR.unpack(await task.copy_in(address, SCHED_ATTR.size))
    if size and size < SCHED_ATTR.size:
        raise E2BIG
    _set_policy(task, pid, policy, priority)
    _set_nice(task, _task(task, pid), nice)
    return 0


def _chosen(task: Task, which: int, who: int) -> list[Task]:
    tasks = task.kernel.tasks.values()
    if which == PRIO_PROCESS:
        chosen = [task if who == 0 else task.kernel.tasks.get(who)]
    elif which == PRIO_PGRP:
        pgid = who or task.group.process_group.pgid
        chosen = [other for other in tasks if other.group.process_group.pgid == pgid]
    elif which == PRIO_USER:
        uid = who or task.creds.uid
        chosen = [other for other in tasks if other.creds.uid == uid]
    else:
        raise EINVAL
    found = [other for other in chosen if other is not None]
    if not found:
        raise ESRCH
    return found


def getpriority(task: Task, which: I32, who: I32) -> int:
    """Return 20 minus the lowest nice value, as the system call does."""
    return max(20 - other.nice for other in _chosen(task, which, who))


def setpriority(task: Task, which: I32, who: I32, nice: I32) -> int:
    """Set nice values.  EACCES for raising the priority, EPERM for others' tasks."""
    for other in _chosen(task, which, who):
        _set_nice(task, other, nice)
    return 0


def _set_nice(task: Task, other: Task, nice: int) -> None:
    nice = max(-20, min(19, nice))
    privileged = task.creds.has_capability(CAP_SYS_NICE)
    if not privileged and task.creds.euid not in (other.creds.uid, other.creds.euid):
        raise EPERM
    if nice < other.nice and not privileged and 20 - nice > other.group.limit(RLIMIT_NICE):
        raise EACCES
    other.nice = nice


def ioprio_get(task: Task, which: I32, who: I32) -> int:
    """Return the I/O priority: none is set."""
    if which not in (1, 2, 3):
        raise EINVAL
    if which == 1:
        _task(task, who)
    return 0


def ioprio_set(task: Task, which: I32, who: I32, priority: I32) -> int:
    """Take an I/O priority: the host decides."""
    if which not in (1, 2, 3) or priority >> 13 not in (0, 1, 2, 3):
        raise EINVAL
    if which == 1:
        _task(task, who)
    if priority >> 13 == 1 and not task.creds.has_capability(CAP_SYS_NICE):
        raise EPERM
    return 0
