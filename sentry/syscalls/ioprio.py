"""I/O priorities: ioprio_get(2), ioprio_set(2).  They are kept and shown; the host decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pysc.cabi.linux.capability import CAP_SYS_ADMIN, CAP_SYS_NICE
from pysc.cabi.linux.errors import EINVAL, EPERM, ESRCH
from pysc.sentry.syscalls.table import I32

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

WHO_PROCESS: Final = 1
WHO_PGRP: Final = 2
WHO_USER: Final = 3
CLASS_SHIFT: Final = 13
LEVELS: Final = 8
CLASS_NONE, CLASS_RT, CLASS_BE, CLASS_IDLE = range(4)


def _chosen(task: Task, which: int, who: int) -> list[Task]:
    tasks = task.kernel.tasks
    if which == WHO_PROCESS:
        other = task if who == 0 else task.kernel.task(who)
        chosen = [] if other is None else [other]
    elif which == WHO_PGRP:
        pgid = who or task.group.process_group.pgid
        chosen = [other for other in tasks.values() if other.group.process_group.pgid == pgid]
    elif which == WHO_USER:
        uid = who or task.creds.uid
        chosen = [other for other in tasks.values() if other.creds.uid == uid]
    else:
        raise EINVAL
    if not chosen:
        raise ESRCH
    return chosen


def _effective(task: Task) -> int:
    """Return what counts: without one of its own it follows the nice value."""
    scheduling = task.scheduling
    return scheduling.ioprio or CLASS_BE << CLASS_SHIFT | (scheduling.nice + 20) // 5


def ioprio_get(task: Task, which: I32, who: I32) -> int:
    """Return the I/O priority of a task, or the highest of several.  EINVAL, ESRCH."""
    chosen = _chosen(task, which, who)
    return chosen[0].scheduling.ioprio if which == WHO_PROCESS else min(map(_effective, chosen))


def ioprio_set(task: Task, which: I32, who: I32, priority: I32) -> int:
    """Set I/O priorities.  EINVAL, ESRCH, EPERM (real time, others' tasks)."""
    kind, level = priority >> CLASS_SHIFT, priority & ((1 << CLASS_SHIFT) - 1)
    creds = task.creds
    if kind not in (CLASS_NONE, CLASS_RT, CLASS_BE, CLASS_IDLE):
        raise EINVAL
    if kind == CLASS_RT and not creds.has_capability(CAP_SYS_NICE) and not creds.has_capability(CAP_SYS_ADMIN):
        raise EPERM
    if (kind == CLASS_NONE and level) or (kind != CLASS_IDLE and level >= LEVELS):
        raise EINVAL
    for other in _chosen(task, which, who):
        if other.creds.uid not in (creds.uid, creds.euid) and not creds.has_capability(CAP_SYS_NICE):
            raise EPERM
        other.scheduling = replace(other.scheduling, ioprio=priority)
    return 0
