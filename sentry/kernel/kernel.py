"""The kernel of one sandbox: what all tasks share."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from pysc.cabi.linux.clock import SECOND
from pysc.cabi.linux.errors import EAGAIN
from pysc.sentry.chance import Secrets
from pysc.sentry.ipc.namespace import IpcNamespace
from pysc.sentry.kernel.account import Usage
from pysc.sentry.kernel.machine import Machine
from pysc.sentry.kernel.scheduler import Scheduler, now
from pysc.sentry.kernel.scheduling import Scheduling
from pysc.sentry.kernel.signals import pending_interrupt
from pysc.sentry.loader.hwcap import read_processor
from pysc.sentry.net.namespace import NetNamespace

if TYPE_CHECKING:
    from pysc.sentry.kernel.session import ProcessGroup
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup
    from pysc.sentry.platform.interface import Platform
    from pysc.sentry.strace import Strace
    from pysc.sentry.syscalls.table import SyscallTable

PID_MAX: Final = 32768
BUGS_PER_SECOND: Final = 100


class Log(Protocol):
    """Where the kernel reports (a logging.Logger is one)."""

    def debug(self, message: str, /) -> None:
        """Log what helps a developer."""

    def info(self, message: str, /) -> None:
        """Log what a user may want to know."""

    def warning(self, message: str, /) -> None:
        """Log what a user should know."""

    def error(self, message: str, /) -> None:
        """Log a bug or a loss."""


class SilentLog:
    """A log that keeps nothing."""

    __slots__ = ()

    def debug(self, message: str, /) -> None:
        """Drop it."""

    def info(self, message: str, /) -> None:
        """Drop it."""

    def warning(self, message: str, /) -> None:
        """Drop it."""

    def error(self, message: str, /) -> None:
        """Drop it."""


class Uts(msgspec.Struct):
    """uname(2): what a guest sees of its machine."""

    hostname: bytes = b"pysc"
    domainname: bytes = b"(none)"
    sysname: bytes = b"Linux"
    release: bytes = b"6.12.0"
    version: bytes = b"#1 SMP pysc"
    machine: bytes = b"x86_64"


class Kernel:
    """All tasks by tid, groups by tgid, process groups by pgid, and the scheduler that runs their calls.

    Invariant: ``tasks`` holds living tasks, ``groups`` also zombies that nobody has waited for.
    """

    __slots__ = (
        "_cpu_count",
        "boot_time",
        "bugs",
        "compat_seen",
        "exit_status",
        "frozen",
        "groups",
        "init",
        "ipc",
        "lock_waits",
        "log",
        "machine",
        "net",
        "next_pid",
        "platform",
        "process_groups",
        "processor",
        "scheduler",
        "scheduling",
        "secrets",
        "settings",
        "spent",
        "strace",
        "table",
        "tasks",
        "uts",
        "workers",
    )

    def __init__(
        self,
        platform: Platform,
        table: SyscallTable,
        log: Log | None = None,
        workers: Any = None,
        machine: Machine | None = None,
    ) -> None:
        self.platform = platform
        self.table = table
        self.log: Log = log if log is not None else SilentLog()
        self.workers = workers
        """The gofer's and the C workers' client; None in tests."""
        self.machine = Machine() if machine is None else machine
        self.spent = Usage()
        """Processor time of all spaces that have ended."""
        self.scheduler = Scheduler(pending_interrupt)
        self.tasks: dict[int, Task] = {}
        self.groups: dict[int, ThreadGroup] = {}
        self.process_groups: dict[int, ProcessGroup] = {}
        self.init: ThreadGroup | None = None
        self.exit_status: int | None = None
        """The wait(2) status of init once it has ended: the container's."""
        self.uts = Uts()
        self.settings: dict[object, bytes] = {}
        """What was written to files of /proc/sys that have no effect, by what stands for the file there."""
        self.net = NetNamespace()
        self.ipc = IpcNamespace(self.machine.budget)
        self.lock_waits: dict[int, list[int]] = {}
        """Whose locks the owners of POSIX locks wait for (locks.py)."""
        self.processor = read_processor()
        self.scheduling = Scheduling(nice=os.getpriority(os.PRIO_PROCESS, 0))
        """Of programs that are started from outside: the host runs them, so with the niceness of its own."""
        self._cpu_count = len(os.sched_getaffinity(0))  # asked now: the engine moves this thread about later
        self.secrets = Secrets()
        self.boot_time = now()
        """On the clock of the scheduler; CLOCK_BOOTTIME of the guest counts from here in /proc/uptime."""
        self.next_pid = 1
        self.frozen = False
        self.strace: Strace | None = None
        """Prints a line for each system call, if asked."""
        self.compat_seen: set[int] = set()
        """Numbers that were asked for and refused: one line each in the log."""
        self.bugs: list[int] = []
        """When the last bugs were contained."""

    def rebuild(self) -> None:
        """Go on with what another process has made of this (pysc.sentry.state)."""
        self.scheduler.pending_interrupt = pending_interrupt

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a routine of the kernel's own; an exception out of it is logged."""
        self.scheduler.start(coroutine, None, self._on_spawned_exit)

    def _on_spawned_exit(self, _value: None, error: BaseException | None) -> None:
        if error is not None:
            self.log.error("a kernel routine failed: " + "".join(traceback.format_exception(error)))

    def report_bug(self, where: str, error: BaseException) -> None:
        """Log a contained bug; over a hundred in a second end the sandbox."""
        text = "".join(traceback.format_exception(error))[-8000:]
        self.log.error(f"bug contained in {where}: {text}")
        time_now = now()
        self.bugs = [when for when in self.bugs if time_now - when < SECOND]
        self.bugs.append(time_now)
        if len(self.bugs) > BUGS_PER_SECOND:
            raise SystemExit("too many internal errors in a second: the sandbox ends")

    def allocate_pid(self) -> int:
        """Return a free number for a task.  EAGAIN if there is none."""
        for _ in range(PID_MAX):
            pid = self.next_pid
            self.next_pid = pid + 1 if pid + 1 < PID_MAX else 300
            if pid not in self.tasks and pid not in self.groups and pid not in self.process_groups:
                return pid
        raise EAGAIN("no pid is free")

    def task(self, tid: int) -> Task | None:
        """Return a task by its number; a process's first one is there until the process is reaped."""
        task = self.tasks.get(tid)
        if task is None:
            group = self.groups.get(tid)
            return None if group is None else group.leader
        return task

    @property
    def wall_boot_time(self) -> int:
        """Seconds since the epoch at boot (btime of /proc/stat)."""
        return int(time.time() - (now() - self.boot_time) / 1e9)

    @property
    def cpu_count(self) -> int:
        """Processors that guests may run on."""
        return self._cpu_count
