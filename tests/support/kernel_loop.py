"""epoll and the kernel's scheduler: the little of a kernel that things in its loop need."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from pysc.sentry.kernel.scheduler import Scheduler


class Loop:
    """Stands for a platform: watches descriptors; and runs coroutines."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        self._epoll.unregister(fd)
        del self._callbacks[fd]

    def run_until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "nothing happened"
            self.scheduler.run_ready()
            if not condition():
                self.turn(0 if self.scheduler.deadline() == 0 else 0.05)

    def ready(self) -> bool:
        """Whether there is anything to do at once."""
        return self.scheduler.deadline() == 0 or bool(self._epoll.poll(0))

    def turn(self, seconds: float = 0) -> None:
        """Serve whoever is ready."""
        for fd, events in self._epoll.poll(seconds):
            self._callbacks[fd](events)

    def run(self, *coroutines: Any) -> list[Any]:
        """Run all to their ends; an exception is a result."""
        results: dict[int, Any] = {}
        for number, coroutine in enumerate(coroutines):

            def done(value: Any, error: BaseException | None, number: int = number) -> None:
                results[number] = value if error is None else error

            self.scheduler.start(coroutine, None, done)
        self.run_until(lambda: len(results) == len(coroutines))
        return [results[number] for number in range(len(coroutines))]

    def close(self) -> None:
        self._epoll.close()
