"""Fake tasks, and routines run by the real scheduler."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from pysc.sentry.kernel.scheduler import Reason, Routine, Scheduler


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
        assert outcome.routine.interrupt(reason)
        self.settle()
