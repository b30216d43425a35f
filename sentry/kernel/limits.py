"""Limits that somebody must watch or pass on: processor time (RLIMIT_CPU) and address space (RLIMIT_AS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.clock import SECOND
from pysc.cabi.linux.resource import RLIM_INFINITY, RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_STACK
from pysc.cabi.linux.signals import SIGKILL, SIGXCPU
from pysc.sentry.kernel.scheduler import Timer, now
from pysc.sentry.kernel.siginfo import SigInfo
from pysc.sentry.kernel.timers import CPU_POLL
from pysc.sentry.kernel.usage import cpu_time
from pysc.sentry.loader.image import stack_size

if TYPE_CHECKING:
    from pysc.sentry.kernel.memory import Memory
    from pysc.sentry.kernel.thread_group import ThreadGroup


class CpuLimit:
    """RLIMIT_CPU of one process: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one.

    The processor time is read when the limit may have been reached at the earliest, at most each tick.
    """

    __slots__ = ("_group", "_timer")

    def __init__(self, group: ThreadGroup) -> None:
        self._group = group
        self._timer: Timer | None = None
        self._look()

    def cancel(self) -> None:
        """Look no more: the limit has changed, or the process has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        from pysc.sentry.kernel.signals import send_signal

        self._timer = None
        group = self._group
        if group.exited:
            return
        used = cpu_time(group)
        soft, hard = group.limits[RLIMIT_CPU]
        if hard != RLIM_INFINITY and used >= hard * SECOND:
            send_signal(group, SigInfo.kernel(SIGKILL))
            return
        if used >= soft * SECOND:
            send_signal(group, SigInfo.kernel(SIGXCPU))
            soft += 1  # as Linux does it: getrlimit(2) shows it
            group.set_limit(RLIMIT_CPU, soft, hard)
        left = (min(soft, hard) * SECOND - used) // group.kernel.cpu_count
        self._timer = group.kernel.scheduler.call_at(now() + max(left, CPU_POLL), self._look)


def watch_cpu(group: ThreadGroup) -> None:
    """Begin to watch the limit that the process has now; after every change of it."""
    if group.cpu_limit is not None:
        group.cpu_limit.cancel()
        group.cpu_limit = None
    soft, hard = group.limits[RLIMIT_CPU]
    if min(soft, hard) != RLIM_INFINITY:
        group.cpu_limit = CpuLimit(group)


def limit_space(group: ThreadGroup, memory: Memory) -> None:
    """Hold an address space to RLIMIT_AS and RLIMIT_DATA; after every change of them, and for each new space.

    What another process shares (between vfork(2) and exec) stays as that one has it.
    """
    if memory.users != sum(task.memory is memory for task in group.tasks.values()):
        return
    memory.space.limit_heap(group.limit(RLIMIT_DATA))
    limit = group.limit(RLIMIT_AS)
    if limit != RLIM_INFINITY:
        limit += stack_size(group.limit(RLIMIT_STACK), 0)  # mapped whole, where Linux lets it grow
    memory.space.limit_memory(limit)
