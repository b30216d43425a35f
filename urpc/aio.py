"""The transport for anyio: programs that have a loop of its kind.

Everything runs in the caller's task group: one task reads, frames are written by whoever has one, in order.  A peer
that takes nothing for five seconds is cut off.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import anyio
from anyio.abc import TaskGroup

from pysc.urpc.blocking import Disconnected, failure
from pysc.urpc.codec import Answered, Asked, BadFrame, Codec, Frame, Received, Refused, Told
from pysc.urpc.message import CREDITS, Event, Request, Service
from pysc.urpc.wire import numbers, receive_frame, release, send_frame

R = TypeVar("R")
DRAIN_SECONDS: Final = 5


class Connection:
    """One end of a socket: awaitable frames in and out.  Owns the socket."""

    def __init__(self, sock: socket.socket, codec: Codec) -> None:
        sock.setblocking(False)
        self.codec = codec
        self._socket = sock
        self._sending = anyio.Lock()
        self._queued = 0
        self._sent = anyio.Event()

    async def send(self, frame: Frame) -> None:
        """Send a frame whole, in turn, and close the descriptors that it owns.

        Raises:
            Disconnected: the peer is gone or does not drain.
        """
        self._queued += len(frame[0])
        try:
            # Frames are whole messages: a cancelled send has either happened or not.
            async with self._sending:
                with anyio.fail_after(DRAIN_SECONDS):
                    await self._send(frame)
        except TimeoutError:
            self.close()
            raise Disconnected("the peer does not drain") from None
        except (OSError, ValueError) as error:
            raise Disconnected(str(error)) from None
        finally:
            release(frame)
            self._queued -= len(frame[0])
            self._sent.set()

    async def room(self) -> None:
        """Wait until there is room for another request, or the answer to one."""
        while not self.codec.has_room(self._queued):
            if self._sent.is_set():
                self._sent = anyio.Event()
            await self._sent.wait()

    async def _send(self, frame: Frame) -> None:
        while True:
            try:
                send_frame(self._socket, frame[0], numbers(frame))
                return
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def receive_untrusted(self) -> Received | None:
        """Wait for a frame; None at the end.

        Raises:
            BadFrame: the peer broke the protocol.
            Disconnected: the socket failed, or was closed here.
        """
        while True:
            try:
                frame = receive_frame(self._socket, self.codec.max_fds)
                return None if frame is None else self.codec.receive_untrusted(*frame)
            except BlockingIOError:
                pass
            except OSError as error:
                raise Disconnected(str(error)) from None
            try:
                await anyio.wait_readable(self._socket)
            except (anyio.ClosedResourceError, OSError, ValueError) as error:
                raise Disconnected(str(error)) from None

    def close(self) -> None:
        """Close the socket; whoever waits for it is told."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()


class Client:
    """Calls a server from any number of tasks; made by :func:`connect`."""

    def __init__(self, connection: Connection, on_event: Callable[[Event], Awaitable[None]] | None) -> None:
        self._connection = connection
        self._on_event = on_event
        self._credits = anyio.Semaphore(CREDITS)
        self._answers: dict[int, tuple[anyio.Event, list[Answered]]] = {}
        self._lost: str | None = None
        self.lost = anyio.Event()
        """Set when the peer is gone."""

    async def call(self, request: Request[R]) -> R:
        """Ask and wait for the answer.  A cancelled call's answer is dropped when it comes, its credit returns then.

        Raises:
            LinuxError: the server's error, or EMSGSIZE for a request that fits no frame.
            Disconnected: no answer will come.
        """
        await self._credits.acquire()
        try:
            await self._connection.room()
            if self._lost is not None:
                raise Disconnected(self._lost)
            id_, frame = self._connection.codec.ask(request)
        except BaseException:
            self._credits.release()
            raise
        answered, box = anyio.Event(), list[Answered]()
        self._answers[id_] = (answered, box)
        # Asked is asked: the id is taken.  Sending is bounded by its own deadline.
        with anyio.CancelScope(shield=True):
            await self._connection.send(frame)
        await answered.wait()
        if not box:
            raise Disconnected(self._lost or "")
        if box[0].error is not None:
            raise box[0].error
        return box[0].value  # type: ignore[no-any-return]  # decoded as R

    async def tell(self, event: Event) -> None:
        """Send an event.

        Raises:
            Disconnected: the peer is gone.
        """
        await self._connection.send(self._connection.codec.tell(event))

    async def _run(self) -> None:
        reason = "the peer closed the connection"
        try:
            while (received := await self._connection.receive_untrusted()) is not None:
                await self._take(received)
        except (BadFrame, Disconnected) as error:
            reason = str(error)
        finally:
            self._lost = reason
            self._connection.close()
            self.lost.set()
            for answered, _ in self._answers.values():
                answered.set()
                self._credits.release()
            self._answers.clear()

    async def _take(self, received: Received) -> None:
        if isinstance(received, Answered):
            answered, box = self._answers.pop(received.id)
            box.append(received)
            answered.set()
            self._credits.release()
        elif isinstance(received, Told) and self._on_event is not None:
            await self._on_event(received.event)


@asynccontextmanager
async def connect(
    sock: socket.socket,
    service: Service,
    *,
    build: str = "",
    on_event: Callable[[Event], Awaitable[None]] | None = None,
) -> AsyncIterator[Client]:
    """Give a client of the peer at the other end of ``sock``, which is taken over, while the context lasts.

    ``on_event`` is awaited for each event before the next frame is read.
    """
    connection = Connection(sock, Codec(service, serves=False, build=build))
    client = Client(connection, on_event)
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client._run)
        try:
            await connection.send(connection.codec.hello())
            yield client
        except Exception as error:  # raised below: in here the task group would wrap it
            failure = error
        finally:
            connection.close()
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


Handler = Callable[[Any], Awaitable[object]]
"""Answers one request: its reply, or a LinuxError raised."""


class Server:
    """Serves one peer; requests are answered concurrently, at most 32 at a time.  ``tell`` sends events meanwhile.

    The end of a peer that has asked for as much as there is room for is seen once the first of it is answered.
    """

    def __init__(
        self,
        sock: socket.socket,
        service: Service,
        handlers: dict[type[Request[Any]], Handler],
        *,
        build: str = "",
        on_event: Callable[[Event], Awaitable[None]] | None = None,
    ) -> None:
        assert set(handlers) == set(service.requests), "a handler for every request"
        self._handlers = handlers
        self._on_event = on_event
        self._connection = Connection(sock, Codec(service, serves=True, build=build))

    async def tell(self, event: Event) -> None:
        """Send an event.

        Raises:
            Disconnected: the peer is gone.
        """
        await self._connection.send(self._connection.codec.tell(event))

    async def serve(self) -> None:
        """Serve until the peer is gone; requests in work are then cancelled.

        Raises:
            BadFrame: the peer broke the protocol.
        """
        broken: BadFrame | None = None
        async with anyio.create_task_group() as tasks:
            try:
                await self._connection.send(self._connection.codec.hello())
                while await self._serve_one(tasks):
                    pass
            except Disconnected:
                pass
            except BadFrame as error:  # raised below: in here the task group would wrap it
                broken = error
            finally:
                self._connection.close()
                tasks.cancel_scope.cancel()
        if broken is not None:
            raise broken

    async def _serve_one(self, tasks: TaskGroup) -> bool:
        # A function of its own: nothing holds a request's descriptors while the next one is awaited.
        await self._connection.room()
        received = await self._connection.receive_untrusted()
        if received is None:
            return False
        if isinstance(received, Asked):
            tasks.start_soon(self._answer, received)
        elif isinstance(received, Refused):
            await self._connection.send(received.answer)
        elif isinstance(received, Told) and self._on_event is not None:
            await self._on_event(received.event)
        return True

    async def _answer(self, asked: Asked) -> None:
        codec = self._connection.codec
        try:
            frame = codec.answer(asked.id, await self._handlers[type(asked.request)](asked.request))
        except Exception as error:
            frame = failure(codec, asked, error)
        try:
            await self._connection.send(frame)
        except Disconnected:
            self._connection.close()
