"""Frames of a hostile peer: random, mutated, with descriptors that nobody asked for."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pysc.cabi.linux.errors import LinuxError
from pysc.sentry.kernel.scheduler import Completion
from pysc.urpc import aio, blocking, loop
from pysc.urpc.codec import HEADER, BadFrame, Codec, Refused, Type
from pysc.urpc.fds import OwnedFd, RegularFd
from pysc.urpc.message import MAX_FRAME, Message
from pysc.urpc.schema.gofer import GOFER
from pysc.urpc.schema.netstack import NETSTACK
from pysc.urpc.schema.sentry import CONTROL
from pysc.urpc.schema.spawner import SPAWNER
from pysc.urpc.schema.supervisor import COMMANDS
from tests.support.kernel_loop import Loop
from tests.support.schema_strategies import messages
from tests.unit.urpc.sample_service import SAMPLE, Add, Blob, Crash, Fetch, Opened, Sum, Swap, Take

QUICK = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
SLOW = settings(QUICK, max_examples=30)


@pytest.fixture(autouse=True)
def no_leaked_fds() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before


def crash(_: Crash) -> None:
    raise ZeroDivisionError


HANDLERS: dict[Any, Any] = {
    Add: lambda request: Sum((request.a + request.b) & 0xFFFF_FFFF),
    Swap: lambda request: Opened(RegularFd(request.file.take())),
    Take: lambda request: None,
    Fetch: lambda request: Blob(bytes(min(request.size, 60000))),
    Crash: crash,
}


def memfds(count: int) -> list[int]:
    return [os.memfd_create("fuzz") for _ in range(count)]


def greeted(service: Any, *, serves: bool) -> Codec:
    codec, peer = Codec(service, serves=serves), Codec(service, serves=not serves)
    codec.receive_untrusted(peer.hello()[0], [])
    return codec


bodies = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.binary(max_size=20) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
).map(msgspec.msgpack.encode)
frames = st.binary(max_size=100) | st.builds(
    lambda kind, id_, body: HEADER.pack(kind, id_) + body, st.integers(0, 8), st.integers(0, 40), bodies
)


@pytest.mark.parametrize("service", [SAMPLE, GOFER, CONTROL], ids=lambda service: service.name)
@pytest.mark.parametrize("serves", [True, False])
@QUICK
@given(sent=st.lists(st.tuples(frames, st.integers(0, 3)), max_size=8))
def test_a_codec_raises_nothing_but_bad_frame(service: Any, serves: bool, sent: list[tuple[bytes, int]]) -> None:
    codec = greeted(service, serves=serves)
    # As if all that can be asked had been: answers are decoded, too.
    codec._pending.update({} if serves else dict(enumerate((kind.reply_type, MAX_FRAME) for kind in service.requests)))
    for frame, fds in sent:
        try:
            received = codec.receive_untrusted(frame, memfds(fds))
        except BadFrame:
            return
        if isinstance(received, Refused):
            assert received.answer[0][0] == Type.FAILURE
        del received


@pytest.mark.parametrize("service", [GOFER, NETSTACK, CONTROL, SPAWNER, COMMANDS], ids=lambda service: service.name)
@QUICK
@given(data=st.data())
def test_no_answer_is_longer_than_it_may_be(service: Any, data: st.DataObject) -> None:
    parts = {"names": st.binary(max_size=300), "fds": st.builds(lambda: OwnedFd.lend(0))}
    kind = data.draw(st.sampled_from(service.requests))
    assert data.draw(messages(kind, **parts)).max_reply() <= kind.longest_reply <= service.max_reply
    if issubclass(kind.reply_type, Message):
        reply = data.draw(messages(kind.reply_type, **parts))
        assert HEADER.size + len(msgspec.msgpack.encode(reply, enc_hook=lambda fd: 0)) <= kind.longest_reply


def changed(data: bytes, at: int, value: int, cut: int) -> bytearray:
    """Return a frame with one byte changed, and some of its end cut off."""
    mutated = bytearray(data)
    mutated[at % len(mutated)] = value
    del mutated[len(mutated) - cut % len(mutated) :]
    return mutated


@QUICK
@given(at=st.integers(0, 60), value=st.integers(0, 255), cut=st.integers(0, 60), fds=st.integers(0, 3))
def test_a_mutated_request_is_refused_or_understood(at: int, value: int, cut: int, fds: int) -> None:
    client, server = greeted(SAMPLE, serves=False), greeted(SAMPLE, serves=True)
    _, (data, owned) = client.ask(Take([RegularFd(fd) for fd in memfds(2)]))
    for fd in owned:
        fd.close()
    mutated = changed(data, at, value, cut)
    try:
        server.receive_untrusted(mutated, memfds(fds))
    except BadFrame:
        pass


QUESTIONS = st.sampled_from([Add(1, 2), Fetch(3), Take([])]) | st.builds(lambda: Swap(RegularFd.lend(0)))
ANSWERS: dict[type, Any] = {Add: Sum(3), Fetch: Blob(b"abc"), Take: None, Swap: Opened(RegularFd.lend(0))}


@QUICK
@given(
    question=QUESTIONS, at=st.integers(0, 20), value=st.integers(0, 255), cut=st.integers(0, 20), fds=st.integers(0, 2)
)
def test_a_mutated_answer_is_understood_or_cuts_the_server_off(
    question: Any, at: int, value: int, cut: int, fds: int
) -> None:
    client, server = greeted(SAMPLE, serves=False), greeted(SAMPLE, serves=True)
    id_, _ = client.ask(question)
    server._pending[id_] = client._pending[id_]
    data, _ = server.answer(id_, ANSWERS[type(question)])
    mutated = changed(data, at, value, cut)
    try:
        client.receive_untrusted(mutated, memfds(fds))
    except BadFrame:
        pass


def flood(sock: socket.socket, sent: list[tuple[bytes, int]]) -> None:
    """Send all; stop when the other end has hung up."""
    sock.settimeout(5)
    try:
        for frame, count in sent:
            fds = memfds(count)
            try:
                socket.send_fds(sock, [frame], fds)
            finally:
                for fd in fds:
                    os.close(fd)
    except OSError:
        pass
    sock.close()


@SLOW
@given(hello=st.booleans(), sent=st.lists(st.tuples(frames, st.integers(0, 5)), max_size=20))
def test_the_blocking_server_ends_with_its_peer(hello: bool, sent: list[tuple[bytes, int]]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ends: list[BaseException | None] = []

    def run() -> None:
        try:
            blocking.serve(theirs, SAMPLE, HANDLERS)
            ends.append(None)
        except BaseException as error:
            ends.append(error.with_traceback(None))

    thread = threading.Thread(target=run)
    thread.start()
    flood(ours, [(Codec(SAMPLE, serves=False).hello()[0], 0)] * hello + sent)
    thread.join(10)
    assert not thread.is_alive(), "the server hangs"
    assert ends[0] is None or isinstance(ends[0], BadFrame)


@SLOW
@given(hello=st.booleans(), sent=st.lists(st.tuples(frames, st.integers(0, 5)), max_size=20))
def test_the_loop_ends_with_its_peer(hello: bool, sent: list[tuple[bytes, int]]) -> None:
    kernel = Loop()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lost: list[str] = []
    loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lost.append)
    flood(ours, [(Codec(SAMPLE, serves=False).hello()[0], 0)] * hello + sent)
    kernel.run_until(lambda: bool(lost))
    kernel.close()


@pytest.fixture(scope="module")
def descriptors_of_asyncio() -> None:
    """Let it open what it keeps for the whole process before descriptors are counted."""
    anyio.run(anyio.lowlevel.checkpoint)


@SLOW
@given(hello=st.booleans(), sent=st.lists(st.tuples(frames, st.integers(0, 5)), max_size=20))
def test_the_anyio_server_ends_with_its_peer(
    descriptors_of_asyncio: None, hello: bool, sent: list[tuple[bytes, int]]
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    flood(ours, [(Codec(SAMPLE, serves=False).hello()[0], 0)] * hello + sent)

    async def serve() -> None:
        with anyio.fail_after(10):
            await aio.Server(theirs, SAMPLE, {kind: awaited(handler) for kind, handler in HANDLERS.items()}).serve()

    try:
        anyio.run(serve)
    except BadFrame:
        pass


def awaited(handler: Any) -> Any:
    async def handle(request: Any) -> Any:
        return handler(request)

    return handle


answers = st.builds(
    lambda kind, id_, body: HEADER.pack(kind, id_) + body,
    st.sampled_from([Type.REPLY, Type.FAILURE, Type.EVENT]),
    st.integers(0, 1),
    bodies | st.sampled_from([b"\x91\x02", b"\x91\x00", b"\xc0", b"\x92\x05\xa0", b"\x92\x02\xa3why", b"\x92\x01\x07"]),
)
lies = st.lists(st.tuples(frames | answers, st.integers(0, 3)), max_size=20)


def liar(hello: bool, sent: list[tuple[bytes, int]]) -> socket.socket:
    """Return a socket in which all that a hostile server ever says has been said."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    flood(theirs, [(Codec(SAMPLE, serves=True).hello()[0], 0)] * hello + sent)
    return ours


@SLOW
@given(hello=st.booleans(), sent=lies, question=QUESTIONS)
def test_the_blocking_client_ends_with_its_peer(hello: bool, sent: list[tuple[bytes, int]], question: Any) -> None:
    sock = liar(hello, sent)
    try:
        blocking.Client(sock, SAMPLE).call(question)
    except (blocking.Disconnected, LinuxError):
        pass
    sock.close()


@SLOW
@given(hello=st.booleans(), sent=lies, question=QUESTIONS)
def test_the_loops_client_ends_with_its_peer(hello: bool, sent: list[tuple[bytes, int]], question: Any) -> None:
    kernel = Loop()
    lost: list[str] = []
    client = loop.Client(SAMPLE, kernel, kernel.scheduler, Completion, on_lost=lost.append)
    client.connect(liar(hello, sent))
    asked = client.start(question)
    kernel.run_until(lambda: bool(lost) and asked.done)  # type: ignore[attr-defined]
    client.close()
    kernel.close()


@SLOW
@given(hello=st.booleans(), sent=lies, question=QUESTIONS)
def test_the_anyio_client_ends_with_its_peer(
    descriptors_of_asyncio: None, hello: bool, sent: list[tuple[bytes, int]], question: Any
) -> None:
    async def ask() -> None:
        with anyio.fail_after(10):
            async with aio.connect(liar(hello, sent), SAMPLE) as client:
                await client.call(question)

    try:
        anyio.run(ask)
    except (blocking.Disconnected, LinuxError):
        pass


def test_the_most_descriptors_a_frame_can_carry() -> None:
    kernel = Loop()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lost: list[str] = []
    loop.Server(theirs, SAMPLE, HANDLERS, kernel, kernel.scheduler, on_lost=lost.append)
    flood(ours, [(b"x" * 65536, 253)])
    kernel.run_until(lambda: bool(lost))
    kernel.close()


def test_pipelined_requests_of_a_peer_that_reads_nothing_end_in_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocking ends deadlocked here once."""
    monkeypatch.setattr(blocking, "DRAIN_SECONDS", 1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    thread = threading.Thread(target=blocking.serve, args=(theirs, SAMPLE, HANDLERS))
    thread.start()
    codec = Codec(SAMPLE, serves=False)
    ours.settimeout(5)
    ours.send(codec.hello()[0])

    def pipeline() -> None:
        for number in range(10000):
            ours.send(HEADER.pack(Type.REQUEST, number) + b"\x92\x04\xcd\xea\x60")

    with pytest.raises(OSError, match=r"Broken pipe|reset|timed out"):
        pipeline()
    thread.join(10)
    assert not thread.is_alive()
    ours.close()
