"""A small kernel for tests of the engine: one loop, a handful of calls, coroutines on the real scheduler."""

from __future__ import annotations

import os
import secrets
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from pysc.cabi.linux.errors import LinuxError
from pysc.sentry.kernel.scheduler import Scheduler, park
from pysc.sentry.platform.interface import Event, Image, Kind, MapEntry, Registers, SignalFrame, ThreadGone
from pysc.sentry.platform.systrap import VDSO, Systrap

PAGE = 4096
STACK = 0x7000_0000_0000
STACK_SIZE = 0x10_0000
HEAP_SIZE = 0x100_0000
FIXED, PRIVATE, ANONYMOUS, NORESERVE = 0x10, 2, 0x20, 0x4000


def load(path: Path, argv: list[bytes], vdso: int = 0) -> tuple[Image, int]:
    """Make the image of a static ELF (not PIE); the caller closes its files.  Returns where the heap starts, too."""
    elf = os.open(path, os.O_RDONLY)
    header = os.pread(elf, 64, 0)
    entry, phoff = struct.unpack_from("<QQ", header, 24)
    phentsize, phnum = struct.unpack_from("<HH", header, 54)
    maps: list[MapEntry] = []
    end = phdr = 0
    for i in range(phnum):
        kind, flags, offset, vaddr, _, filesz, memsz, _ = struct.unpack("<IIQQQQQQ", os.pread(elf, 56, phoff + 56 * i))
        if kind != 1:
            continue
        prot = (flags & 4) >> 2 | flags & 2 | (flags & 1) << 2
        if offset <= phoff < offset + filesz:
            phdr = vaddr + phoff - offset
        start, file_end = vaddr & -PAGE, (vaddr + filesz + PAGE - 1) & -PAGE
        tail = vaddr + filesz if memsz > filesz else 0
        if filesz:
            maps.append(MapEntry(start, file_end - start, prot, PRIVATE | FIXED, 0, offset & -PAGE, tail))
        else:
            file_end = start
        bss_end = (vaddr + memsz + PAGE - 1) & -PAGE
        if bss_end > file_end:
            maps.append(MapEntry(file_end, bss_end - file_end, prot, PRIVATE | FIXED | ANONYMOUS))
        end = max(end, bss_end)
    strings = b"".join(arg + b"\0" for arg in argv)
    auxv = [(3, phdr), (4, phentsize), (5, phnum), (6, PAGE), (9, entry), (11, 0), (12, 0), (13, 0), (14, 0), (23, 0)]
    if vdso:
        auxv.append((33, vdso))
    base = STACK + STACK_SIZE - PAGE
    strings_at = base + 2048
    random_at = base + 2048 - 16
    words = [len(argv)]
    for arg in argv:
        words.append(strings_at)
        strings_at += len(arg) + 1
    words += [0, 0]
    for key, value in [*auxv, (25, random_at), (0, 0)]:
        words += [key, value]
    block = struct.pack(f"<{len(words)}Q", *words)
    assert len(block) < 2032
    page = (block.ljust(2032, b"\0") + secrets.token_bytes(16) + strings).ljust(PAGE, b"\0")
    maps.append(MapEntry(STACK, STACK_SIZE, 3, PRIVATE | FIXED | ANONYMOUS | NORESERVE))
    maps.append(MapEntry(end, HEAP_SIZE, 3, PRIVATE | FIXED | ANONYMOUS | NORESERVE))
    return Image([elf], maps, Registers(rip=entry, rsp=base), (base, page)), end


class Task:
    """A guest task: a thread, and what the small kernel knows of it."""

    def __init__(self, thread: Any, pid: int, brk: int) -> None:
        self.thread = thread
        self.pid = pid
        self.brk = self.heap = brk
        self.handlers: dict[int, tuple[int, int, int]] = {}
        self.stack: tuple[int, int, int] | None = None
        self.mask = 0
        self.pending: list[int] = []
        self.gone = False
        self.parent: Task | None = None
        self.child: Task | None = None
        """Made with the verdict."""


Handler = Callable[["TestKernel", Task, tuple[int, ...]], Awaitable[int | None]]


class TestKernel:
    """Runs one program to the end of all tasks.  ``calls`` overrides handlers by number."""

    __test__ = False

    def __init__(self, *, fastpath: bool = False) -> None:
        self.platform = Systrap(fastpath=fastpath)
        self.scheduler = Scheduler()
        self.tasks: list[Task] = []
        self.output = b""
        self.status: int | None = None
        self.errors: list[BaseException] = []
        self.calls: dict[int, Handler] = dict(CALLS)
        self.faults: list[tuple[int, ...]] = []
        self.n_events = 0
        self.next_pid = 42
        self.vdso = VDSO if fastpath else 0
        self.on_event: Callable[[Event], None] | None = None

    def run(self, path: Path, argv: list[bytes], limit: float = 20) -> int:
        """Run ``path``; return its exit status.  Raises what a handler raised."""
        self.platform.start()
        try:
            self.spawn(self.boot(path, argv))
            deadline = time.monotonic() + limit
            while self.status is None or not all(task.gone for task in self.tasks):
                self.turn(deadline)
            return self.status
        finally:
            self.platform.stop()

    def turn(self, deadline: float) -> None:
        """One turn of the loop."""
        if self.errors:
            raise self.errors[0]
        left = deadline - time.monotonic()
        assert left > 0, f"the guest hangs; output so far: {self.output!r}"
        due = self.scheduler.deadline()
        timeout = int(left * 1e9) if due is None else max(0, min(due - time.monotonic_ns(), int(left * 1e9)))
        for event in self.platform.wait(timeout):
            self.n_events += 1
            if self.on_event is not None:
                self.on_event(event)
            self.handle(event)
        self.scheduler.run_ready()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.scheduler.start(coroutine, None, self._ended)

    def _ended(self, _value: Any, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, ThreadGone):
            self.errors.append(error)

    def allocate_pid(self) -> int:
        self.next_pid += 1
        return self.next_pid - 1

    def add(self, thread: Any, brk: int, pid: int | None = None) -> Task:
        task = Task(thread, self.allocate_pid() if pid is None else pid, brk)
        thread.owner = task
        thread.space.channel.slots[thread.slot].ids.tid = task.pid  # for robust lists: getpid(2) comes here
        thread.on_frame_fault(lambda: self.kill_all(128 + 11))
        self.tasks.append(task)
        return task

    async def bear(self, task: Task, child: Task, told: tuple[int, bytes] | None = None) -> int | None:
        """Let both go on: at once with fast paths, else when the child is there."""
        if self.vdso and task.thread.prepare_birth(told, child.pid):
            child.thread.reply(0)
            task.child = child
            task.thread.reply_prepared()
            return None
        child.thread.reply(0)
        try:
            await task.thread.bear(told)
        except LinuxError:
            self.tasks.remove(child)
            raise
        return child.pid

    async def boot(self, path: Path, argv: list[bytes]) -> None:
        image, heap = load(path, argv, self.vdso)
        try:
            thread = await self.platform.first_thread(image)
        finally:
            for file in image.files:
                os.close(file)
        self.add(thread, heap)
        thread.resume()

    def kill_all(self, status: int) -> None:
        if self.status is None:
            self.status = status
        for task in self.tasks:
            if not task.gone:
                task.thread.space.kill()

    def handle(self, event: Event) -> None:
        task: Task = event.thread.owner  # type: ignore[assignment]
        if event.kind is Kind.GONE:
            task.gone = True
        elif event.kind is Kind.SYSCALL:
            self.spawn(self.call(task, event.nr, event.args))
        elif event.kind is Kind.FAILED:
            assert task.child is not None
            self.tasks.remove(task.child)
            task.thread.reply(-event.args[0])
        elif event.kind is Kind.FAULT:
            self.faults.append(event.args)
            if event.args[0] not in task.handlers and task.thread.space is self.tasks[0].thread.space:
                self.spawn(self.note_fault(event))
            self.signal_now(task, event.args[0], event.args)
        elif event.kind is Kind.SIGRETURN:
            task.mask = event.args[0]
            task.thread.resume(self.frame(task))
        elif event.kind is Kind.INTERRUPTED:
            frame = self.frame(task)
            if frame is None:
                task.thread.restart(event.nr)
            else:
                task.thread.reply(-4, frame)
        else:
            task.thread.resume(self.frame(task))

    async def note_fault(self, event: Event) -> None:
        """Say where a deadly fault happened."""
        self.output += f"fault {event.args} in {await event.thread.registers()}".encode()

    async def call(self, task: Task, nr: int, args: tuple[int, ...]) -> None:
        handler = self.calls.get(nr)
        try:
            result = -38 if handler is None else await handler(self, task, args)
        except LinuxError as error:
            result = -error.errno
        if result is not None:
            task.thread.reply(result, self.frame(task))

    # Signals
    def send(self, task: Task, signo: int) -> None:
        task.pending.append(signo)
        task.thread.preempt()

    def signal_now(self, task: Task, signo: int, fault: tuple[int, ...]) -> None:
        if signo not in task.handlers:
            if task.thread.space is self.tasks[0].thread.space:
                self.kill_all(128 + signo)
            task.thread.space.kill()
            return
        info = struct.pack("<iiiiQ", signo, 0, fault[1] & 0x7FFF_FFFF, 0, fault[2]).ljust(128, b"\0")
        task.thread.resume(self.make_frame(task, signo, info))

    def frame(self, task: Task) -> SignalFrame | None:
        for signo in task.pending:
            if signo in task.handlers:
                task.pending.remove(signo)
                return self.make_frame(task, signo, struct.pack("<iii", signo, 0, 0).ljust(128, b"\0"))
        return None

    def make_frame(self, task: Task, signo: int, info: bytes) -> SignalFrame:
        handler, flags, restorer = task.handlers[signo]
        on_stack = sum(task.stack[0::2]) if task.stack is not None and flags & 0x0800_0000 else 0
        return SignalFrame(signo, handler, restorer, info, task.mask, task.stack, on_stack)


# Handlers
async def _write(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    data = await task.thread.copy_in(args[1], args[2])
    kernel.output += data
    return len(data)


async def _writev(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    vector = await task.thread.copy_in(args[1], args[2] * 16)
    return sum([await _write(kernel, task, (args[0], *part)) for part in struct.iter_unpack("<QQ", vector)])


async def _exit_group(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> None:
    if task.thread.space is kernel.tasks[0].thread.space or kernel.tasks[0].gone:
        kernel.status = args[0] & 0xFF
    for other in kernel.tasks:
        if other.thread.space is task.thread.space or task is kernel.tasks[0]:
            other.thread.space.kill()


async def _exit(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> None:
    if task is kernel.tasks[0]:
        kernel.status = args[0] & 0xFF
    task.thread.exit(task.thread.clear_tid)


async def _getpid(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    return task.pid


async def _brk(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    if task.heap <= args[0] <= task.heap + HEAP_SIZE:
        task.brk = args[0]
    return task.brk


async def _arch_prctl(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int | None:
    if args[0] != 0x1002:
        return -22
    task.thread.run_host_call(158, args[0], args[1])
    return None


def _native(nr: int) -> Handler:
    async def handler(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> None:
        task.thread.run_host_call(nr, *args)

    return handler


async def _mmap(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int | None:
    if not args[3] & ANONYMOUS:
        return -19
    task.thread.run_host_call(9, *args)
    return None


async def _set_tid_address(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    task.thread.clear_tid = args[0]
    return task.pid


async def _set_robust_list(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    task.thread.robust_list = args[0]
    return 0


async def _uname(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    fields = (b"Linux", b"guest", b"6.1.0", b"#1", b"x86_64", b"")
    task.thread.put(args[0], b"".join(field.ljust(65, b"\0") for field in fields))
    return 0


async def _rt_sigaction(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    if args[1]:
        handler, flags, restorer, _mask = struct.unpack("<4Q", await task.thread.copy_in(args[1], 32))
        task.handlers[args[0]] = (handler, flags, restorer)
        if handler in (0, 1):
            del task.handlers[args[0]]
    return 0


async def _sigaltstack(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    if args[0]:
        task.stack = struct.unpack("<QQQ", await task.thread.copy_in(args[0], 24))
    return 0


async def _tgkill(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    for other in kernel.tasks:
        if other.pid == args[1] and not other.gone:
            kernel.send(other, args[2])
            return 0
    return -3


async def _fork(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int | None:
    child = kernel.add(task.thread.fork(), task.heap)
    child.handlers = dict(task.handlers)
    child.parent = task
    return await kernel.bear(task, child)


async def _clone(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int | None:
    flags, stack, parent_tid, child_tid, tls = args[:5]
    if not flags & 0x100:
        return await _fork(kernel, task, args)
    pid = kernel.allocate_pid()
    told = (parent_tid, struct.pack("<i", pid)) if flags & 0x10_0000 else None
    child = kernel.add(task.thread.clone(stack, tls if flags & 0x8_0000 else None), task.heap, pid)
    child.handlers = task.handlers
    if flags & 0x20_0000:
        child.thread.clear_tid = child_tid
    return await kernel.bear(task, child, told)


async def _gettid(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    return task.pid


async def wait_for_others(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    while not all(other.gone or other is task for other in kernel.tasks):
        await park(deadline=time.monotonic_ns() + 2_000_000)
    return 0


CALLS: dict[int, Handler] = {
    1: _write,
    9: _mmap,
    10: _native(10),
    11: _native(11),
    12: _brk,
    13: _rt_sigaction,
    20: _writev,
    14: _getpid,  # rt_sigprocmask: nothing is ever masked here
    24: _native(24),
    25: _native(25),
    28: _native(28),
    39: _getpid,
    56: _clone,
    57: _fork,
    60: _exit,
    63: _uname,
    131: _sigaltstack,
    158: _arch_prctl,
    186: _gettid,
    202: _native(202),
    218: _set_tid_address,
    230: _native(230),
    231: _exit_group,
    234: _tgkill,
    273: _set_robust_list,
    602: wait_for_others,
}
