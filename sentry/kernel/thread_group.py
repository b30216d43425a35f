"""Thread groups: what POSIX calls a process (struct signal_struct)."""

from __future__ import annotations

from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.resource import DEFAULT_LIMITS, RLIM_NLIMITS
from pysc.cabi.linux.signals import SIGCHLD
from pysc.sentry.kernel.account import Account
from pysc.sentry.kernel.pending import PendingSignals
from pysc.sentry.kernel.scheduler import Completion, WaitQueue, now

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.limits import CpuLimit
    from pysc.sentry.kernel.session import ProcessGroup, Session
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.timers import ItimerTimer, PosixTimer

_LIMITS: Final = Struct(f"<{2 * RLIM_NLIMITS}Q")


class ThreadGroup:
    """A process: its tasks, its parent and children, its limits and what is signalled to it as a whole.

    Invariant: ``tasks`` holds the living; when it is empty the group is a zombie (``exited``) until it is reaped,
    which takes it out of ``kernel.groups``, its process group and its parent's ``children``.
    """

    __slots__ = (
        "account",
        "alarm_timers",
        "child_wait",
        "children",
        "continue_unreported",
        "cpu_limit",
        "dethreaded",
        "did_exec",
        "exec_id",
        "exit_signal",
        "exit_status",
        "exit_waiters",
        "exited",
        "exiting",
        "is_init",
        "is_subreaper",
        "kernel",
        "leader",
        "limits",
        "oom_score_adj",
        "parent",
        "pending",
        "posix_timers",
        "process_group",
        "ptracer",
        "reaped",
        "signalfd_wait",
        "start_time",
        "stop_pending",
        "stop_unreported",
        "stopped",
        "tasks",
        "tgid",
        "threaded",
        "unprotected",
    )

    process_group: ProcessGroup
    """Set by ProcessGroup.join before the group is visible."""
    leader: Task
    """The task whose tid is the tgid; stays after it has exited, until the group is reaped."""

    def __init__(self, kernel: Kernel, tgid: int, parent: ThreadGroup | None) -> None:
        self.kernel = kernel
        self.tgid = tgid
        self.tasks: dict[int, Task] = {}
        self.parent = parent
        """None for init, and for processes that were started from outside."""
        self.children: dict[int, ThreadGroup] = {}
        """By tgid, zombies included."""
        self.limits: list[tuple[int, int]] = list(DEFAULT_LIMITS if parent is None else parent.limits)
        """(soft, hard) by RLIMIT_*."""
        self.pending = PendingSignals()
        """Signals to the process as a whole."""
        self.exit_signal = SIGCHLD
        """What the parent is sent at the end; 0: nothing."""
        self.exit_status: int | None = None
        """The status as wait(2) encodes it, once the end has begun."""
        self.exiting = False
        """No task of it will run guest code again."""
        self.exited = False
        """No task is left: a zombie."""
        self.reaped = False
        self.exit_waiters = WaitQueue()
        """Woken when ``exited`` becomes true (pidfds, those who started it from outside)."""
        self.child_wait = WaitQueue()
        """Woken when a child may be waited for."""
        self.dethreaded: Completion[None] | None = None
        """Resolved when an exec in progress has only one task left."""
        self.signalfd_wait = WaitQueue()
        """Woken when a signal is queued to the process or one of its tasks."""
        self.is_init = False
        """Signals without a handler do not reach it, and its end is the container's."""
        self.unprotected = False
        """They do reach init: it is dying of a fault, or a command like any other (``do``)."""
        self.is_subreaper = False
        self.ptracer = 0
        """The process besides ancestors that may take hold of it, with its children; -1: any (PR_SET_PTRACER)."""
        self.threaded = False
        """Whether its program has had more than one thread."""
        self.did_exec = False
        """Whether it has executed a program since its fork (setpgid(2))."""
        self.exec_id = 0
        """Another one with each program that it executes."""
        self.stop_pending = 0
        """The stop signal that its tasks are obeying; 0: none."""
        self.stopped = False
        self.stop_unreported = 0
        """The stop signal that wait(2) with WUNTRACED has not reported yet."""
        self.continue_unreported = False
        self.account = Account()
        self.start_time = now()
        self.alarm_timers: dict[int, ItimerTimer] = {}
        """By ITIMER_*."""
        self.posix_timers: dict[int, PosixTimer] = {}
        self.cpu_limit: CpuLimit | None = None
        """Watches RLIMIT_CPU, if there is one."""
        self.oom_score_adj: int = 0 if parent is None else parent.oom_score_adj

    @property
    def session(self) -> Session:
        """The session of its process group."""
        return self.process_group.session

    def set_limit(self, resource: int, soft: int, hard: int) -> None:
        """Set a limit, and show it to fast paths."""
        self.limits[resource] = (soft, hard)
        packed = self.packed_limits()
        for task in self.tasks.values():
            task.thread.set_limits(packed)

    def packed_limits(self) -> bytes:
        """Return all limits, as fast paths show them."""
        return _LIMITS.pack(*chain.from_iterable(self.limits))

    def limit(self, resource: int) -> int:
        """Return the soft limit of RLIMIT_* number ``resource``; RLIM_INFINITY is 2**64-1."""
        return self.limits[resource][0]
