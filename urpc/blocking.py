"""The blocking transport: the gofer's server loop, and clients that ask one thing at a time (CLI, tests).

A client never has more than one request outstanding, so two blocking ends cannot fill both directions and deadlock.
A server has sent each answer before it reads on: it has no queue, and no room to keep.
A peer that does not take a frame within five seconds is cut off.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pysc.cabi.linux.errors import EIO, LinuxError
from pysc.urpc.codec import Answered, Asked, BadFrame, Codec, Frame, Greeted, Received, Refused, Told
from pysc.urpc.message import Event, Request, Service
from pysc.urpc.report import report
from pysc.urpc.wire import numbers, receive_frame, release, send_frame

R = TypeVar("R")
DRAIN_SECONDS: Final = 5


class Disconnected(Exception):
    """The peer is gone, or was cut off."""


class Connection:
    """One end of a socket: blocking frames in and out.  Owns the socket."""

    __slots__ = ("codec", "sock")

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", DRAIN_SECONDS, 0))
        self.sock = sock
        self.codec = codec

    def send(self, frame: Frame) -> None:
        """Send a frame and close the descriptors that it owns.

        Raises:
            Disconnected: the peer is gone or does not drain.
        """
        try:
            send_frame(self.sock, frame[0], numbers(frame))
        except OSError as error:
            raise Disconnected(str(error)) from None
        finally:
            release(frame)

    def receive_untrusted(self) -> Received | None:
        """Wait for a frame; None at the end.

        Raises:
            BadFrame: the peer broke the protocol.
            Disconnected: the socket failed.
        """
        try:
            frame = receive_frame(self.sock, self.codec.max_fds)
        except BlockingIOError:  # SO_RCVTIMEO
            raise Disconnected("nothing came in time") from None
        except OSError as error:
            raise Disconnected(str(error)) from None
        return None if frame is None else self.codec.receive_untrusted(*frame)


class Client:
    """Asks, waits, returns: for programs with nothing else to do.  Events that come meanwhile go to ``on_event``."""

    __slots__ = ("_connection", "_on_event")

    def __init__(
        self,
        sock: socket.socket,
        service: Service,
        *,
        build: str = "",
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._connection = Connection(sock, Codec(service, serves=False, build=build))
        self._on_event = on_event
        self._connection.send(self._connection.codec.hello())

    def call(self, request: Request[R]) -> R:
        """Ask and wait for the answer.  Lent descriptors stay the caller's, owned ones are closed once sent.

        Raises:
            LinuxError: the server's error reply.
            Disconnected: no answer will come.
        """
        id_, frame = self._connection.codec.ask(request)
        self._connection.send(frame)
        while True:
            received = self._receive()
            if isinstance(received, Answered):
                assert received.id == id_, "one request is outstanding"
                if received.error is not None:
                    raise received.error
                return received.value  # type: ignore[no-any-return]  # decoded as R

    def wait_event(self) -> Event:
        """Wait for the next event instead (none may have been given to ``on_event``).

        Raises:
            Disconnected: none will come.
        """
        while True:
            received = self._receive()
            if isinstance(received, Told):
                return received.event

    def tell(self, event: Event) -> None:
        """Send an event."""
        self._connection.send(self._connection.codec.tell(event))

    def _receive(self) -> Received:
        try:
            received = self._connection.receive_untrusted()
        except BadFrame as error:
            self.close()
            raise Disconnected(str(error)) from None
        if received is None:
            raise Disconnected("the peer closed the connection")
        if isinstance(received, Told) and self._on_event is not None:
            self._on_event(received.event)
        return received

    def close(self) -> None:
        """Close the socket."""
        self._connection.sock.close()


Handler = Callable[[Any], object]
"""Answers one request: its reply, or a LinuxError raised."""


def serve(
    sock: socket.socket,
    service: Service,
    handlers: dict[type[Request[Any]], Handler],
    *,
    build: str = "",
    on_event: Callable[[Event], None] | None = None,
    lock_down: Callable[[], None] = lambda: None,
) -> None:
    """Answer one peer until it is gone, one request at a time.  Takes the socket over.

    ``lock_down`` is called when the socket is set up; from then on only recvmsg, sendmsg and sendto are used.

    A handler's LinuxError is the reply; any other exception is a bug of ours: it is logged and answered with EIO.
    Descriptors in the request are the handler's to take; what it leaves is closed.

    Raises:
        BadFrame: the peer broke the protocol (the connection is closed already).
    """
    assert set(handlers) == set(service.requests), "a handler for every request"
    codec = Codec(service, serves=True, build=build)
    with sock:
        connection = Connection(sock, codec)
        lock_down()
        try:
            connection.send(codec.hello())
            while _serve_one(connection, handlers, on_event):
                pass
        except Disconnected:
            return


def _serve_one(
    connection: Connection, handlers: dict[type[Request[Any]], Handler], on_event: Callable[[Event], None] | None
) -> bool:
    # A function of its own, so that nothing holds the last request's descriptors while the next one is awaited.
    received = connection.receive_untrusted()
    if received is None:
        return False
    if isinstance(received, Asked):
        connection.send(_answer(connection.codec, received, handlers))
    elif isinstance(received, Refused):
        connection.send(received.answer)
    elif isinstance(received, Told) and on_event is not None:
        on_event(received.event)
    else:
        assert isinstance(received, Greeted | Told)
    return True


def _answer(codec: Codec, asked: Asked, handlers: dict[type[Request[Any]], Handler]) -> Frame:
    try:
        return codec.answer(asked.id, handlers[type(asked.request)](asked.request))
    except Exception as error:
        return failure(codec, asked, error)


def failure(codec: Codec, asked: Asked, error: BaseException) -> Frame:
    """Answer a request with what was raised while it was served; what is no LinuxError is a bug of ours: EIO."""
    if not isinstance(error, LinuxError):
        report("error", f"a bug while serving {type(asked.request).__name__}", error)
        error = EIO("a bug of the server")
    return codec.fail(asked.id, error)
