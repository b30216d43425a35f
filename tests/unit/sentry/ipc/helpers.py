"""Fake tasks, and routines run by the real scheduler."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from pysc.cabi.linux.errors import EFAULT
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.pending import PendingSignals, SignalHandlers
from pysc.sentry.kernel.scheduler import Reason, Routine, Scheduler, WaitQueue
from pysc.sentry.kernel.task import Record, Task
from pysc.sentry.net.namespace import NetNamespace


class Outcome:
    """A routine that was started, and how it ended."""

    def __init__(self) -> None:
        self.routine: Routine
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False

    def on_exit(self, value: Any, error: BaseException | None) -> None:
        self.value, self.error, self.done = value, error, True

    def result(self) -> Any:
        assert self.done, "still waiting"
        if self.error is not None:
            raise self.error
        return self.value


class Runner:
    """A scheduler without a platform."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()

    def start(self, coroutine: Coroutine[Any, Any, Any], owner: Any = None) -> Outcome:
        outcome = Outcome()
        outcome.routine = self.scheduler.start(coroutine, owner, outcome.on_exit)
        self.settle()
        return outcome

    def settle(self) -> None:
        for _ in range(10_000):
            if self.scheduler.deadline() != 0:
                return
            self.scheduler.run_ready()
        raise AssertionError("never quiet")

    def run(self, coroutine: Coroutine[Any, Any, Any], owner: Any = None) -> Any:
        """Run what must not wait."""
        return self.start(coroutine, owner).result()

    def interrupt(self, outcome: Outcome, reason: Reason = Reason.SIGNAL) -> None:
        """Interrupt what waits, as a signal does that stays pending."""
        routine = outcome.routine
        owner = routine.owner = routine.owner or self
        self.scheduler.pending_interrupt = lambda asked: reason if asked is owner else None
        assert routine.interrupt(reason)
        self.settle()
        self.scheduler.pending_interrupt = lambda asked: None


class Limits:
    """A thread group of which only the limits are looked at."""

    tgid = 1

    def __init__(self) -> None:
        self.pending = PendingSignals()
        self.signalfd_wait = WaitQueue()
        self.tasks: dict[int, Any] = {}
        self.exited = False
        self.is_init = False
        self.stop_pending = 0

    def limit(self, resource: int) -> int:
        return 1024


class FakeKernel:
    """What sockets look for in a kernel."""

    def __init__(self) -> None:
        self.net = NetNamespace()
        self.groups: dict[int, Any] = {1: None}


class FakeThread:
    """What signals ask of a thread."""

    sigmask = 0

    def set_quiet(self, quiet: bool) -> None:
        """There are no fast paths."""


class FakeTask(Task):
    """A task with 1 MiB of memory at 0x10000."""

    BASE = 0x10000

    busy = False

    def __init__(self, kernel: Any = None) -> None:
        self.kernel: Any = kernel or FakeKernel()
        self.space = bytearray(1 << 20)
        self.fds = FDTable()
        self.group: Any = Limits()
        self.tid = 1
        self.creds = Credentials.of(0, 0)
        self.pending = PendingSignals()
        self._handlers = SignalHandlers()
        self.killed = False
        self.attention = False
        self.sigwait = 0
        self.group.tasks[1] = self
        self.thread: Any = FakeThread()
        self.saved_mask: int | None = None
        self.record: Record | None = None

    def publish_ids(self) -> None:
        """There is no guest half."""

    def publish_files(self) -> None:
        """There are no fast paths."""

    def _at(self, address: int, size: int) -> int:
        start = address - self.BASE
        if start < 0 or start + size > len(self.space):
            raise EFAULT
        return start

    async def copy_in(self, address: int, size: int) -> bytes:
        start = self._at(address, size)
        return bytes(self.space[start : start + size])

    async def copy_out(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self.put(address, data)

    def put(self, address: int, data: bytes | bytearray | memoryview) -> None:
        start = self._at(address, len(data))
        self.space[start : start + len(data)] = data

    def peek(self, address: int, size: int) -> bytes:
        start = self._at(address, size)
        return bytes(self.space[start : start + size])

    def install(self, file: FileDescription) -> int:
        return self.fds.install(file, 1024)
