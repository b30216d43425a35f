"""A guest process that does call by call what a test says (tests/guests/engine/served.c)."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from msgspec.structs import replace

from pysc.cabi.linux.errors import LinuxError
from pysc.sentry.kernel.scheduler import Completion
from pysc.sentry.platform.interface import MapEntry
from tests.integration.engine.kernel import Task, TestKernel, load

PAGE = 4096
_PATIENCE = 20
_NEXT, _FORK, _EXIT_GROUP = 600, 57, 231


class Seen(NamedTuple):
    """What the host says of one page."""

    rights: str
    content: bytes


class Served:
    """The process, and those that it forks."""

    def __init__(self, kernel: TestKernel, program: Path, more: Sequence[MapEntry] = (), file: int = -1) -> None:
        """``more`` is mapped besides the program, from ``file`` (1)."""
        self.kernel = kernel
        self._program = program
        self._more = more
        self._file = file
        self._waiting: dict[Task, tuple[int, int, Completion[None]]] = {}
        """Where each wants its next call, what the last has returned, and what ends its wait."""
        kernel.calls[_NEXT] = self._next

    def __enter__(self) -> Served:
        self.kernel.platform.start()
        try:
            self.kernel.spawn(self._boot())
            self._until(lambda: bool(self._waiting))
        except BaseException:
            self.kernel.platform.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kernel.platform.stop()

    async def _boot(self) -> None:
        image, heap = load(self._program, [b"served"])
        files, maps = [*image.files, self._file], [*image.maps, *self._more]
        try:
            thread = await self.kernel.platform.first_thread(
                replace(image, files=files[: 1 + bool(self._more)], maps=maps)
            )
        finally:
            os.close(image.files[0])
        self.kernel.add(thread, heap)
        thread.resume()

    async def _next(self, kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        signed = args[1] - (1 << 64) if args[1] >> 63 else args[1]
        completion: Completion[None] = Completion()
        self._waiting[task] = (args[0], signed, completion)
        await completion
        return 0

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            self.kernel.turn(deadline)
            assert self.kernel.status is None, f"the guest has ended: {self.kernel.output!r}"

    @property
    def task(self) -> Task:
        """The first process."""
        return self.kernel.tasks[0]

    def run(self, coroutine: Coroutine[Any, Any, int]) -> int:
        """Let the kernel do something with a thread that waits."""
        results: list[int] = []

        async def run() -> None:
            results.append(await coroutine)

        self.kernel.spawn(run())
        self._until(lambda: results)
        return results[0]

    def call(self, nr: int, *args: int, task: Task | None = None) -> int:
        """Let it make a call; return what that returns, -errno if it fails."""
        task = task or self.task
        self._give(task, nr, args)
        self._until(lambda: task in self._waiting)
        return self._waiting[task][1]

    def _give(self, task: Task, nr: int, args: tuple[int, ...]) -> None:
        place, _result, completion = self._waiting.pop(task)
        words = [word & 0xFFFF_FFFF_FFFF_FFFF for word in (nr, *args)]
        task.thread.put(place, struct.pack("<7Q", *words, *[0] * (7 - len(words))))
        completion.resolve(None)

    def fork(self, task: Task | None = None) -> Task:
        """Let it fork; return the child."""
        before = list(self.kernel.tasks)
        assert self.call(_FORK, task=task) > 0
        (child,) = [other for other in self.kernel.tasks if other not in before]
        self._until(lambda: child in self._waiting)
        return child

    def end(self, child: Task) -> None:
        """Let a child end."""
        self._give(child, _EXIT_GROUP, (0,))
        self._until(lambda: child.gone)
        self.kernel.tasks.remove(child)

    def store(self, address: int, data: bytes) -> int:
        """Store to its memory as itself; -errno."""

        async def store() -> int:
            try:
                await self.task.thread.copy_out(address, data)
            except LinuxError as error:
                return -error.errno
            return 0

        return self.run(store())

    def is_one(self, start: int, count: int) -> bool:
        """Whether the host has pages as one mapping."""
        text = Path(f"/proc/{self.task.thread.space.host_pid}/maps").read_text()
        spans = ([int(part, 16) for part in line.split()[0].split("-")] for line in text.splitlines())
        return any(low <= start and start + count * PAGE <= high for low, high in spans)

    def pages(self, start: int, count: int, task: Task | None = None) -> list[Seen | None]:
        """Return what the host says of each page; None: nothing is there."""
        pid = (task or self.task).thread.space.host_pid
        found: list[Seen | None] = [None] * count
        end = start + count * PAGE
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                span, rights = line.split()[:2]
                low, high = (min(max(int(part, 16), start), end) for part in span.split("-"))
                if low < high:
                    data = os.pread(memory.fileno(), high - low, low)
                    for at in range(low, high, PAGE):
                        page = data[at - low : at - low + PAGE]
                        assert len(page) == PAGE
                        found[(at - start) // PAGE] = Seen(rights, page)
        return found
