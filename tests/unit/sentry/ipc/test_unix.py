"""Unix sockets: the protocol, and beside the host's."""

from __future__ import annotations

import os
import select
import socket as host
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.errors import (
    EADDRINUSE,
    EAFNOSUPPORT,
    EAGAIN,
    ECONNREFUSED,
    ECONNRESET,
    EINVAL,
    EISCONN,
    EMSGSIZE,
    ENOTCONN,
    EPERM,
    EPIPE,
    EPROTONOSUPPORT,
    EPROTOTYPE,
    ESOCKTNOSUPPORT,
    LinuxError,
)
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.cabi.linux.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP
from pysc.sentry.fs.pipe import make_pipe
from pysc.sentry.net.families import make_socket
from pysc.sentry.net.message import Message
from pysc.sentry.net.namespace import NetNamespace
from pysc.sentry.net.unix import UnixSocket
from tests.unit.sentry.ipc.helpers import FakeTask, Runner

NAME = b"\x01\0\0name"
NOWAIT = abi.MSG_DONTWAIT | abi.MSG_NOSIGNAL


class World:
    """One task and its sockets."""

    def __init__(self) -> None:
        self.run = Runner()
        self.task: Any = FakeTask()

    def socket(self, kind: int = abi.SOCK_STREAM, flags: int = 0) -> UnixSocket:
        made = UnixSocket(self.task.kernel.net, kind, flags)
        made.get()
        return made

    def pair(self, kind: int = abi.SOCK_STREAM, flags: int = 0) -> tuple[UnixSocket, UnixSocket]:
        first, second = self.socket(kind, flags), self.socket(kind, flags)
        first.pair(second, self.task)
        return first, second

    def do(self, coroutine: Any) -> Any:
        return self.run.run(coroutine, self.task)

    def send(self, sock: UnixSocket, data: bytes, flags: int = NOWAIT, **extra: Any) -> int:
        sent: int = self.do(sock.send(self.task, Message(data, **extra), flags))
        return sent

    def receive(self, sock: UnixSocket, size: int = 1 << 20, flags: int = NOWAIT) -> Any:
        return self.do(sock.receive(self.task, size, flags))


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_given_back_is_as_it_was(world: World) -> None:
    """Charged to its sender, and its sockets known to be in flight; who has closed meanwhile keeps nothing."""
    a, b = world.pair()
    passed, _other = world.pair()
    net = world.task.kernel.net
    passed.get()
    world.send(a, b"first", files=(passed,))
    world.send(a, b"second")
    before = (a.charged, b.queue_bytes, dict(net.in_flight))
    received = world.receive(b)
    assert (received.data, a.charged < before[0], net.in_flight) == (b"first", True, {})
    b.give_back(received, -1)
    assert (a.charged, b.queue_bytes, net.in_flight) == before
    again = world.receive(b)
    assert (again.data, again.files) == (b"first", (passed,))
    b.put()
    b.give_back(again, -1)
    assert (len(b.queue), a.charged, net.in_flight) == (0, 0, {})
    again.drop_files()


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "error"),
    [
        (abi.AF_INET, abi.SOCK_STREAM, 0, EAFNOSUPPORT),
        (10, abi.SOCK_DGRAM, 17, EAFNOSUPPORT),  # AF_INET6
        (16, abi.SOCK_RAW, 0, EAFNOSUPPORT),  # AF_NETLINK
        (0, abi.SOCK_STREAM, 0, EAFNOSUPPORT),
        (99, abi.SOCK_STREAM, 0, EAFNOSUPPORT),
        (abi.AF_UNIX, 99, 0, ESOCKTNOSUPPORT),
        (abi.AF_UNIX, abi.SOCK_STREAM, 5, EPROTONOSUPPORT),
    ],
)
def test_there_is_no_network(world: World, family: int, kind: int, protocol: int, error: type[LinuxError]) -> None:
    with pytest.raises(error):
        make_socket(world.task, family, kind, protocol, 0)


def test_stream_glues_and_seqpacket_does_not(world: World) -> None:
    a, b = world.pair()
    world.send(a, b"one")
    world.send(a, b"two")
    assert world.receive(b, 4).data == b"onet"
    assert world.receive(b).data == b"wo"
    a, b = world.pair(abi.SOCK_SEQPACKET)
    world.send(a, b"one")
    world.send(a, b"two")
    got = world.receive(b, 2)
    assert (got.data, got.length, got.flags) == (b"on", 3, abi.MSG_TRUNC)
    assert world.receive(b).data == b"two"


def test_a_blocked_reader_is_woken(world: World) -> None:
    a, b = world.pair()
    reading = world.run.start(b.read(10), world.task)
    assert not reading.done
    assert world.do(a.write(b"x")) == 1
    world.run.settle()
    assert reading.result() == b"x"


def test_a_full_stream_waits_for_its_reader(world: World) -> None:
    a, b = world.pair()
    data = os.urandom(600_000)
    writing = world.run.start(a.write(data), world.task)
    assert not writing.done
    assert not a.poll() & POLLOUT
    received = b""
    while len(received) < len(data):
        received += world.do(b.read(100_000))
        world.run.settle()
    assert writing.result() == len(data)
    assert received == data
    assert a.charged == 0
    assert b.queue_bytes == 0
    a.flags |= O_NONBLOCK
    sent = world.send(a, data, abi.MSG_NOSIGNAL)
    assert sent < len(data)
    with pytest.raises(EAGAIN):
        world.send(a, b"x")


def test_waitall_and_peek(world: World) -> None:
    a, b = world.pair()
    waiting = world.run.start(b.receive(world.task, 6, abi.MSG_WAITALL), world.task)
    world.send(a, b"abc")
    world.run.settle()
    assert not waiting.done
    world.send(a, b"defg")
    world.run.settle()
    assert waiting.result().data == b"abcdef"
    assert world.receive(b, 9, abi.MSG_PEEK | NOWAIT).data == b"g"
    assert world.receive(b, 9).data == b"g"


def test_end_of_stream_reset_and_pipe(world: World) -> None:
    a, b = world.pair()
    world.send(a, b"left")
    a.shutdown(abi.SHUT_WR)
    assert world.receive(b).data == b"left"
    assert world.receive(b).data == b""
    with pytest.raises(EPIPE):
        world.send(a, b"x")
    assert b.poll() & (POLLIN | POLLRDHUP | POLLHUP) == POLLIN | POLLRDHUP
    world.send(b, b"back")
    a.put()
    with pytest.raises(EPIPE):
        world.send(b, b"x")
    assert b.poll() & (POLLHUP | POLLERR) == POLLHUP | POLLERR
    with pytest.raises(ECONNRESET):
        world.receive(b)
    assert world.receive(b).data == b""


def test_writing_to_nobody_signals(world: World) -> None:
    a, b = world.pair()
    b.put()
    with pytest.raises(EPIPE):
        world.send(a, b"x", abi.MSG_NOSIGNAL)
    assert not world.task.group.pending.mask
    world.task.mask = 1 << 12
    with pytest.raises(EPIPE):
        world.do(a.write(b"x"))
    assert world.task.pending.mask | world.task.group.pending.mask == 1 << 12


def test_connections(world: World) -> None:
    listener = world.socket()
    client = world.socket()
    with pytest.raises(ECONNREFUSED):
        world.do(client.connect(world.task, NAME))
    with pytest.raises(EINVAL):
        listener.listen(world.task, 1)
    world.do(listener.bind(world.task, NAME))
    with pytest.raises(EADDRINUSE):
        world.do(world.socket().bind(world.task, NAME))
    with pytest.raises(ECONNREFUSED):
        world.do(client.connect(world.task, NAME))
    listener.listen(world.task, 1)
    with pytest.raises(EPROTOTYPE):
        world.do(world.socket(abi.SOCK_DGRAM).connect(world.task, NAME))
    accepting = world.run.start(listener.accept(world.task, 0), world.task)
    assert not listener.poll()
    world.do(client.connect(world.task, NAME))
    world.run.settle()
    server = accepting.result()
    assert client.peer_name() == server.name() == NAME
    assert server.peer_name() == b"\x01\0"
    assert server.peer_credentials.pid == client.peer_credentials.pid == 1
    with pytest.raises(EISCONN):
        world.do(client.connect(world.task, NAME))
    world.send(client, b"hi")
    assert world.receive(server).data == b"hi"


def test_backlog_is_bounded_and_dies_with_the_listener(world: World) -> None:
    listener = world.socket()
    world.do(listener.bind(world.task, NAME))
    listener.listen(world.task, 1)
    clients = [world.socket(flags=O_NONBLOCK) for _ in range(3)]
    for client in clients[:2]:
        world.do(client.connect(world.task, NAME))
    assert listener.poll() & POLLIN
    with pytest.raises(EAGAIN):
        world.do(clients[2].connect(world.task, NAME))
    clients[2].flags = 0
    waiting = world.run.start(clients[2].connect(world.task, NAME), world.task)
    server = world.do(listener.accept(world.task, 0))
    world.run.settle()
    assert waiting.done
    listener.put()
    with pytest.raises(ECONNRESET):
        world.receive(clients[1])
    with pytest.raises(ECONNREFUSED):
        world.do(world.socket().connect(world.task, NAME))
    server.put()
    assert not world.task.kernel.net.abstract


def test_datagrams(world: World) -> None:
    server, client, other = (world.socket(abi.SOCK_DGRAM) for _ in range(3))
    world.do(server.bind(world.task, NAME))
    with pytest.raises(ENOTCONN):
        world.send(client, b"x")
    world.do(client.bind(world.task, b"\x01\0"))
    assert world.send(client, b"hello", address=NAME) == 5
    got = world.receive(server)
    assert got.data == b"hello"
    assert got.address == client.name()
    assert len(client.name()) == 8
    world.do(client.connect(world.task, NAME))
    world.do(server.connect(world.task, client.name()))
    with pytest.raises(EPERM):
        world.send(other, b"x", address=NAME)
    with pytest.raises(EMSGSIZE):
        world.send(client, bytes(300_000))
    world.send(client, b"")
    assert world.receive(server).data == b""
    server.put()
    with pytest.raises(ECONNREFUSED):
        world.send(client, b"x")
    with pytest.raises(ENOTCONN):
        world.send(client, b"x")


def test_a_full_datagram_queue_makes_senders_wait(world: World) -> None:
    server, client = world.socket(abi.SOCK_DGRAM), world.socket(abi.SOCK_DGRAM)
    world.do(server.bind(world.task, NAME))
    world.do(client.connect(world.task, NAME))
    for _ in range(11):
        world.send(client, b"x")
    with pytest.raises(EAGAIN):
        world.send(client, b"x")
    assert not client.poll() & POLLOUT
    waiting = world.run.start(client.write(b"y"), world.task)
    assert not waiting.done
    world.receive(server)
    world.run.settle()
    assert waiting.result() == 1


def test_files_go_along(world: World) -> None:
    a, b = world.pair()
    reader, writer = make_pipe(0)
    writer.get()
    reader.get()
    world.send(a, b"plain")
    reader.get()
    world.send(a, b"with", files=(reader,))
    world.send(a, b"after")
    reader.put()
    assert reader.references == 1
    got = world.receive(b)
    assert got.data == b"plainwith"
    assert got.files == (reader,)
    got.drop_files()
    assert reader.references == 0
    assert writer.poll() & POLLERR
    assert world.receive(b).data == b"after"


def test_files_that_nobody_takes_are_released(world: World) -> None:
    a, b = world.pair()
    reader, writer = make_pipe(0)
    writer.get()
    reader.get()
    world.send(a, b"x", files=(reader,))
    b.put()
    assert reader.references == 0


def test_circles_are_collected(world: World) -> None:
    net = world.task.kernel.net
    a, b = world.pair()
    for sock in (a, b):
        sock.get()
    world.send(a, b"x", files=(a,))
    world.send(b, b"x", files=(b,))
    a.put()
    assert not a.dead
    b.put()
    assert not a.dead
    assert not b.dead, "nobody looked yet: collection is part of a release"
    c, d = world.pair()
    c.put()
    assert a.dead
    assert b.dead
    assert not net.in_flight
    d.put()


def test_a_chain_of_any_length_is_dropped(world: World) -> None:
    """Each socket waits in a message to the next one."""
    first = last = world.pair()
    dropped = [*first]
    for _ in range(2000):
        a, b = world.pair()
        world.send(a, b"x", files=(last[1],))
        last[0].put()
        last = a, b
        dropped += last
    last[0].put()
    last[1].put()
    assert all(socket.dead for socket in dropped)
    assert not world.task.kernel.net.in_flight


def test_collections_are_rare_where_they_cost_much(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    collected = NetNamespace.collected

    def note(net: NetNamespace, count: int) -> None:
        looked_at.append(count)
        collected(net, count)

    monkeypatch.setattr(NetNamespace, "collected", note)
    a, b = world.pair()
    for _ in range(300):
        c, d = world.pair()
        c.get()
        d.get()
        world.send(a, b"x", files=(c, d))
        c.put()
        d.put()
    for _ in range(200):
        for end in world.pair():
            end.put()
    assert 2 < len(looked_at) < 100
    b.put()
    a.put()
    assert not world.task.kernel.net.in_flight


def test_a_circle_that_can_be_received_stays(world: World) -> None:
    a, b = world.pair()
    a.get()
    world.send(a, b"x", files=(a,))
    a.put()
    c, d = world.pair()
    c.put()
    d.put()
    assert not a.dead
    got = world.receive(b)
    assert got.files == (a,)
    got.drop_files()
    assert a.dead


KINDS = {abi.SOCK_STREAM: host.SOCK_STREAM, abi.SOCK_DGRAM: host.SOCK_DGRAM, abi.SOCK_SEQPACKET: host.SOCK_SEQPACKET}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1), st.sampled_from([0, 1, 5, 1000])),
        st.tuples(st.just("receive"), st.integers(0, 1), st.sampled_from([1, 4, 2000])),
        st.tuples(st.just("peek"), st.integers(0, 1), st.sampled_from([1, 4, 2000])),
        st.tuples(st.just("shutdown"), st.integers(0, 1), st.integers(0, 2)),
        st.tuples(st.just("close"), st.just(1), st.just(0)),
    ),
    max_size=25,
)


@given(st.sampled_from(sorted(KINDS)), STEPS)
@settings(max_examples=200)
def test_pairs_same_as_the_hosts(kind: int, steps: list[tuple[str, int, int]]) -> None:
    world = World()
    ours = list(world.pair(kind))
    theirs = list(host.socketpair(host.AF_UNIX, KINDS[kind]))
    closed = False
    counter = 0
    try:
        for name, side, size in steps:
            if closed and side == 1:
                continue
            mine: Any = None
            native: Any = None
            data = bytes([counter % 256]) * size
            counter += 1
            flags = NOWAIT | (abi.MSG_PEEK if name == "peek" else 0)
            try:
                match name:
                    case "send":
                        mine = world.send(ours[side], data)
                    case "shutdown":
                        ours[side].shutdown(size)
                    case "close":
                        ours[side].put()
                    case _:
                        mine = world.receive(ours[side], size, flags).data
            except LinuxError as error:
                mine = error.errno
            try:
                match name:
                    case "send":
                        native = theirs[side].send(data, NOWAIT)
                    case "shutdown":
                        theirs[side].shutdown(size)
                    case "close":
                        theirs[side].close()
                        closed = True
                    case _:
                        native = theirs[side].recv(size, flags)
            except OSError as error:
                native = error.errno
            assert mine == native, (name, side, size)
            for index in range(1 if closed else 2):
                poller = select.poll()
                poller.register(theirs[index], POLLIN | POLLOUT | POLLRDHUP)
                events = dict(poller.poll(0)).get(theirs[index].fileno(), 0)
                mask = POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR
                assert ours[index].poll() & mask == events, (name, side, size, index)
    finally:
        for sock in theirs:
            sock.close()
