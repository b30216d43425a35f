"""A whole kernel on a platform that runs nothing: guests' calls are made by tests, verdicts are recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pysc.cabi.linux.errors import E2BIG, EFAULT, ENAMETOOLONG
from pysc.sentry.fs.context import FsContext
from pysc.sentry.fs.inode import Owner
from pysc.sentry.fs.path import MountNamespace
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.dispatch import on_event
from pysc.sentry.kernel.exec import start_program
from pysc.sentry.kernel.exit import exit_task
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.kernel.task import Task
from pysc.sentry.platform.interface import Access, Event, Image, Kind, Registers, SignalFrame
from pysc.sentry.syscalls.buffers import PUT_MAX
from pysc.sentry.syscalls.x86_64 import X86_64

ALL_CAPS = (1 << 41) - 1
BASE = 0x1000_0000
SIZE = 1 << 18
NUMBERS = {row.name: nr for nr, row in X86_64.rows.items()}

INIT_ELF = bytes.fromhex(
    "7f454c4602010100000000000000000002003e0001000000780040000000000040000000000000000000000000000000"
    "00000000400038000100000000000000" + "0100000005000000" + "0000000000000000" + "0000400000000000" * 2
    + "8000000000000000" * 2 + "0010000000000000" + "90909090909090f4"
)  # fmt: skip
"""An ELF program of one segment at 0x400000, entry 0x400078."""


class FakeLog:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str) -> None:
        self.lines.append(message)

    info = warning = error = debug


class FakeSpace:
    """A memory of 256 KiB at BASE."""

    def __init__(self, memory: bytearray | None = None) -> None:
        self.host_pid = 0
        self.fault = 0
        self.said = (0, 0)
        self.memory = bytearray(SIZE) if memory is None else bytearray(memory)
        self.killed = False
        self.heap_end = 0
        self.hidden = (0, 0)
        self.attached = (0, 0)

    async def begun(self) -> None:
        """It has always."""

    def take_mapped(self) -> tuple[()]:
        return ()

    def set_heap(self, start: int) -> None:
        self.heap_end = start

    def limit_heap(self, limit: int) -> None:
        """The fake guest half has no heap."""

    def tell_peak(self, callback: Callable[[int], None]) -> None:
        callback(0)

    def set_attached(self, start: int, end: int) -> None:
        self.attached = (start, end)

    def kill(self) -> None:
        self.killed = True


class FakeThread:
    """Records verdicts in ``log``; ``stopped`` until one is given."""

    busy = False

    def __init__(self, space: FakeSpace, platform: FakePlatform) -> None:
        self.space: Any = space
        self.platform = platform
        self.owner: Any = None
        self.regs = Registers()
        self.log: list[tuple[Any, ...]] = []
        self.stopped = True
        self.preempted = 0
        self.clear_tid = self.robust_list = self.sigmask = self.host_tid = 0
        self.said = (0, 0)
        self.quiet = False
        self.waits = False
        self.ids: tuple[int, ...] = ()
        self.host_results: dict[int, int] = {}
        self.host_calls: list[tuple[int, ...]] = []
        self.frame: SignalFrame | None = None
        self._puts: list[tuple[int, bytes]] = []
        self._fault: Callable[[], None] = lambda: None

    # Memory
    def _at(self, address: int, size: int) -> int:
        start = address - BASE
        if start < 0 or start + size > len(self.space.memory):
            raise EFAULT
        return start

    def prefetched(self, address: int, size: int) -> bytes | None:
        return None

    async def copy_in(self, address: int, size: int) -> bytes:
        start = self._at(address, size)
        return bytes(self.space.memory[start : start + size])

    async def copy_in_string(self, address: int, limit: int) -> bytes:
        start = self._at(address, 1)
        end = self.space.memory.find(b"\0", start, start + limit)
        if end < 0:
            raise ENAMETOOLONG
        return bytes(self.space.memory[start:end])

    async def copy_in_strings(self, address: int, limit: int) -> list[bytes]:
        strings: list[bytes] = []
        while pointer := int.from_bytes(await self.copy_in(address, 8), "little"):
            strings.append(await self.copy_in_string(pointer, limit))
            if sum(map(len, strings)) > limit:
                raise E2BIG
            address += 8
        return strings

    async def copy_out(self, address: int, data: bytes) -> None:
        start = self._at(address, len(data))
        self.space.memory[start : start + len(data)] = data

    def put(self, address: int, data: bytes) -> None:
        self._puts.append((address, bytes(data)))
        assert sum(len(put) for _address, put in self._puts) <= PUT_MAX

    # Host calls
    async def host_call(self, nr: int, *args: int) -> int:
        self.host_calls.append((nr, *args))
        return self.host_results.get(nr, 0)

    def prepare_map_file(self, *args: Any) -> bool:
        return False

    async def map_file(self, *args: int) -> int:
        self.host_calls.append((9, *args))
        return self.host_results.get(9, BASE)

    async def registers(self) -> Registers:
        return self.regs

    async def set_registers(self, registers: Registers) -> None:
        self.regs = registers

    def set_ids(self, *ids: int) -> None:
        self.ids = ids

    def use_files(self, table: int) -> None:
        pass

    def set_limits(self, limits: bytes) -> None:
        """There are no fast paths."""

    def let_wait(self) -> None:
        """There is nothing that spins."""

    def use_handlers(self, handlers: int) -> None:
        """There are no fast paths."""

    def use_context(self, context: int) -> None:
        pass

    def set_access(self, access: Access) -> None:
        self.access = access

    # Births
    def _tell(self, told: tuple[int, bytes] | None) -> None:
        if told is not None:
            start = self._at(told[0], len(told[1]))
            self.space.memory[start : start + len(told[1])] = told[1]

    def fork(self) -> FakeThread:
        return FakeThread(FakeSpace(self.space.memory), self.platform)

    def clone(self, stack: int, tls: int | None) -> FakeThread:
        thread = FakeThread(self.space, self.platform)
        thread.regs.rsp = stack
        return thread

    def prepare_birth(self, told: tuple[int, bytes] | None, tid: int) -> bool:
        return False

    async def bear(self, told: tuple[int, bytes] | None = None) -> None:
        self._tell(told)

    async def exec(self, image: Image) -> FakeThread:
        return await self.platform.first_thread(image)

    # Verdicts
    def _verdict(self, *what: Any) -> None:
        assert self.stopped, f"{what} for a running thread"
        assert not self.space.killed, f"{what} in a killed space"
        failed = False
        for address, data in self._puts:
            try:
                start = self._at(address, len(data))
                self.space.memory[start : start + len(data)] = data
            except EFAULT:
                failed = True
        self._puts.clear()
        if failed and what[0] == "reply":
            what = ("reply", -EFAULT.errno, *what[2:])
        self.stopped = False
        self.log.append(what)

    def reply(self, result: int, frame: SignalFrame | None = None) -> None:
        self.frame = frame
        self._verdict("reply", result)

    def reply_undoable(self, result: int) -> None:
        self.reply(result)

    def resume(self, frame: SignalFrame | None = None) -> None:
        self.frame = frame
        self._verdict("resume")

    def restart(self, nr: int, frame: SignalFrame | None = None) -> None:
        self.frame = frame
        self._verdict("restart", nr)

    def run_host_call(self, nr: int, *args: int) -> None:
        self._verdict("native", nr, *args)

    def reply_prepared(self) -> None:
        self._verdict("prepared")

    def exit(self, clear_tid: int) -> None:
        self._verdict("exit", clear_tid)

    def on_frame_fault(self, callback: Callable[[], None]) -> None:
        self._fault = callback

    def fail_frame(self) -> None:
        """Report that the frame of the last verdict could not be written."""
        self.stopped = True
        self._fault()

    def set_quiet(self, quiet: bool) -> None:
        self.quiet = quiet

    def preempt(self) -> None:
        self.preempted += 1


class FakePlatform:
    """Makes fake threads; remembers images."""

    vdso_address = 0

    def __init__(self) -> None:
        self.images: list[Image] = []

    async def first_thread(self, image: Image) -> FakeThread:
        self.images.append(image)
        return FakeThread(FakeSpace(), self)

    def watch(self, fd: int, events: int, callback: Any) -> None:
        pass

    def unwatch(self, fd: int) -> None:
        pass


class World:
    """The kernel, its init, and what guests do in it."""

    def __init__(self, caps: int = ALL_CAPS, uid: int = 0) -> None:
        self.platform = FakePlatform()
        self.log = FakeLog()
        self.kernel = Kernel(self.platform, X86_64, self.log)  # type: ignore[arg-type]
        self.fs = Tmpfs()
        self.namespace = MountNamespace.of(self.fs)
        self.add_program(b"init", INIT_ELF)
        self.init = self.start([b"/init"], Credentials.of(uid, uid, caps=caps))

    def close(self) -> None:
        """End what has not ended: programs hold descriptors of this process."""
        for task in list(self.kernel.tasks.values()):
            exit_task(task, gone=True, at_once=True)

    def add_program(self, name: bytes, contents: bytes, mode: int = 0o755) -> None:
        async def make() -> None:
            inode = await self.fs.root.create(name, mode, Owner(0, 0))
            await inode.open_data(True)
            await inode.write_at(contents, 0)
            inode.close_data(True)

        self.wait_for(make())

    def start(self, argv: Sequence[bytes], creds: Credentials) -> Task:
        context = FsContext(self.namespace.root_path)
        group = self.wait_for(start_program(self.kernel, argv, [], creds, context, FDTable()))
        leader: Task = group.leader
        return leader

    def wait_for(self, coroutine: Any) -> Any:
        """Run a routine of the kernel's to its end."""
        ended: list[tuple[Any, BaseException | None]] = []
        self.kernel.scheduler.start(coroutine, None, lambda value, error: ended.append((value, error)))
        self.settle(lambda: bool(ended))
        assert ended, "it waits"
        value, error = ended[0]
        if error is not None:
            raise error
        return value

    def settle(self, until: Callable[[], bool] = lambda: False) -> None:
        """Run what is ready, not what waits for time."""
        for _ in range(1000):
            deadline = self.kernel.scheduler.deadline()
            if until() or deadline is None or deadline > now():
                return
            self.kernel.scheduler.run_ready()
        raise AssertionError("never idle")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Run, sleeping for timers, until it holds."""
        end = now() + 5_000_000_000
        while not condition():
            assert now() < end, "it never holds"
            self.kernel.scheduler.run_ready()

    # Guests
    def event(self, task: Task, kind: Kind, nr: int = 0, *args: int) -> None:
        """Let the task's thread report."""
        thread: Any = task.thread
        thread.stopped = True
        padded = tuple(arg & (1 << 64) - 1 for arg in args) + (0,) * (6 - len(args))
        on_event(self.kernel, Event(thread, kind, nr, padded))  # type: ignore[arg-type]
        self.settle()

    def begin(self, task: Task, name: str, *args: int) -> FakeThread:
        """Let the task make a call; return its thread, which has a verdict unless the call waits."""
        thread: Any = task.thread
        assert not thread.stopped, f"{name}: the task is in the kernel"
        self.event(task, Kind.SYSCALL, NUMBERS[name], *args)
        return thread  # type: ignore[no-any-return]

    def call(self, task: Task, name: str, *args: int) -> int:
        """Let the task make a call that does not wait; return its result."""
        thread = self.begin(task, name, *args)
        assert not thread.stopped, f"{name} waits"
        kind, *rest = thread.log[-1]
        assert kind == "reply", f"{name}: {kind} {rest}"
        return int(rest[0])

    def result(self, task: Task) -> int:
        """Return the result that ended the task's last call."""
        thread: Any = task.thread
        assert not thread.stopped
        kind, *rest = thread.log[-1]
        assert kind == "reply", f"{kind} {rest}"
        return int(rest[0])

    def waits(self, task: Task) -> bool:
        """Whether the task's call has no verdict yet."""
        thread: Any = task.thread
        return bool(thread.stopped)

    def write(self, task: Task, offset: int, data: bytes) -> int:
        """Put bytes into the task's memory; return their address."""
        space: Any = task.memory.space
        space.memory[offset : offset + len(data)] = data
        return BASE + offset

    def read(self, task: Task, offset: int, size: int) -> bytes:
        """Return bytes of the task's memory."""
        space: Any = task.memory.space
        return bytes(space.memory[offset : offset + size])

    def fork(self, task: Task) -> Task:
        """Let the task fork; return the child."""
        return self.kernel.tasks[self.call(task, "fork")]

    def exit(self, task: Task, status: int = 0) -> None:
        """Let the task end its process."""
        self.begin(task, "exit_group", status)
