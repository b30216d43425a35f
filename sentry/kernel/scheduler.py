"""The kernel's own scheduler: coroutines, wait queues, completions, timers.

A handler that may wait is a coroutine.  There are exactly two ways to wait:

* ``await park(queue, ...)`` waits on kernel wait queues.  It is interruptible: a signal, a freeze or a
  kill raises :class:`Interrupted` out of it.  Whatever a restart needs must be in the task's restart record
  before it is called, since the frame is thrown away.
* ``await completion`` waits for a daemon, a worker or the guest half.  It is short and never interrupted
  (Linux's D state): the reply is always consumed.  :func:`killably` has a routine of the kernel's own do that where it
  may take long: who waits for the routine can be killed.

One thread runs all of this.  Between two awaits nothing else runs, so code without an ``await`` is atomic.
Nothing here knows tasks: a :class:`Routine` has an owner, and who interrupts it looks it up there.
"""

from __future__ import annotations

import heapq
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from enum import Enum
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

now: Final = time.monotonic_ns
"""The kernel's clock, in nanoseconds: all deadlines are absolute values of it."""


class Reason(Enum):
    """Why a parked routine was interrupted."""

    SIGNAL = "signal"
    FREEZE = "freeze"
    KILL = "kill"


class Interrupted(Exception):  # not an error: control flow, as StopIteration is
    """Raised out of :func:`park`; the syscall layer turns it into a restart, EINTR or an exit.

    A file that has taken part of what it was given says how much in ``moved``, on the way up.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.moved = 0


class WaitQueue:
    """Parked routines in order of arrival, and callbacks of those who watch (epoll, poll).

    Invariant: a routine stands in a queue only while it is parked.
    """

    __slots__ = ("_parked", "_watchers")

    def __init__(self) -> None:
        self._parked: dict[Routine, int] = {}
        self._watchers: dict[Callable[[int], object], bool] | None = None
        """And whether they are exclusive."""

    def __bool__(self) -> bool:
        """Whether anybody would notice a wake."""
        return bool(self._parked) or bool(self._watchers)

    def wake(self, count: int = 1, events: int = -1) -> int:
        """Wake up to ``count`` routines parked for any of ``events``; tell the watchers; return how many woke.

        Once an exclusive watcher has said that somebody takes care of it, no other such is told.
        """
        woken = 0
        if self._parked:
            for routine in list(self._parked):
                if woken >= count:
                    break
                if self._parked[routine] & events:
                    routine._wake(True)
                    woken += 1
        if self._watchers:
            taken = False
            for watcher, exclusive in list(self._watchers.items()):
                if not (exclusive and taken):
                    said = watcher(events)
                    taken = taken or (exclusive and bool(said))
        return woken

    def wake_all(self, events: int = -1) -> int:
        """Wake everybody."""
        return self.wake(1 << 62, events)

    def watch(self, watcher: Callable[[int], object], *, exclusive: bool = False) -> None:
        """Call ``watcher(events)`` at every wake until :meth:`unwatch`; it must not await."""
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watcher] = exclusive

    def unwatch(self, watcher: Callable[[int], object]) -> None:
        """Undo :meth:`watch`; unknown watchers are ignored."""
        if self._watchers is not None:
            self._watchers.pop(watcher, None)


class Completion(Generic[T]):
    """A reply that will come: resolved once, awaited by at most one routine; ``killable``: unless that is killed."""

    __slots__ = ("_done", "_error", "_routine", "_value", "killable")

    def __init__(self, *, killable: bool = False) -> None:
        self.killable = killable
        self._done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._routine: Routine | None = None

    @property
    def done(self) -> bool:
        """Whether it is resolved."""
        return self._done

    def resolve(self, value: T) -> None:
        """Deliver the value; a second delivery is ignored."""
        if not self._done:
            self._done, self._value = True, value
            self._continue()

    def fail(self, error: BaseException) -> None:
        """Deliver an exception instead; it is raised where the completion is awaited."""
        if not self._done:
            self._done, self._error = True, error
            self._continue()

    def _continue(self) -> None:
        if self._routine is not None:
            routine, self._routine = self._routine, None
            routine._awaited = None
            routine._ready(None)

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._done:
            yield self
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # resolved with a T


MANY_TIMERS: Final = 1024


class Timer:
    """A callback at an absolute time of :data:`now`; cancelled timers are skipped when they come up, or swept."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: int, callback: Callable[[], None]) -> None:
        self.deadline = deadline
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Never call the callback."""
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.deadline < other.deadline


class _Park:
    __slots__ = ("deadline", "events", "queues")

    def __init__(self, queues: tuple[WaitQueue, ...], events: int, deadline: int | None) -> None:
        self.queues = queues
        self.events = events
        self.deadline = deadline


@types.coroutine
def _suspend(request: object) -> Generator[object, bool, bool]:
    return (yield request)


async def park(*queues: WaitQueue, deadline: int | None = None, events: int = -1) -> bool:
    """Wait until one of ``queues`` is woken for one of ``events``; false if ``deadline`` (absolute ns) came first.

    A wake is a hint: look at the condition again.  No queues at all is a sleep.  A signal wakes who waits on queues,
    and raises when it parks again: what has come true meanwhile goes before it (wait_event_interruptible()).

    Raises:
        Interrupted: a signal is deliverable, the sandbox freezes, or the owner is being killed.
    """
    return await _suspend(_Park(queues, events, deadline))


async def killably(scheduler: Scheduler, coroutine: Coroutine[Any, Any, T]) -> T:
    """Let a routine of the kernel's own run ``coroutine`` to its end, and wait for that.

    What it gets is used, and what it holds is given back, whatever becomes of who waits.

    Raises:
        Interrupted: the owner of the caller is being killed.  The routine goes on.
    """
    completion: Completion[T] = Completion(killable=True)

    def ended(value: T, error: BaseException | None) -> None:
        if error is None:
            completion.resolve(value)
        else:
            completion.fail(error)

    current = scheduler.current
    scheduler.start(coroutine, None, ended)
    scheduler.current = current
    return await completion


async def yield_now() -> None:
    """Let everything else that is ready run once: a yield point for long loops."""
    await _suspend(None)


_OWNER: Final = object()


@types.coroutine
def current_owner() -> Generator[object, Any, Any]:
    """Return the owner of the routine that awaits this (a task); never waits."""
    return (yield _OWNER)


class Routine:
    """A running coroutine.  Its owner (a task, or None for the kernel's own) is who interrupts are meant for."""

    __slots__ = ("_awaited", "_coroutine", "_parked_on", "_scheduler", "_timer", "_wakeup", "done", "on_exit", "owner")

    def __init__(
        self,
        scheduler: Scheduler,
        coroutine: Coroutine[Any, Any, Any],
        owner: Any,
        on_exit: Callable[[Any, BaseException | None], None],
    ) -> None:
        self._scheduler = scheduler
        self._coroutine = coroutine
        self._parked_on: tuple[WaitQueue, ...] | None = None
        self._awaited: Completion[Any] | None = None
        """What is waited for and can be left alone, if this routine is killed."""
        self._timer: Timer | None = None
        self._wakeup: object = None
        self.owner = owner
        self.on_exit = on_exit
        self.done = False

    @property
    def parked(self) -> bool:
        """Whether it waits interruptibly."""
        return self._parked_on is not None

    def interrupt(self, reason: Reason) -> bool:
        """End the park of a routine; false if it is not parked (try again at its next park)."""
        if reason is Reason.KILL and self._awaited is not None:
            self._awaited._routine = None
            self._awaited = None
            self._ready(Interrupted(reason))
            return True
        if self._parked_on is None:
            return False
        looks_again = reason is Reason.SIGNAL and self._parked_on
        self._unpark()
        self._ready(True if looks_again else Interrupted(reason))
        return True

    def _wake(self, woken: bool) -> None:
        self._unpark()
        self._ready(woken)

    def _on_deadline(self) -> None:
        self._wake(False)

    def _unpark(self) -> None:
        for queue in self._parked_on or ():
            queue._parked.pop(self, None)
        self._parked_on = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ready(self, wakeup: object) -> None:
        self._wakeup = wakeup
        self._scheduler._ready.append(self)

    def _step(self) -> None:
        wakeup, self._wakeup = self._wakeup, None
        self._scheduler.current = self.owner
        try:
            if isinstance(wakeup, Interrupted):
                request = self._coroutine.throw(wakeup)
            else:
                request = self._coroutine.send(wakeup)
            while request is _OWNER:
                request = self._coroutine.send(self.owner)
        except StopIteration as stop:
            self.done = True
            self.on_exit(stop.value, None)
            return
        except BaseException as error:  # the outermost loop: on_exit reports it
            wakeup = None  # its traceback leads back here
            self.done = True
            self.on_exit(None, error)
            return
        self._wait_for(request)

    def _wait_for(self, request: object) -> None:
        if isinstance(request, _Park):
            pending = self._scheduler.pending_interrupt(self.owner) if self.owner is not None else None
            if pending is not None:
                self._ready(Interrupted(pending))
                return
            self._parked_on = request.queues
            for queue in request.queues:
                queue._parked[self] = request.events
            if request.deadline is not None:
                self._timer = self._scheduler.call_at(request.deadline, self._on_deadline)
        elif isinstance(request, Completion):
            if request.done:
                self._ready(None)
            elif request.killable and self.owner is not None:
                if self._scheduler.pending_interrupt(self.owner) is Reason.KILL:
                    self._ready(Interrupted(Reason.KILL))
                else:
                    request._routine, self._awaited = self, request
            else:
                request._routine = self
        elif request is None:
            self._ready(None)
        else:  # somebody awaited what is not ours
            self._coroutine.close()
            self.done = True
            self.on_exit(None, TypeError(f"the kernel cannot await {request!r}"))


async def _nothing() -> None:
    """Do nothing."""


def _no_interrupt(_owner: Any) -> Reason | None:
    return None


def _ended(_value: Any, _error: BaseException | None) -> None:
    """Expect nothing of a routine that never runs."""


class Scheduler:
    """Ready routines and timers.  The owner of the loop calls :meth:`run_ready`, then sleeps until :meth:`deadline`.

    ``pending_interrupt(owner)`` says whether an owner that is about to park must not.
    """

    __slots__ = ("_ended", "_many", "_ready", "_timers", "current", "pending_interrupt")

    def __init__(self, pending_interrupt: Callable[[Any], Reason | None] = _no_interrupt) -> None:
        self._ready: deque[Routine] = deque()
        self._timers: list[Timer] = []
        self._many = MANY_TIMERS
        """With so many the cancelled ones among them are looked for."""
        self._ended = Routine(self, _nothing(), None, _ended)
        """What stands for all that have ended at once."""
        self._ended._coroutine.close()
        self._ended.done = True
        self.current: Any = None
        """The owner of the routine that runs now, or ran last: for what cannot await :func:`current_owner`."""
        self.pending_interrupt = pending_interrupt

    def rebuild(self) -> None:
        """Have the timers that another process had in their order (pysc.sentry.state)."""
        heapq.heapify(self._timers)

    def start(
        self,
        coroutine: Coroutine[Any, Any, Any],
        owner: Any,
        on_exit: Callable[[Any, BaseException | None], None],
    ) -> Routine:
        """Run ``coroutine`` to its first wait, now; ``on_exit(value, error)`` is called when it ends."""
        self.current = owner
        try:
            request = coroutine.send(None)
            while request is _OWNER:
                request = coroutine.send(owner)
        except StopIteration as stop:  # most never wait: they need no routine
            on_exit(stop.value, None)
            return self._ended
        except BaseException as error:  # as in Routine._step
            on_exit(None, error)
            return self._ended
        routine = Routine(self, coroutine, owner, on_exit)
        routine._wait_for(request)
        return routine

    def call_at(self, deadline: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` from the loop once :data:`now` has reached ``deadline``."""
        timer = Timer(deadline, callback)
        if len(self._timers) >= self._many:
            self._sweep()
        heapq.heappush(self._timers, timer)
        return timer

    def _sweep(self) -> None:
        """Forget cancelled timers: most are, and their time may be far away."""
        self._timers = [timer for timer in self._timers if timer.callback is not None]
        heapq.heapify(self._timers)
        self._many = max(MANY_TIMERS, 2 * len(self._timers))

    def deadline(self) -> int | None:
        """Return when the loop must be back: 0 for at once, None for whenever something happens."""
        if self._ready:
            return 0
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0].deadline if self._timers else None

    def run_ready(self) -> None:
        """Fire due timers, then step each routine that is ready now (those made ready meanwhile come next time)."""
        if self._timers:
            time_now = now()
            while self._timers and self._timers[0].deadline <= time_now:
                callback = heapq.heappop(self._timers).callback
                if callback is not None:
                    callback()
        ready = self._ready
        for _ in range(len(ready)):
            ready.popleft()._step()
