"""The kernel's scheduler: parking, waking, deadlines, interrupts, completions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pysc.sentry.kernel import scheduler as module
from pysc.sentry.kernel.scheduler import (
    MANY_TIMERS,
    Completion,
    Interrupted,
    Reason,
    Routine,
    Scheduler,
    WaitQueue,
    killably,
    park,
    yield_now,
)


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 1_000
        monkeypatch.setattr(module, "now", lambda: self.time)


class Outcomes:
    """What routines ended with, in order."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.values: list[Any] = []

    def start(self, coroutine: Coroutine[Any, Any, Any], owner: object = None) -> Routine:
        return self.scheduler.start(coroutine, owner, self.note)

    def note(self, value: Any, error: BaseException | None) -> None:
        self.values.append(value if error is None else error)

    def run(self) -> None:
        while self.scheduler.deadline() == 0:
            self.scheduler.run_ready()


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


async def waiter(name: str, *queues: WaitQueue, **how: Any) -> tuple[str, bool]:
    return name, await park(*queues, **how)


def test_a_coroutine_that_never_waits_ends_at_once(outcomes: Outcomes) -> None:
    async def nothing() -> int:
        return 7

    assert outcomes.start(nothing()).done
    assert outcomes.values == [7]


def test_wakes_come_in_order_of_arrival(outcomes: Outcomes) -> None:
    queue = WaitQueue()
    for name in "abc":
        outcomes.start(waiter(name, queue))
    assert queue.wake(2) == 2
    outcomes.run()
    assert outcomes.values == [("a", True), ("b", True)]
    assert queue.wake_all() == 1
    outcomes.run()
    assert outcomes.values[2:] == [("c", True)]
    assert not queue


def test_a_wake_passes_over_those_who_wait_for_something_else(outcomes: Outcomes) -> None:
    queue = WaitQueue()
    outcomes.start(waiter("in", queue, events=1))
    outcomes.start(waiter("out", queue, events=4))
    assert queue.wake(1, 4) == 1
    outcomes.run()
    assert outcomes.values == [("out", True)]


def test_who_waits_on_two_queues_is_woken_once_and_leaves_both(outcomes: Outcomes) -> None:
    one, two = WaitQueue(), WaitQueue()
    outcomes.start(waiter("x", one, two))
    one.wake()
    assert two.wake() == 0
    outcomes.run()
    assert outcomes.values == [("x", True)]


def test_deadline(outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    queue = WaitQueue()
    outcomes.start(waiter("late", queue, deadline=2_000))
    assert outcomes.scheduler.deadline() == 2_000
    clock.time = 1_999
    outcomes.scheduler.run_ready()
    assert queue
    clock.time = 2_000
    outcomes.scheduler.run_ready()
    outcomes.run()
    assert outcomes.values == [("late", False)]
    assert not queue
    assert outcomes.scheduler.deadline() is None


def test_a_wake_cancels_the_deadline(outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    queue = WaitQueue()
    outcomes.start(waiter("x", queue, deadline=2_000))
    queue.wake()
    outcomes.run()
    assert outcomes.scheduler.deadline() is None


def test_an_interrupt_is_raised_out_of_park(outcomes: Outcomes) -> None:
    queue = WaitQueue()
    routine = outcomes.start(waiter("x", queue))
    assert routine.interrupt(Reason.FREEZE)
    assert not routine.interrupt(Reason.KILL), "it is not parked any more"
    outcomes.run()
    (error,) = outcomes.values
    assert isinstance(error, Interrupted)
    assert error.reason is Reason.FREEZE
    assert not queue


def test_a_signal_lets_the_condition_be_looked_at_first(outcomes: Outcomes) -> None:
    queue, condition = WaitQueue(), []

    async def wait() -> str:
        while not condition:
            await park(queue)
        return "true by now"

    pending = {}
    outcomes.scheduler.pending_interrupt = pending.get
    first = outcomes.start(wait(), owner="first")
    pending["first"] = Reason.SIGNAL
    assert first.interrupt(Reason.SIGNAL)
    outcomes.run()
    second = outcomes.start(wait(), owner="second")
    pending["second"] = Reason.SIGNAL
    assert second.interrupt(Reason.SIGNAL)
    condition.append(True)
    outcomes.run()
    error, value = outcomes.values
    assert isinstance(error, Interrupted)
    assert value == "true by now"


def test_who_must_not_park_does_not(outcomes: Outcomes) -> None:
    outcomes.scheduler.pending_interrupt = {"victim": Reason.KILL}.get
    queue = WaitQueue()
    outcomes.start(waiter("x", queue), owner="victim")
    outcomes.start(waiter("y", queue), owner="other")
    outcomes.run()
    assert [error.reason for error in outcomes.values] == [Reason.KILL]
    assert queue.wake_all() == 1


@pytest.mark.parametrize("early", [True, False])
def test_completion(outcomes: Outcomes, early: bool) -> None:
    completion: Completion[int] = Completion()

    async def wait() -> int:
        return await completion + 1

    if early:
        completion.resolve(1)
    routine = outcomes.start(wait())
    assert not routine.interrupt(Reason.KILL), "waiting for a reply is not interruptible"
    completion.resolve(1)
    completion.resolve(5)
    outcomes.run()
    assert outcomes.values == [2]


def test_a_failed_completion_raises_where_it_is_awaited(outcomes: Outcomes) -> None:
    completion: Completion[int] = Completion()

    async def wait() -> str:
        try:
            await completion
        except KeyError:
            return "caught"
        return "not raised"

    outcomes.start(wait())
    completion.fail(KeyError())
    outcomes.run()
    assert outcomes.values == ["caught"]


def test_yield_lets_the_others_run(outcomes: Outcomes) -> None:
    order: list[str] = []

    async def counter(name: str) -> None:
        for _ in range(2):
            order.append(name)
            await yield_now()

    outcomes.start(counter("a"))
    outcomes.start(counter("b"))
    outcomes.run()
    assert order == ["a", "b", "a", "b"]


def test_awaiting_what_is_not_ours_is_an_error_of_that_routine_only(outcomes: Outcomes) -> None:
    class Foreign:
        def __await__(self) -> Any:
            yield "asyncio's"

    async def wrong() -> None:
        await Foreign()

    outcomes.start(wrong())
    assert isinstance(outcomes.values[0], TypeError)


def test_watchers_hear_every_wake_and_may_leave_meanwhile(outcomes: Outcomes) -> None:
    queue = WaitQueue()
    heard: list[int] = []

    def once(events: int) -> None:
        heard.append(events)
        queue.unwatch(once)

    watcher: Callable[[int], None] = heard.append
    queue.watch(once)
    queue.watch(watcher)
    queue.wake(0, 4)
    queue.wake(0, 1)
    assert heard == [4, 4, 1]


def test_cancelled_timers_do_not_pile_up() -> None:
    """Whoever waits with a timeout, and need not wait for so long, leaves one."""
    scheduler = Scheduler()
    fired: list[int] = []
    kept = [scheduler.call_at(0, lambda: fired.append(1)) for _ in range(10)]
    timers = [scheduler.call_at(1 << 62, lambda: fired.append(0)) for _ in range(10)]
    for _ in range(20 * MANY_TIMERS):
        timers.append(scheduler.call_at(1 << 62, lambda: fired.append(0)))
        timers.pop(0).cancel()
    assert len(scheduler._timers) <= MANY_TIMERS
    scheduler.run_ready()
    assert fired == [1] * len(kept)
    assert scheduler.deadline() == 1 << 62


def test_cancelled_timers_are_dropped(outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    fired: list[str] = []
    outcomes.scheduler.call_at(1_100, lambda: fired.append("a")).cancel()
    outcomes.scheduler.call_at(1_200, lambda: fired.append("b"))
    assert outcomes.scheduler.deadline() == 1_200
    clock.time = 5_000
    outcomes.scheduler.run_ready()
    assert fired == ["b"]


def test_a_kill_ends_the_wait_and_not_the_work(outcomes: Outcomes) -> None:
    reply: Completion[int] = Completion()
    applied: list[int] = []

    async def work() -> int:
        applied.append(await reply)
        return applied[0]

    async def wait() -> int:
        return await killably(outcomes.scheduler, work())

    patient, killed = outcomes.start(wait()), outcomes.start(wait(), owner="task")
    assert not killed.interrupt(Reason.SIGNAL)
    assert not killed.interrupt(Reason.FREEZE)
    assert not patient.interrupt(Reason.KILL), "the kernel's own are not killed"
    assert killed.interrupt(Reason.KILL)
    outcomes.run()
    assert [type(value) for value in outcomes.values] == [Interrupted]
    assert not killed.interrupt(Reason.KILL)


def test_what_was_done_for_the_killed_is_used(outcomes: Outcomes) -> None:
    reply: Completion[int] = Completion()
    applied: list[int] = []

    async def work() -> int:
        applied.append(await reply)
        return applied[0]

    killed = outcomes.start(killably(outcomes.scheduler, work()), owner="task")
    outcomes.start(killably(outcomes.scheduler, yield_now()), owner="other")
    assert killed.interrupt(Reason.KILL)
    reply.resolve(5)
    outcomes.run()
    assert applied == [5]
    assert [value for value in outcomes.values if value is None] == [None]


def test_who_is_dying_waits_for_no_work() -> None:
    outcomes = Outcomes()
    outcomes.scheduler.pending_interrupt = lambda owner: Reason.KILL if owner == "dying" else None
    reply: Completion[None] = Completion()

    async def work() -> None:
        await reply

    outcomes.start(killably(outcomes.scheduler, work()), owner="dying")
    outcomes.run()
    [ended] = outcomes.values
    assert isinstance(ended, Interrupted)
