"""The sentry-loop transport, driven by the kernel's scheduler and an epoll that stands for the platform."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pysc.cabi.linux.errors import EDOM, EIO, EMSGSIZE
from pysc.sentry.kernel.scheduler import Completion
from pysc.urpc import blocking, loop
from pysc.urpc.fds import OwnedFd, RegularFd
from pysc.urpc.message import CREDITS, Event
from tests.support.kernel_loop import Loop
from tests.unit.urpc.sample_service import SAMPLE, Add, Blob, Crash, Fetch, Opened, Poke, Sum, Swap, Take, Tick


@pytest.fixture
def kernel() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def add(request: Add) -> Sum:
    if request.a == 13:
        raise EDOM("unlucky")
    return Sum(request.a + request.b)


async def swap(request: Swap) -> Opened:
    await DONE
    return Opened(RegularFd(request.file.take()))


DONE: Completion[None] = Completion()
DONE.resolve(None)


def crash(_: Crash) -> None:
    raise ZeroDivisionError


HANDLERS: dict[Any, Any] = {
    Add: add,
    Swap: swap,
    Take: lambda request: None,
    Fetch: lambda request: Blob(bytes(request.size)),
    Crash: crash,
}


class Both:
    """A loop client and a loop server in one loop."""

    def __init__(self, kernel: Loop) -> None:
        ours, theirs = pair()
        self.lost: list[str] = []
        self.events: list[Event] = []
        self.server = loop.Server(
            theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_event=self.events.append, on_lost=self.lost.append
        )
        self.told: list[Event] = []
        self.client = loop.Client(
            SAMPLE, kernel, kernel.scheduler, Completion, on_event=self.told.append, on_lost=self.lost.append
        )
        self.client.connect(ours)


@pytest.fixture
def both(kernel: Loop) -> Iterator[Both]:
    made = Both(kernel)
    yield made
    made.client.close()
    made.server.close()


def test_calls(kernel: Loop, both: Both) -> None:
    call = both.client.call
    first, second, third = kernel.run(call(Add(1, 2)), call(Add(13, 0)), call(Crash()))
    assert first == Sum(3)
    assert isinstance(second, EDOM)
    assert isinstance(third, EIO)


def test_what_cannot_be_sent_fails_alone(kernel: Loop, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HANDLERS, Add, lambda request: Sum(1 << 64) if request.a == 7 else Sum(1))
    call = both.client.call
    first, second, third = kernel.run(call(Add(7, 1)), call(Add(1 << 64, 1)), call(Add(1, 1)))
    assert isinstance(first, EIO)
    assert isinstance(second, OverflowError)
    assert third == Sum(1)


def test_more_calls_than_credits(kernel: Loop, both: Both) -> None:
    results = kernel.run(*(both.client.call(Add(1, n)) for n in range(5 * CREDITS)))
    assert results == [Sum(n + 1) for n in range(5 * CREDITS)]


def test_replies_of_any_size_do_not_deadlock(kernel: Loop, both: Both) -> None:
    results = kernel.run(*(both.client.call(Fetch(65000)) for _ in range(100)), both.client.call(Fetch(70000)))
    assert all(len(result.data) == 65000 for result in results[:-1])
    assert isinstance(results[-1], EMSGSIZE)


def test_descriptors(kernel: Loop, both: Both) -> None:
    fd = os.memfd_create("test")
    os.write(fd, b"content")
    [opened] = kernel.run(both.client.call(Swap(RegularFd.lend(fd))))
    assert os.pread(opened.file.fileno(), 9, 0) == b"content"
    os.close(fd)


def test_events(kernel: Loop, both: Both) -> None:
    both.server.tell(Tick(1))
    both.client.tell(Poke(b"x"))
    kernel.run_until(lambda: bool(both.told and both.events))
    assert (both.told, both.events) == ([Tick(1)], [Poke(b"x")])


def test_calls_of_a_dead_peer_fail_and_later_ones_wait_for_the_next(kernel: Loop) -> None:
    client = loop.Client(SAMPLE, kernel, kernel.scheduler, Completion)
    ours, theirs = pair()
    client.connect(ours)
    first = client.start(Add(1, 1))
    theirs.close()
    kernel.run_until(lambda: first.done)  # type: ignore[attr-defined]
    second = client.start(Add(2, 2))
    with pytest.raises(EIO):
        first.__await__().send(None)
    ours, theirs = pair()
    client.connect(ours)
    server = loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lambda reason: None)
    kernel.run_until(lambda: second.done)  # type: ignore[attr-defined]
    client.close()
    server.close()


def test_a_dropped_answer_closes_its_descriptors(kernel: Loop, both: Both) -> None:
    fd = os.memfd_create("test")
    both.client.start(Swap(RegularFd(fd)))
    kernel.run(both.client.call(Add(1, 1)))


def test_against_the_blocking_server(kernel: Loop) -> None:
    ours, theirs = pair()
    handlers = {**HANDLERS, Swap: lambda request: Opened(RegularFd(request.file.take()))}
    thread = threading.Thread(target=blocking.serve, args=(theirs, SAMPLE, handlers))
    thread.start()
    client = loop.Client(SAMPLE, kernel, kernel.scheduler, Completion)
    client.connect(ours)
    results = kernel.run(*(client.call(Fetch(60000)) for _ in range(200)))
    assert all(len(result.data) == 60000 for result in results)
    client.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_peer_that_does_not_drain_is_cut_off(kernel: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "DRAIN_NS", 50_000_000)
    ours, theirs = pair()
    lost: list[str] = []
    server = loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lost.append)
    for _ in range(8000):
        server.tell(Tick(1))
    kernel.run_until(lambda: bool(lost))
    assert lost == ["the peer does not drain"]
    ours.close()


def test_a_peer_that_breaks_the_protocol_is_cut_off(kernel: Loop) -> None:
    ours, theirs = pair()
    lost: list[str] = []
    loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lost.append)
    ours.send(b"nonsense")
    kernel.run_until(lambda: bool(lost))
    assert lost == ["no hello"]
    ours.close()


def test_a_flood_of_descriptors_leaves_none_behind(kernel: Loop) -> None:
    ours, theirs = pair()
    lost: list[str] = []
    server = loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lost.append)
    fds = [OwnedFd(os.memfd_create("test")) for _ in range(100)]
    socket.send_fds(ours, [b"x" * 20], [fd.fileno() for fd in fds])
    kernel.run_until(lambda: bool(lost))
    assert not server.connected
    ours.close()
