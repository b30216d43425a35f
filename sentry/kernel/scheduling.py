"""What sched(7), nice(2), taskset(1) and ioprio_set(2) set of a task: kept, inherited and shown; the host schedules."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from pysc.cabi.linux.sched import SCHED_OTHER


class Scheduling(msgspec.Struct, frozen=True):
    """Of one task.  What Linux sets by system calls is set by replacing it."""

    nice: int = 0
    policy: int = SCHED_OTHER
    reset_on_fork: bool = False
    affinity: int = -1
    """The processors it may run on, as a mask, online or not."""
    ioprio: int = 0
    """Class and level; 0: none is set."""

    def after_fork(self) -> Scheduling:
        """Return a child's."""
        return replace(self, nice=max(0, self.nice), reset_on_fork=False) if self.reset_on_fork else self
