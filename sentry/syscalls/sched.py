"""Scheduling (sched(7)): priorities are kept and shown, the host schedules as it does."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pysc.cabi.linux.capability import CAP_SYS_NICE
from pysc.cabi.linux.errors import E2BIG, EACCES, EINVAL, EPERM, ESRCH, LinuxError
from pysc.cabi.linux.resource import RLIMIT_NICE
from pysc.cabi.linux.sched import (
    SCHED_BATCH,
    SCHED_DEADLINE,
    SCHED_FIFO,
    SCHED_FLAG_DL_OVERRUN,
    SCHED_FLAG_KEEP_PARAMS,
    SCHED_FLAG_KEEP_POLICY,
    SCHED_FLAG_RECLAIM,
    SCHED_FLAG_RESET_ON_FORK,
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
_POLICIES: Final = frozenset({SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE})
_REALTIME: Final = frozenset({SCHED_FIFO, SCHED_RR})
SCHED_ATTR: Final = struct.Struct("<IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period."""
_ATTR_MAX: Final = 4096
_FLAGS: Final = (
    SCHED_FLAG_RESET_ON_FORK
    | SCHED_FLAG_RECLAIM
    | SCHED_FLAG_DL_OVERRUN
    | SCHED_FLAG_KEEP_POLICY
    | SCHED_FLAG_KEEP_PARAMS
)
RR_INTERVAL: Final = 4_000_000


def sched_yield(task: Task) -> HostCall:
    """Let others run."""
    del task
    return HostCall(NR_SCHED_YIELD, ())


def _task(task: Task, pid: int, *, negative: type[LinuxError] = EINVAL) -> Task:
    if pid < 0:
        raise negative
    other = task if pid == 0 else task.kernel.task(pid)
    if other is None:
        raise ESRCH
    return other


def _owned(task: Task, other: Task) -> bool:
    """Whether ``task`` may set what it likes of ``other`` within its limits."""
    return task.creds.euid in (other.creds.uid, other.creds.euid)


def _privileged(task: Task) -> bool:
    return task.creds.has_capability(CAP_SYS_NICE)


def sched_getaffinity(task: Task, pid: Pid, size: U32, address: Addr) -> int:
    """Return the processors that a task may run on; the bytes written."""
    other = _task(task, pid, negative=ESRCH)
    count = task.kernel.cpu_count
    words = -(-count // 64)
    if size < words * 8 or size % 8:
        raise EINVAL
    task.put(address, (other.scheduling.affinity & ((1 << count) - 1)).to_bytes(words * 8, "little"))
    return words * 8


async def sched_setaffinity(task: Task, pid: Pid, size: U32, address: Addr) -> int:
    """Set the processors that a task may run on, one of which there must be; the host's scheduler is not told."""
    mask = int.from_bytes(await task.copy_in(address, min(size, 1024)), "little")
    other = _task(task, pid, negative=ESRCH)
    if not _owned(task, other) and not _privileged(task):
        raise EPERM
    if not mask & ((1 << task.kernel.cpu_count) - 1):
        raise EINVAL
    other.scheduling = replace(other.scheduling, affinity=mask)
    return 0


def sched_getscheduler(task: Task, pid: Pid) -> int:
    """Return the policy, and whether children begin with the default one."""
    scheduling = _task(task, pid).scheduling
    return scheduling.policy | (SCHED_RESET_ON_FORK if scheduling.reset_on_fork else 0)


async def sched_setscheduler(task: Task, pid: Pid, policy: I32, address: Addr) -> int:
    """Set the policy: real-time ones are EPERM."""
    if policy < 0 or pid < 0 or not address:
        raise EINVAL
    (priority,) = struct.unpack("<i", await task.copy_in(address, 4))
    _set(task, _task(task, pid), policy & ~SCHED_RESET_ON_FORK, priority, reset=bool(policy & SCHED_RESET_ON_FORK))
    return 0


def _set(task: Task, other: Task, policy: int, priority: int, *, reset: bool, nice: int | None = None) -> None:
    """Set policy and nice value.  EINVAL, EPERM."""
    before = other.scheduling
    if nice is None or policy == SCHED_IDLE:
        nice = before.nice
    if policy not in _POLICIES or priority not in ((0,) if policy not in _REALTIME else range(1, 100)):
        raise EINVAL
    if policy in _REALTIME or policy == SCHED_DEADLINE:
        raise EPERM("the host schedules")
    if not _privileged(task) and (
        not _owned(task, other)
        or (nice < before.nice and not _may_raise(other, nice))
        or (before.policy == SCHED_IDLE != policy and not _may_raise(other, before.nice))
        or (before.reset_on_fork and not reset)
    ):
        raise EPERM
    other.scheduling = replace(before, policy=policy, nice=nice, reset_on_fork=reset)


async def sched_setparam(task: Task, pid: Pid, address: Addr) -> int:
    """Set the priority, of which the policies that there are have none."""
    if pid < 0 or not address:
        raise EINVAL
    (priority,) = struct.unpack("<i", await task.copy_in(address, 4))
    other = _task(task, pid)
    _set(task, other, other.scheduling.policy, priority, reset=other.scheduling.reset_on_fork)
    return 0


def sched_getparam(task: Task, pid: Pid, address: Addr) -> int:
    """Return the priority, 0."""
    if pid < 0 or not address:
        raise EINVAL
    _task(task, pid)
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
    if flags or pid < 0 or not address or not SCHED_ATTR.size <= size <= _ATTR_MAX:
        raise EINVAL
    scheduling = _task(task, pid).scheduling
    kept = SCHED_FLAG_RESET_ON_FORK if scheduling.reset_on_fork else 0
    task.put(address, SCHED_ATTR.pack(SCHED_ATTR.size, scheduling.policy, kept, scheduling.nice, 0, 0, 0, 0))
    return 0


async def sched_setattr(task: Task, pid: Pid, address: Addr, flags: U32) -> int:
    """Set policy and nice value: real-time policies are EPERM.  EINVAL, E2BIG (tells the size that is known)."""
    if flags or pid < 0 or not address:
        raise EINVAL
    size = int.from_bytes(await task.copy_in(address, 4), "little") or SCHED_ATTR.size
    if not SCHED_ATTR.size <= size <= _ATTR_MAX or any(
        await task.copy_in(address + SCHED_ATTR.size, size - SCHED_ATTR.size)
    ):
        await task.copy_out(address, SCHED_ATTR.size.to_bytes(4, "little"))
        raise E2BIG
    _, policy, kept, nice, priority, *times = SCHED_ATTR.unpack(await task.copy_in(address, SCHED_ATTR.size))
    other = _task(task, pid)
    scheduling = other.scheduling
    reset = bool(kept & SCHED_FLAG_RESET_ON_FORK)
    if kept & SCHED_FLAG_KEEP_POLICY:
        policy, reset = scheduling.policy, scheduling.reset_on_fork
    if kept & SCHED_FLAG_KEEP_PARAMS:
        nice, priority = scheduling.nice, 0
    if policy == SCHED_DEADLINE and not 0 < times[0] <= times[1] <= (times[2] or times[1]):
        raise EINVAL
    if kept & ~_FLAGS:
        raise EINVAL
    _set(task, other, policy, priority, reset=reset, nice=max(-20, min(19, nice)))
    return 0


def _chosen(task: Task, which: int, who: int) -> list[Task]:
    tasks = task.kernel.tasks.values()
    if which == PRIO_PROCESS:
        chosen = [task if who == 0 else task.kernel.task(who)]
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
    return max(20 - other.scheduling.nice for other in _chosen(task, which, who))


def setpriority(task: Task, which: I32, who: I32, nice: I32) -> int:
    """Set nice values.  EACCES for raising the priority, EPERM for others' tasks: these stay as they are."""
    nice = max(-20, min(19, nice))
    refused: LinuxError | None = None
    for other in _chosen(task, which, who):
        if not _privileged(task) and not _owned(task, other):
            refused = EPERM()
        elif nice < other.scheduling.nice and not _privileged(task) and not _may_raise(other, nice):
            refused = EACCES()
        else:
            other.scheduling = replace(other.scheduling, nice=nice)
    if refused is not None:
        raise refused
    return 0


def _may_raise(other: Task, nice: int) -> bool:
    return 20 - nice <= other.group.limit(RLIMIT_NICE)
