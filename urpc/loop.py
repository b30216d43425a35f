"""The transport of the sentry's loop: no thread, no asyncio, nothing that blocks.

The kernel's platform watches the socket, the kernel's scheduler runs what waits; both are given, since this package
knows neither.  Sends never block: what the socket does not take is queued, and a peer that takes nothing for five
seconds is cut off.  A wait for an answer is uninterruptible; a lent descriptor must stay open until it is over.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from pysc.cabi.linux.clock import SECOND
from pysc.cabi.linux.errors import EIO, ENOBUFS, ENOMEM, ETOOMANYREFS
from pysc.cabi.linux.poll import EPOLLIN, EPOLLOUT
from pysc.urpc.blocking import failure
from pysc.urpc.codec import Answered, Asked, BadFrame, Codec, Frame, Received, Refused, Told
from pysc.urpc.message import MAX_QUEUE, Event, Request, Service
from pysc.urpc.report import report
from pysc.urpc.wire import numbers, receive_frame, release, send_frame

R = TypeVar("R")
DRAIN_NS: Final = 5 * SECOND
SHORT: Final = frozenset({ENOBUFS.errno, ENOMEM.errno, ETOOMANYREFS.errno})
"""The host has no memory, or too many descriptors of the user's are in flight: no event tells when that is over."""
RETRY_NS: Final = SECOND // 100
"""Between two attempts to send, while it is so."""
SILENCE_NS: Final = 5 * SECOND
"""A call that waits longer is told of."""
BATCH: Final = 64
"""Frames taken per turn of the loop, so that a flood leaves room for everything else."""


class Watcher(Protocol):
    """What :class:`pysc.sentry.platform.interface.Platform` is to us; level-triggered."""

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None: ...
    def unwatch(self, fd: int) -> None: ...


class Cancellable(Protocol):
    """A timer."""

    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """What :class:`pysc.sentry.kernel.scheduler.Scheduler` is to us."""

    def call_at(self, deadline: int, callback: Callable[[], None]) -> Cancellable: ...
    def start(
        self, coroutine: Coroutine[Any, Any, Any], owner: Any, on_exit: Callable[[Any, BaseException | None], None]
    ) -> object: ...


class Promise(Awaitable[Any], Protocol):
    """What :class:`pysc.sentry.kernel.scheduler.Completion` is to us."""

    def resolve(self, value: Any) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class Endpoint:
    """One end of a socket in the loop.  Owns the socket.  Subclasses say what happens to what arrives.

    ``on_lost(reason)`` is called once, from the loop, when the peer is gone or was cut off; not after :meth:`close`.
    """

    __slots__ = (
        "_attention", "_on_lost", "_queue", "_queued", "_retry", "_scheduler", "_socket", "_timer", "_watcher", "codec",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        codec: Codec,
        watcher: Watcher,
        scheduler: Scheduler,
        on_lost: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self.codec = codec
        self._socket: socket.socket | None = sock
        self._watcher = watcher
        self._scheduler = scheduler
        self._on_lost = on_lost
        self._queue: deque[Frame] = deque()
        self._queued = 0
        self._timer: Cancellable | None = None
        self._retry: Cancellable | None = None
        self._attention = -1
        self._attend(sock)
        self.send(codec.hello())

    @property
    def connected(self) -> bool:
        """Whether there is a peer."""
        return self._socket is not None

    @property
    def descriptor(self) -> int:
        """The socket's, for who tells what the process has open; -1 without a peer."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def queued(self) -> int:
        """Bytes that the peer has not taken yet."""
        return self._queued

    @property
    def has_room(self) -> bool:
        """Whether there is room for what comes next."""
        return self.codec.has_room(self._queued)

    def send(self, frame: Frame) -> None:
        """Send or queue a frame; the descriptors that it owns are closed when it is gone."""
        if self._socket is None:
            release(frame)
            return
        if self._queue or not self._try_send(self._socket, frame):
            self._queue.append(frame)
            self._queued += len(frame[0])
            if self._timer is None:
                self._arm()
        self._attend(self._socket)

    def tell(self, event: Event) -> None:
        """Send an event; lost if there is no peer.  One that leaves more than 1 MiB in the queue is cut off."""
        self.send(self.codec.tell(event))
        if self._queued > MAX_QUEUE:
            self._lose("the peer does not drain")

    @property
    def _reads(self) -> bool:
        # Whether there is room for what reading may cause to be sent.
        return True

    def _attend(self, sock: socket.socket) -> None:
        wanted = (EPOLLIN if self._reads else 0) | (EPOLLOUT if self._queue and self._retry is None else 0)
        if wanted != self._attention:
            if self._attention >= 0:
                self._watcher.unwatch(sock.fileno())
            self._watcher.watch(sock.fileno(), wanted, self._on_ready)
            self._attention = wanted

    def _try_send(self, sock: socket.socket, frame: Frame) -> bool:
        # False: it would block.  A peer that is gone is noticed by the read side, which then tells it once.
        try:
            send_frame(sock, frame[0], numbers(frame), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in SHORT:
                self._retry = self._scheduler.call_at(time.monotonic_ns() + RETRY_NS, self._on_retry)
                return False
            report("debug", f"send: {error}")
        release(frame)
        return True

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._scheduler.call_at(time.monotonic_ns() + DRAIN_NS, self._on_undrained)

    def _on_undrained(self) -> None:
        self._timer = None
        if self._queue:
            self._lose("the peer does not drain")

    def _on_retry(self) -> None:
        self._retry = None
        if self._socket is not None:
            self._drain(self._socket)

    def _on_ready(self, ready: int) -> None:
        sock = self._socket
        if sock is None:
            return
        if ready & EPOLLOUT:
            self._drain(sock)
        if ready & ~EPOLLOUT:
            self._receive(sock, gone=bool(ready & ~(EPOLLIN | EPOLLOUT)))

    def _drain(self, sock: socket.socket) -> None:
        before = len(self._queue)
        while self._queue and self._try_send(sock, self._queue[0]):
            self._queued -= len(self._queue.popleft()[0])
        self._attend(sock)
        if not self._queue and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif len(self._queue) < before:
            self._arm()

    def _receive(self, sock: socket.socket, *, gone: bool) -> None:
        for _ in range(BATCH):
            # The end of a peer cannot be ignored, and is read: nothing more is queued for it.
            if not self._reads and not gone:
                self._attend(sock)
                return
            try:
                frame = receive_frame(sock, self.codec.max_fds)
                if frame is None:
                    self._lose("the peer is gone")
                    return
                received = self.codec.receive_untrusted(*frame)
            except BlockingIOError:
                return
            except (OSError, BadFrame) as error:
                self._lose(str(error))
                return
            del frame
            self.on_received(received)
            if self._socket is not sock:
                return

    def on_received(self, received: Received) -> None:
        """Handle what the codec made of a frame."""
        raise NotImplementedError

    def _lose(self, reason: str) -> None:
        self.close()
        self._on_lost(reason)

    def close(self) -> None:
        """Close the socket; closing twice is harmless."""
        if self._socket is None:
            return
        self._watcher.unwatch(self._socket.fileno())
        self._socket.close()
        self._socket = None
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        self._timer = self._retry = None
        for frame in self._queue:
            release(frame)
        self._queue.clear()
        self._queued = 0


class _Call(NamedTuple):
    request: Request[Any]
    promise: Promise
    since: int
    """CLOCK_MONOTONIC, ns."""


class Silence(NamedTuple):
    """A call that has waited for long."""

    request: Request[Any]
    seconds: float
    others: int
    """So many more wait, too."""
    connected: bool
    """There is a peer."""


def _tell(silence: Silence) -> None:
    report("warning", f"no answer to {type(silence.request).__name__} for {silence.seconds:.0f} s")


class Client:
    """Calls a server from coroutines of the kernel; survives its restart.

    What is asked while there is no peer waits for :meth:`connect`; what was asked and not answered has failed with EIO.
    ``on_silence`` is told of the call that waits longest, once, when that takes too long.
    """

    __slots__ = (
        "_asked",
        "_build",
        "_endpoint",
        "_on_event",
        "_on_lost",
        "_on_silence",
        "_promise",
        "_scheduler",
        "_service",
        "_timer",
        "_told",
        "_waiting",
        "_watcher",
    )

    def __init__(
        self,
        service: Service,
        watcher: Watcher,
        scheduler: Scheduler,
        promise: Callable[[], Promise],
        *,
        build: str = "",
        on_event: Callable[[Event], None] | None = None,
        on_lost: Callable[[str], None] | None = None,
        on_silence: Callable[[Silence], None] = _tell,
    ) -> None:
        self._service = service
        self._watcher = watcher
        self._scheduler = scheduler
        self._promise = promise
        self._build = build
        self._on_event = on_event
        self._on_lost = on_lost
        self._on_silence = on_silence
        self._endpoint: _ClientEndpoint | None = None
        self._asked: dict[int, _Call] = {}
        self._waiting: deque[_Call] = deque()
        self._timer: Cancellable | None = None
        self._told: _Call | None = None

    def connect(self, sock: socket.socket) -> None:
        """Talk to this peer from now on; a former one is dropped.  Takes the socket over."""
        if self._endpoint is not None:
            self._endpoint.close()
            self._lost("the peer was replaced")
        codec = Codec(self._service, serves=False, build=self._build)
        self._endpoint = _ClientEndpoint(self, sock, codec, self._watcher, self._scheduler)
        self._pump()

    @property
    def descriptor(self) -> int:
        """The socket's; -1 without a peer."""
        return -1 if self._endpoint is None else self._endpoint.descriptor

    async def call(self, request: Request[R]) -> R:
        """Ask and wait for the answer.

        Raises:
            LinuxError: the server's error, EMSGSIZE for a request that fits no frame, or EIO if the server died.
        """
        return await self.start(request)  # type: ignore[no-any-return]  # resolved with an R

    def start(self, request: Request[Any]) -> Promise:
        """Ask now, let somebody await the answer later; one that is dropped closes its descriptors."""
        call = _Call(request, self._promise(), time.monotonic_ns())
        self._waiting.append(call)
        if self._timer is None:
            self._timer = self._scheduler.call_at(call.since + SILENCE_NS, self._look)
        self._pump()
        return call.promise

    def tell(self, event: Event) -> None:
        """Send an event; lost if there is no peer."""
        if self._endpoint is not None:
            self._endpoint.tell(event)

    def close(self) -> None:
        """Drop the peer for good; all that waits fails with EIO."""
        if self._endpoint is not None:
            self._endpoint.close()
        self._lost("closed")
        while self._waiting:
            self._waiting.popleft().promise.fail(EIO("closed"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pump(self) -> None:
        endpoint = self._endpoint
        while self._waiting and endpoint is not None and endpoint.codec.credits > 0 and endpoint.has_room:
            call = self._waiting.popleft()
            try:
                id_, frame = endpoint.codec.ask(call.request)
            except Exception as error:  # its caller's error or bug, and nobody else's whom this call may be pumping for
                call.promise.fail(error)
                continue
            self._asked[id_] = call
            endpoint.send(frame)

    def _look(self) -> None:
        """Look whether anything has waited for too long, as long as anything waits."""
        self._timer = None
        longest = next(iter(self._asked.values()), None) or (self._waiting[0] if self._waiting else None)
        if longest is None:
            return
        now = time.monotonic_ns()
        due = longest.since + SILENCE_NS
        if due <= now:
            due = now + SILENCE_NS
            if longest is not self._told:
                self._told = longest
                waiting = len(self._asked) + len(self._waiting)
                seconds = (now - longest.since) / SECOND
                self._on_silence(Silence(longest.request, seconds, waiting - 1, self._endpoint is not None))
        self._timer = self._scheduler.call_at(due, self._look)

    def _received(self, received: Received) -> None:
        if isinstance(received, Answered):
            promise = self._asked.pop(received.id).promise
            if received.error is None:
                promise.resolve(received.value)
            else:
                promise.fail(received.error)
            self._pump()
        elif isinstance(received, Told) and self._on_event is not None:
            self._on_event(received.event)

    def _lost(self, reason: str) -> None:
        self._endpoint = None
        asked, self._asked = self._asked, {}
        for call in asked.values():
            call.promise.fail(EIO(reason))

    def _peer_lost(self, reason: str) -> None:
        report("warning", f"{self._service.name}: {reason}; {len(self._asked)} requests fail")
        self._lost(reason)
        if self._on_lost is not None:
            self._on_lost(reason)


class _ClientEndpoint(Endpoint):
    def __init__(
        self, client: Client, sock: socket.socket, codec: Codec, watcher: Watcher, scheduler: Scheduler
    ) -> None:
        self._client = client
        super().__init__(sock, codec, watcher, scheduler, client._peer_lost)

    def _drain(self, sock: socket.socket) -> None:
        super()._drain(sock)
        self._client._pump()

    def on_received(self, received: Received) -> None:
        """Hand it to the client."""
        self._client._received(received)


Handler = Callable[[Any], Any]
"""Answers one request: returns a reply or a coroutine of one, or raises a LinuxError."""


class Server(Endpoint):
    """Answers one peer's requests from the loop; those whose handler is a coroutine as they get done."""

    __slots__ = ("_handlers", "_on_event")

    def __init__(
        self,
        sock: socket.socket,
        service: Service,
        handlers: dict[type[Request[Any]], Handler],
        watcher: Watcher,
        scheduler: Scheduler,
        *,
        build: str = "",
        on_event: Callable[[Event], None] | None = None,
        on_lost: Callable[[str], None],
    ) -> None:
        assert set(handlers) == set(service.requests), "a handler for every request"
        self._handlers = handlers
        self._on_event = on_event
        super().__init__(sock, Codec(service, serves=True, build=build), watcher, scheduler, on_lost)

    @property
    def _reads(self) -> bool:
        return self.has_room

    def on_received(self, received: Received) -> None:
        """Answer requests."""
        if isinstance(received, Asked):
            self._serve(received)
        elif isinstance(received, Refused):
            self.send(received.answer)
        elif isinstance(received, Told) and self._on_event is not None:
            self._on_event(received.event)

    def _serve(self, asked: Asked) -> None:
        try:
            value = self._handlers[type(asked.request)](asked.request)
        except Exception as error:
            self._done(asked, None, error)
            return
        if isinstance(value, Coroutine):
            self._scheduler.start(value, None, lambda value, error: self._done(asked, value, error))
        else:
            self._done(asked, value, None)

    def _done(self, asked: Asked, value: object, error: BaseException | None) -> None:
        if error is None:
            try:
                frame = self.codec.answer(asked.id, value)
            except Exception as unsendable:  # the request is still to be answered
                frame = failure(self.codec, asked, unsendable)
        else:
            frame = failure(self.codec, asked, error)
        self.send(frame)
