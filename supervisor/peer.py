"""uRPC in a poll loop: one end of a connection whose frames are taken when its socket is readable.

Used by the supervisor and the spawner, which both have few peers, wait for all of them with poll(2), and must start
fast: neither loads an event loop.  A send blocks at most as long as a peer may take to drain (five seconds), then the
peer is cut off.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pysc.cabi.linux.errors import EIO, ETIMEDOUT, LinuxError
from pysc.urpc.blocking import Connection, Disconnected, failure
from pysc.urpc.codec import Answered, Asked, BadFrame, Codec, Refused, Told
from pysc.urpc.message import Event, Request, Service

R = TypeVar("R")
Answer = Callable[[Any, LinuxError | None], None]
MILLISECOND: Final = 1000


class Peer:
    """A connection in a :class:`Loop`.  ``on_end`` is called once, when the peer is gone or was cut off."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        service: Service,
        *,
        serves: bool,
        build: str = "",
        on_request: Callable[[Peer, Asked], None] | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._connection = Connection(sock, Codec(service, serves=serves, build=build))
        self._on_request = on_request
        self._on_event = on_event
        self._on_end = on_end
        self._answers: dict[int, Answer] = {}
        self.open = True
        loop.watch(sock.fileno(), self._readable)
        self._send(self._connection.codec.hello())

    @property
    def sock(self) -> socket.socket:
        """The socket."""
        return self._connection.sock

    def ask(self, request: Request[Any], answer: Answer) -> None:
        """Send a request; ``answer(value, error)`` follows, with an error if the peer goes away first."""
        if not self.open or not self._connection.codec.credits:
            answer(None, EIO("the peer is gone or silent"))
            return
        number, frame = self._connection.codec.ask(request)
        self._answers[number] = answer
        self._send(frame)

    def call(self, request: Request[R], timeout: float, meanwhile: Callable[[], None] = lambda: None) -> R:
        """Ask, do what is to be done ``meanwhile``, and run the loop until the answer is there.

        Raises:
            LinuxError: the error reply; EIO if the peer is gone, ETIMEDOUT.
        """
        box: list[tuple[Any, LinuxError | None]] = []
        self.ask(request, lambda value, error: box.append((value, error)))
        meanwhile()
        self._loop.run(lambda: bool(box), timeout)
        if not box:
            raise ETIMEDOUT(f"no answer to {type(request).__name__}")
        value, error = box[0]
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]  # decoded as R

    def answer(self, asked: Asked, value: object = None, error: LinuxError | None = None) -> None:
        """Answer a request; a value that cannot be sent is reported, and EIO."""
        if self.open:
            codec = self._connection.codec
            try:
                frame = codec.answer(asked.id, value) if error is None else codec.fail(asked.id, error)
            except Exception as bug:
                frame = failure(codec, asked, bug)
            self._send(frame)

    def tell(self, event: Event) -> None:
        """Send an event."""
        if self.open:
            self._send(self._connection.codec.tell(event))

    def close(self) -> None:
        """Close the socket; ``on_end`` is not called."""
        if self.open:
            self.open = False
            self._loop.unwatch(self.sock.fileno())
            self.sock.close()
            answers, self._answers = self._answers, {}
            for answer in answers.values():
                answer(None, EIO("the peer is gone"))

    def _send(self, frame: Any) -> None:
        try:
            self._connection.send(frame)
        except Disconnected:
            pass  # what it had to say is still to be read; the end follows

    def _readable(self) -> None:
        try:
            received = self._connection.receive_untrusted()
        except (BadFrame, Disconnected):
            received = None
        if received is None:
            self.close()
            self._on_end()
        elif isinstance(received, Answered):
            self._answers.pop(received.id)(received.value, received.error)
        elif isinstance(received, Refused):
            self._send(received.answer)
        elif isinstance(received, Asked):
            assert self._on_request is not None
            self._on_request(self, received)
        elif isinstance(received, Told) and self._on_event is not None:
            self._on_event(received.event)


class Loop:
    """poll(2) over descriptors, with timers."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._timers: dict[object, tuple[float, Callable[[], None]]] = {}

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever ``fd`` is readable or at its end."""
        self._callbacks[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def watch_end(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back as long as the socket ``fd`` is at its end, whatever there is still to be read."""
        self._callbacks[fd] = callback
        self._poll.register(fd, 0)

    def unwatch(self, fd: int) -> None:
        """Undo either; unknown descriptors are fine."""
        if self._callbacks.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, seconds: float, callback: Callable[[], None]) -> object:
        """Call back once, later; returns what :meth:`cancel` takes."""
        key = object()
        self._timers[key] = (time.monotonic() + seconds, callback)
        return key

    def cancel(self, key: object) -> None:
        """Forget a timer; one that has fired is fine."""
        self._timers.pop(key, None)

    def run(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Serve everybody until ``done()``; false if ``timeout`` seconds passed first."""
        end = None if timeout is None else time.monotonic() + timeout
        while not done():
            now = time.monotonic()
            if end is not None and now >= end:
                return False
            times = [when for when, _ in self._timers.values()]
            if end is not None:
                times.append(end)
            self._turn(None if not times else max(0.0, min(times) - now) * MILLISECOND + 1, done)
        return True

    def catch_up(self) -> None:
        """Serve what is there already."""
        self._turn(0, lambda: False)

    def _turn(self, wait: float | None, done: Callable[[], bool]) -> None:
        for fd, _ in self._poll.poll(wait):
            callback = self._callbacks.get(fd)  # an earlier one may have removed it
            if callback is not None:
                callback()
            if done():
                return
        now = time.monotonic()
        for key, (when, callback) in sorted(self._timers.items(), key=lambda timer: timer[1][0]):
            if when <= now and self._timers.pop(key, None) is not None:
                callback()
