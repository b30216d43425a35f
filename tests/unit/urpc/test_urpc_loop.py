"""The sentry-loop transport, driven by the kernel's scheduler and an epoll that stands for the platform."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pysc.cabi.linux.errors import EDOM, EIO, ENOBUFS, ENOMEM, ETOOMANYREFS, LinuxError
from pysc.sentry.kernel.scheduler import Completion
from pysc.urpc import blocking, loop
from pysc.urpc.codec import HEADER, Answered, Codec, Type
from pysc.urpc.fds import OwnedFd, RegularFd
from pysc.urpc.message import CREDITS, MAX_FRAME, MAX_QUEUE, Event, Request
from pysc.urpc.schema.gofer import GOFER, MAX_XATTR, File, SetXattr
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


def test_what_cannot_be_sent_fails_alone_when_its_turn_comes(kernel: Loop, both: Both) -> None:
    """It is sent by whoever gives a credit back, who has nothing to do with it."""
    call = both.client.call
    *first, unsendable, last = kernel.run(
        *(call(Add(1, n)) for n in range(CREDITS)), call(Add(1 << 64, 1)), call(Add(1, 1))
    )
    assert first == [Sum(n + 1) for n in range(CREDITS)]
    assert isinstance(unsendable, OverflowError)
    assert last == Sum(2)
    assert both.lost == []


def test_more_calls_than_credits(kernel: Loop, both: Both) -> None:
    results = kernel.run(*(both.client.call(Add(1, n)) for n in range(5 * CREDITS)))
    assert results == [Sum(n + 1) for n in range(5 * CREDITS)]


def test_replies_of_any_size_do_not_deadlock(kernel: Loop, both: Both) -> None:
    results = kernel.run(*(both.client.call(Fetch(65000)) for _ in range(100)), both.client.call(Fetch(70000)))
    assert all(len(result.data) == 65000 for result in results[:-1])
    assert isinstance(results[-1], EIO)


def test_descriptors(kernel: Loop, both: Both) -> None:
    fd = os.memfd_create("test")
    os.write(fd, b"content")
    [opened] = kernel.run(both.client.call(Swap(RegularFd.lend(fd))))
    assert os.pread(opened.file.fileno(), 9, 0) == b"content"
    os.close(fd)


@pytest.mark.parametrize("short", [ENOBUFS, ENOMEM, ETOOMANYREFS])
def test_what_is_short_is_waited_for(
    kernel: Loop, both: Both, monkeypatch: pytest.MonkeyPatch, short: type[LinuxError]
) -> None:
    """Too many descriptors in flight, or memory: by a timer, since the socket is writable all the time."""
    send, refusals = loop.send_frame, [OSError(short.errno, "")] * 2

    def refused(*arguments: Any) -> None:
        if refusals:
            raise refusals.pop()
        send(*arguments)

    kernel.run(both.client.call(Add(1, 2)))
    monkeypatch.setattr(loop, "send_frame", refused)
    both.client.start(Add(1, 2))
    assert not kernel.ready()
    first, second = kernel.run(both.client.call(Add(1, 2)), both.client.call(Add(2, 2)))
    assert (first, second, refusals) == (Sum(3), Sum(4), [])


def test_what_is_short_does_not_stay_so(kernel: Loop, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: Any) -> None:
        raise OSError(ETOOMANYREFS.errno, "")

    monkeypatch.setattr(loop, "DRAIN_NS", 50_000_000)
    monkeypatch.setattr(loop, "send_frame", refused)
    assert isinstance(kernel.run(both.client.call(Add(1, 2)))[0], EIO)
    assert "the peer does not drain" in both.lost
    both.client.close()
    assert kernel.scheduler.deadline() is None


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


def test_a_peer_that_drains_slowly_is_not_cut_off(kernel: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its time again whenever it has taken something."""
    monkeypatch.setattr(loop, "DRAIN_NS", 400_000_000)
    ours, theirs = pair()
    lost: list[str] = []
    server = loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lost.append)
    for _ in range(60000):
        server.tell(Tick(1))
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for _ in range(250):
            assert ours.recv(MAX_FRAME, socket.MSG_DONTWAIT)
            kernel.turn()
        kernel.scheduler.run_ready()
        assert (server.connected, lost) == (True, [])
        time.sleep(0.01)
    server.close()
    ours.close()


def test_nothing_is_told_after_the_end(kernel: Loop) -> None:
    """Whoever hears of an event hangs up: neither the next event nor the end of the peer is told."""
    ours, theirs = pair()
    heard: list[str] = []

    def hang_up(event: Event) -> None:
        heard.append(repr(event))
        client.close()

    client = loop.Client(SAMPLE, kernel, kernel.scheduler, Completion, on_event=hang_up, on_lost=heard.append)
    client.connect(ours)
    server = Codec(SAMPLE, serves=True)
    for frame in (server.hello(), server.tell(Tick(1)), server.tell(Tick(2))):
        theirs.send(frame[0])
    kernel.turn()
    assert heard == [repr(Tick(1))]
    theirs.close()


def test_events_that_nobody_takes_fill_no_memory(kernel: Loop) -> None:
    """Beyond 1 MiB the peer is cut off at once."""
    ours, theirs = pair()
    lost: list[str] = []
    server = loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lost.append)
    for _ in range(MAX_QUEUE // 8):
        assert server.queued <= MAX_QUEUE
        server.tell(Tick(1))
    assert (server.connected, lost) == (False, ["the peer does not drain"])
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


def memfd() -> int:
    return os.memfd_create("test")


def directory() -> int:
    return os.open("/", os.O_RDONLY)


SUM = b"\x91\x02"
OPENED = b"\x91\x00"
LIES: list[tuple[Request[Any], int, int, bytes, list[Callable[[], int]]]] = [
    (Add(1, 1), Type.REPLY, 1, SUM, []),  # to what was never asked
    (Add(1, 1), Type.FAILURE, 1, b"\x92\x05\xa0", []),
    (Add(1, 1), Type.REPLY, 0, b"\xc0", []),
    (Add(1, 1), Type.REPLY, 0, b"\x92\x02\x02", []),
    (Add(1, 1), Type.REPLY, 0, b"\x91\xff", []),
    (Fetch(60000), Type.REPLY, 0, b"\x91" * 60000, []),
    (Fetch(1), Type.REPLY, 0, b"\x91\xc4\x05hello", []),  # more than was asked for
    (Add(1, 1), Type.REPLY, 0, SUM, [memfd]),
    (Add(1, 1), Type.FAILURE, 0, b"\x92\x00\xa0", []),  # errno 0
    (Add(1, 1), Type.FAILURE, 0, b"\x92\xcd\x13\x88\xa0", []),  # and 5000
    (Add(1, 1), Type.FAILURE, 0, b"\x92\x05\xda\x08\x00" + b"x" * 2048, []),
    (Add(1, 1), Type.REQUEST, 0, b"\x93\x01\x01\x01", []),
    (Add(1, 1), Type.EVENT, 0, b"\x92\x09\x01", []),
    (Add(1, 1), Type.HELLO, 0, b"\x92\xa0\xa6sample", []),
    (Fetch(1), Type.REPLY, 0, b"\x91\xc6\x00\x01\x11\x70" + bytes(70000), []),
    (Swap(RegularFd(-1)), Type.REPLY, 0, OPENED, []),
    (Swap(RegularFd(-1)), Type.REPLY, 0, OPENED, [directory]),
    (Swap(RegularFd(-1)), Type.REPLY, 0, OPENED, [memfd, memfd]),
    (Swap(RegularFd(-1)), Type.REPLY, 0, b"\x91\x01", [memfd]),
]


class Liar:
    """A peer that says what no server would."""

    def __init__(self, client: loop.Client) -> None:
        ours, self.sock = pair()
        client.connect(ours)
        self.sock.recv(MAX_FRAME)
        self.sock.send(Codec(SAMPLE, serves=True).hello()[0])

    def say(self, kind: int, id_: int, body: bytes, fds: list[Callable[[], int]]) -> None:
        made = [make() for make in fds]
        socket.send_fds(self.sock, [HEADER.pack(kind, id_) + body], made)
        for fd in made:
            os.close(fd)


@pytest.mark.parametrize(("request_", "kind", "id_", "body", "fds"), LIES)
def test_a_server_that_lies_is_cut_off(
    kernel: Loop, request_: Request[Any], kind: int, id_: int, body: bytes, fds: list[Callable[[], int]]
) -> None:
    lost: list[str] = []
    client = loop.Client(SAMPLE, kernel, kernel.scheduler, Completion, on_lost=lost.append)
    liar = Liar(client)
    if isinstance(request_, Swap):
        request_ = Swap(RegularFd(memfd()))
    asked = client.start(request_)
    liar.say(kind, id_, body, fds)
    kernel.run_until(lambda: bool(lost))
    with pytest.raises(EIO):
        asked.__await__().send(None)
    assert liar.sock.recv(MAX_FRAME, socket.MSG_DONTWAIT)  # the request
    assert liar.sock.recv(MAX_FRAME, socket.MSG_DONTWAIT) == b""
    liar.sock.close()
    honest = Liar(client)
    later = client.start(Add(1, 1))
    honest.say(Type.REPLY, 0, SUM, [])
    kernel.run_until(lambda: later.done)  # type: ignore[attr-defined]
    client.close()
    honest.sock.close()


def test_a_second_answer_is_none(kernel: Loop) -> None:
    lost: list[str] = []
    client = loop.Client(SAMPLE, kernel, kernel.scheduler, Completion, on_lost=lost.append)
    liar = Liar(client)
    asked = client.start(Add(1, 1))
    for _ in range(2):
        liar.say(Type.REPLY, 0, SUM, [])
    assert kernel.run(client.call(Add(2, 2)))[0].__class__ is EIO
    with pytest.raises(StopIteration) as caught:
        asked.__await__().send(None)
    assert caught.value.value == Sum(2)
    assert lost == ["an answer to no request"]
    liar.sock.close()


def test_the_others_go_on_while_a_server_is_silent(kernel: Loop) -> None:
    """32 questions are out, the next ones wait here, and nothing else does."""
    client = loop.Client(SAMPLE, kernel, kernel.scheduler, Completion)
    silent = Liar(client)
    asked = [client.start(Add(1, 1)) for _ in range(2 * CREDITS)]
    ticks: list[int] = []
    kernel.scheduler.call_at(time.monotonic_ns() + 20_000_000, lambda: ticks.append(1))
    kernel.run_until(lambda: bool(ticks))
    assert not any(one.done for one in asked)  # type: ignore[attr-defined]
    assert sum(1 for _ in iter(lambda: _receive_or_none(silent.sock), None)) == CREDITS
    client.close()
    assert all(one.done for one in asked)  # type: ignore[attr-defined]
    silent.sock.close()


def test_long_waits_are_told_of_once(kernel: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that wait at a time only the longest: without a peer, and with one that is silent."""
    monkeypatch.setattr(loop, "SILENCE_NS", 30_000_000)
    told: list[loop.Silence] = []
    client = loop.Client(SAMPLE, kernel, kernel.scheduler, Completion, on_silence=told.append)
    for number in (1, 2):
        client.start(Add(number, 0))
    kernel.run_until(lambda: bool(told))
    silent = Liar(client)
    ticks: list[int] = []
    kernel.scheduler.call_at(time.monotonic_ns() + 150_000_000, lambda: ticks.append(1))
    kernel.run_until(lambda: bool(ticks))
    assert [(silence.request, silence.others, silence.connected) for silence in told] == [(Add(1, 0), 1, False)]
    assert 0.03 <= told[0].seconds < 5
    silent.say(Type.REPLY, 0, SUM, [])
    kernel.run_until(lambda: len(told) == 2)
    assert (told[1].request, told[1].others, told[1].connected) == (Add(2, 0), 0, True)
    silent.say(Type.REPLY, 1, SUM, [])
    kernel.run_until(lambda: kernel.scheduler.deadline() is None)
    client.start(Add(3, 0))
    client.close()
    assert kernel.scheduler.deadline() is None
    assert len(told) == 2
    silent.sock.close()


def _receive_or_none(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(MAX_FRAME, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None


def test_a_server_reads_no_more_than_it_can_answer(kernel: Loop) -> None:
    """A client that asks and does not listen fills no memory: the rest of what it asks stays with it."""
    ours, theirs = pair()
    server = loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lambda reason: None)
    ours.setblocking(False)
    ours.send(Codec(SAMPLE, serves=False).hello()[0])
    for number in range(2000):
        try:
            ours.send(HEADER.pack(Type.REQUEST, number) + b"\x92\x04\xcd\xea\x60")
        except BlockingIOError:
            for _ in range(20):
                kernel.scheduler.run_ready()
                kernel.turn()
    assert MAX_QUEUE - MAX_FRAME < server.queued <= MAX_QUEUE
    server.close()
    ours.close()


class Slow:
    """A server whose answers wait for a word, and a peer that has asked for as much as it may and reads nothing."""

    def __init__(self, kernel: Loop) -> None:
        self.begun: list[Completion[None]] = []
        self.lost: list[str] = []
        self.peer, theirs = pair()
        self.server = loop.Server(
            theirs, SAMPLE, {**HANDLERS, Fetch: self._fetch}, kernel, kernel.scheduler, on_lost=self.lost.append
        )
        self.codec = Codec(SAMPLE, serves=False)
        self.peer.send(self.codec.hello()[0])
        for _ in range(CREDITS):
            self.peer.send(self.codec.ask(Fetch(60000))[1][0])
        kernel.run_until(lambda: not kernel.ready())

    async def _fetch(self, request: Fetch) -> Blob:
        word: Completion[None] = Completion()
        self.begun.append(word)
        await word
        return Blob(bytes(request.size))

    def finish(self) -> None:
        while self.begun:
            self.begun.pop().resolve(None)


def test_room_is_kept_for_the_answers_to_what_is_being_served(kernel: Loop) -> None:
    slow = Slow(kernel)
    room = (MAX_QUEUE - MAX_FRAME) // 60014 + 1
    assert len(slow.begun) == room
    slow.begun.pop().resolve(None)  # its answer goes out at once, and another request comes in
    kernel.run_until(lambda: not kernel.ready())
    assert (len(slow.begun), slow.server.queued) == (room, 0)
    while slow.begun:
        slow.finish()
        kernel.run_until(lambda: not kernel.ready())
    assert MAX_QUEUE - MAX_FRAME < slow.server.queued <= MAX_QUEUE
    slow.peer.setblocking(False)
    answers = 0

    def all_are_answered() -> bool:
        nonlocal answers
        assert slow.server.queued <= MAX_QUEUE
        slow.finish()
        while (frame := _receive_or_none(slow.peer)) is not None:
            answers += isinstance(slow.codec.receive_untrusted(frame, []), Answered)
        return answers == CREDITS

    kernel.run_until(all_are_answered)
    slow.server.close()
    slow.peer.close()


def test_the_end_of_a_peer_is_seen_while_its_requests_wait(kernel: Loop) -> None:
    slow = Slow(kernel)
    slow.peer.close()
    kernel.run_until(lambda: bool(slow.lost))
    slow.finish()
    kernel.run_until(lambda: kernel.scheduler.deadline() is None)


def test_a_client_asks_no_more_than_its_queue_holds(kernel: Loop) -> None:
    """What does not go out waits, and goes out once there is room: also if it was events that filled the queue."""
    ours, theirs = pair()
    client = loop.Client(GOFER, kernel, kernel.scheduler, Completion)
    client.connect(ours)
    theirs.send(Codec(GOFER, serves=True).hello()[0])
    for _ in range(CREDITS):
        client.start(SetXattr(File(0, b"f"), b"user.x", bytes(MAX_XATTR)))
    endpoint = client._endpoint
    assert endpoint is not None
    assert endpoint.queued <= MAX_QUEUE
    frames = 0

    def all_is_said() -> bool:
        nonlocal frames
        assert endpoint.queued <= MAX_QUEUE
        while _receive_or_none(theirs) is not None:
            frames += 1
        return frames == 1 + CREDITS

    kernel.run_until(all_is_said)
    client.close()
    theirs.close()
