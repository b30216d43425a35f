"""The blocking transport over real sockets."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pysc.cabi.linux.errors import EDOM, EIO
from pysc.urpc.blocking import Client, Disconnected, serve
from pysc.urpc.codec import HEADER, BadFrame, Codec, Type
from pysc.urpc.fds import OwnedFd, RegularFd
from pysc.urpc.message import Event
from pysc.urpc.wire import receive_frame, send_frame
from tests.unit.urpc.sample_service import SAMPLE, Add, Blob, Crash, Fetch, Opened, Poke, Sum, Swap, Take


def crash(_: Crash) -> None:
    raise ZeroDivisionError


def add(request: Add) -> Sum:
    if request.a == 13:
        raise EDOM("unlucky")
    return Sum(request.a + request.b)


HANDLERS: dict[Any, Any] = {
    Add: add,
    Swap: lambda request: Opened(RegularFd(request.file.take())),
    Take: lambda request: None,
    Fetch: lambda request: Blob(bytes(request.size)),
    Crash: crash,
}


class Server:
    """serve() on a thread, with what became of it."""

    def __init__(self) -> None:
        self.end, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.error: BaseException | None = None
        self.events: list[Event] = []
        self._thread = threading.Thread(target=self._run, args=(ours,))
        self._thread.start()

    def _run(self, sock: socket.socket) -> None:
        try:
            serve(sock, SAMPLE, HANDLERS, on_event=self.events.append)
        except BadFrame as error:
            self.error = error.with_traceback(None)

    def wait_end(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.end.close()
    server.wait_end()


def test_calls(server: Server) -> None:
    client = Client(server.end, SAMPLE)
    assert client.call(Add(1, 2)) == Sum(3)
    with pytest.raises(EDOM, match="unlucky"):
        client.call(Add(13, 2))
    assert client.call(Add(3, 4)) == Sum(7)


def test_a_file_goes_there_and_back(server: Server) -> None:
    client = Client(server.end, SAMPLE)
    fd = os.memfd_create("test")
    os.write(fd, b"content")
    opened = client.call(Swap(RegularFd(fd)))
    assert os.pread(opened.file.fileno(), 10, 0) == b"content"
    assert not os.get_inheritable(opened.file.fileno())
    opened.file.close()
    client.call(Add(1, 1))  # the server, a thread here, has given its own copy up, too
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_a_bug_in_a_handler_is_eio_and_the_server_goes_on(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(server.end, SAMPLE)
    with pytest.raises(EIO):
        client.call(Crash())
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert client.call(Add(1, 1)) == Sum(2)


def test_a_reply_that_is_too_long_is_a_bug_in_a_handler(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(server.end, SAMPLE)
    with pytest.raises(EIO):
        client.call(Fetch(70000))
    assert "Fetch\n" in (told := capsys.readouterr().err)
    assert "TooLong: Blob of 7" in told
    assert len(client.call(Fetch(65000)).data) == 65000


def test_a_server_that_says_more_than_it_was_asked_for_is_cut_off() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.send(Codec(SAMPLE, serves=True).hello()[0])
    theirs.send(HEADER.pack(Type.REPLY, 0) + b"\x91\xc4\x05hello")
    with theirs, pytest.raises(Disconnected, match="longer"):
        Client(ours, SAMPLE).call(Fetch(1))


def test_surplus_descriptors_cut_the_peer_off(server: Server) -> None:
    client = Client(server.end, SAMPLE)
    files = [OwnedFd(os.memfd_create("test")) for _ in range(3)]
    client.call(Take(files))
    fds = [os.memfd_create("test") for _ in range(9)]
    right = HEADER.pack(Type.REQUEST, 9) + b"\x92\x03\x93\x00\x01\x02"  # Take, of the three that fit
    socket.send_fds(server.end, [right], fds)
    for fd in fds:
        os.close(fd)
    server.wait_end()
    assert isinstance(server.error, BadFrame)
    with pytest.raises(Disconnected):
        client.call(Add(1, 2))


def test_a_frame_that_is_cut_cuts_the_peer_off(server: Server) -> None:
    """What is left of it may even decode."""
    client = Client(server.end, SAMPLE)
    client.call(Add(1, 2))
    server.end.send(HEADER.pack(Type.REQUEST, 7) + b"\x93\x01\x01\x01" + bytes(70000))
    server.wait_end()
    assert isinstance(server.error, BadFrame)
    with pytest.raises(Disconnected):
        client.call(Add(1, 2))


def test_events_arrive(server: Server) -> None:
    client = Client(server.end, SAMPLE)
    client.tell(Poke(b"hey"))
    client.call(Add(1, 1))
    assert server.events == [Poke(b"hey")]


def test_no_descriptor_fits_beside_those_that_are_expected() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for expected in (0, 1):
            socket.send_fds(ours, [b"x"], [0] * (expected + 1))
            with pytest.raises(BadFrame, match="does not fit"):
                receive_frame(theirs, expected)


def test_an_empty_frame_ends_the_connection(server: Server) -> None:
    Client(server.end, SAMPLE)
    server.end.send(b"")
    server.wait_end()
    assert server.error is None


def test_last_words_are_heard_of_a_peer_that_left_without_reading() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        send_frame(ours, b"never read", [])
        send_frame(theirs, b"last words", [])
        theirs.close()
        assert receive_frame(ours, 0) == (b"last words", [])
        assert receive_frame(ours, 0) is None
