"""The protocol without I/O: frames in and out, request ids, credits, who may say what when.

A frame is an 8-byte header (type, request id) and one msgpack body; it travels as one SOCK_SEQPACKET message of at
most 64 KiB.  Both sides send :class:`~pysc.urpc.message.Hello` first.  A request that does not decode is answered
with EPROTO; whatever else breaks the rules raises :class:`BadFrame`, and the connection is to be dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, Union

import msgspec

from pysc.cabi.linux.errors import EMSGSIZE, EPROTO, LinuxError, linux_error
from pysc.urpc.fds import Claims, OwnedFd, WrongDescriptor, close_all
from pysc.urpc.message import CREDITS, MAX_FRAME, MAX_QUEUE, Event, Failure, Hello, Request, Service

HEADER: Final = struct.Struct("<II")
"""Type and id; of the type's four bytes three are zero."""

Frame = tuple[bytes, list[OwnedFd]]
"""Bytes and the descriptors that travel with them; whoever sends it closes those that are not lent."""

_UNDECODABLE = (msgspec.DecodeError, WrongDescriptor, RecursionError, UnicodeDecodeError, OverflowError)


class BadFrame(Exception):
    """The peer broke the protocol: drop the connection."""


class TooLong(Exception):
    """A reply is longer than its request allows: a bug of who made it."""


class Type(IntEnum):
    """The first byte of a frame."""

    HELLO = 1
    REQUEST = 2
    REPLY = 3
    FAILURE = 4
    EVENT = 5


class Asked(msgspec.Struct, frozen=True):
    """A request arrived: answer it once, by its id."""

    id: int
    request: Request[Any]


class Refused(msgspec.Struct, frozen=True):
    """A request arrived that does not decode: ``answer`` goes back at once."""

    answer: Frame


class Answered(msgspec.Struct, frozen=True):
    """The answer to request ``id``: a value, or the error that it failed with."""

    id: int
    value: Any
    error: LinuxError | None = None


class Told(msgspec.Struct, frozen=True):
    """An event arrived."""

    event: Event


class Greeted(msgspec.Struct, frozen=True):
    """The peer's hello was right: requests may flow."""


Received = Asked | Refused | Answered | Told | Greeted


class _Coder:
    """Encoding and decoding of bodies; descriptors of the message at hand pass through the hooks."""

    __slots__ = ("_claims", "_decoders", "_encoder", "_fds")

    def __init__(self) -> None:
        self._fds: list[OwnedFd] = []
        self._claims = Claims([])
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._collect)
        self._decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}

    def _collect(self, value: object) -> int:
        if not isinstance(value, OwnedFd):
            raise NotImplementedError(f"{value!r} is nothing that travels")
        self._fds.append(value)
        return len(self._fds) - 1

    def encode(self, kind: Type, id_: int, body: object, longest: int = MAX_FRAME) -> Frame:
        self._fds = []
        data = self._encoder.encode(body)
        fds, self._fds = self._fds, []
        if HEADER.size + len(data) > longest:
            raise EMSGSIZE(f"{type(body).__name__} of {len(data)} bytes")
        return HEADER.pack(kind, id_) + data, fds

    def decode_untrusted(self, decoded_as: Any, body: memoryview, fds: list[int]) -> Any:
        """Decode one body and give its fields the descriptors; those left over, or of a wrong body, are closed.

        Raises:
            BadFrame: it is no ``decoded_as``, or the descriptors are not those that it declares.
        """
        decoder = self._decoders.get(decoded_as)
        if decoder is None:
            decoder = msgspec.msgpack.Decoder(decoded_as, dec_hook=self._claim)
            self._decoders[decoded_as] = decoder
        claims = self._claims = Claims(fds)
        try:
            message = decoder.decode(body)
            if claims.unclaimed:
                raise BadFrame("more descriptors than the message declares")
        except _UNDECODABLE as error:
            raise BadFrame(str(error)[:200]) from None
        finally:
            claims.close()
        return message

    def _claim(self, kind: type, index: object) -> object:
        return self._claims.claim(kind, index)


def _union(kinds: Sequence[type]) -> Any:
    return Union[tuple(kinds)] if kinds else None  # noqa: UP007  # built at run time


class Codec:
    """One end of a connection."""

    __slots__ = ("_build", "_coder", "_events", "_greeted", "_next_id", "_pending", "_requests", "_serves", "service")

    def __init__(self, service: Service, *, serves: bool, build: str = "") -> None:
        self.service = service
        self._serves = serves
        self._build = build
        self._coder = _Coder()
        self._greeted = False
        self._next_id = 0
        self._pending: dict[int, tuple[Any, int]] = {}  # requests without an answer: id -> type and bound of the reply
        self._requests = _union(service.requests)
        self._events = _union(service.client_events if serves else service.events)

    @property
    def max_fds(self) -> int:
        """How many descriptors one received frame may bring."""
        return self.service.request_fds if self._serves else self.service.reply_fds

    @property
    def greeted(self) -> bool:
        """Whether the peer's hello has come."""
        return self._greeted

    @property
    def credits(self) -> int:
        """How many requests may still be sent."""
        return CREDITS - len(self._pending)

    @property
    def outstanding(self) -> list[int]:
        """The ids of unanswered requests."""
        return list(self._pending)

    def has_room(self, queued: int) -> bool:
        """Whether 1 MiB holds what is queued and what comes next: of a server all answers that it owes, and the longest
        that it may come to owe; of a client a request, half of it being left to events."""
        if not self._serves:
            return queued <= MAX_QUEUE // 2
        reserved = sum(max(longest, Failure.max_frame) for _, longest in self._pending.values())
        return queued + reserved + self.service.max_reply <= MAX_QUEUE

    # Out
    def hello(self) -> Frame:
        """Return the frame that each side sends first."""
        return self._coder.encode(Type.HELLO, 0, Hello(self._build, self.service.name))

    def ask(self, request: Request[Any]) -> tuple[int, Frame]:
        """Return the request's id and frame; there must be a credit.

        Raises:
            EMSGSIZE: it does not fit a frame.
        """
        assert not self._serves
        assert self.credits > 0
        id_ = self._next_id
        frame = self._coder.encode(Type.REQUEST, id_, request)
        self._next_id = (id_ + 1) & 0xFFFF_FFFF
        self._pending[id_] = (request.reply_type, request.max_reply())
        return id_, frame

    def answer(self, id_: int, value: object) -> Frame:
        """Answer a request.

        Raises:
            TooLong: the request does not allow for it, and is still to be answered.
        """
        try:
            frame = self._coder.encode(Type.REPLY, id_, value, self._pending[id_][1])
        except EMSGSIZE as error:
            raise TooLong(str(error)) from None
        del self._pending[id_]
        return frame

    def fail(self, id_: int, error: LinuxError) -> Frame:
        """Answer a request with an error."""
        del self._pending[id_]
        return self._failure(id_, error)

    def _failure(self, id_: int, error: LinuxError) -> Frame:
        detail = str(error).encode("utf-8", "replace").decode()[:1024]
        return self._coder.encode(Type.FAILURE, id_, Failure(error.errno or EPROTO.errno, detail))

    def tell(self, event: Event) -> Frame:
        """Return an event's frame."""
        return self._coder.encode(Type.EVENT, 0, event)

    # In
    def receive_untrusted(self, data: bytes | bytearray | memoryview, fds: list[int]) -> Received:
        """Take one frame and its descriptors, which are owned by the result, or closed.

        Raises:
            BadFrame: the connection is to be dropped.
        """
        try:
            return self._receive(memoryview(data), fds)
        finally:
            close_all(fds)

    def _receive(self, data: memoryview, fds: list[int]) -> Received:
        if not HEADER.size <= len(data) <= MAX_FRAME:
            raise BadFrame(f"a frame of {len(data)} bytes")
        kind, id_ = HEADER.unpack_from(data)
        body = data[HEADER.size :]
        if not self._greeted:
            if kind != Type.HELLO:
                raise BadFrame("no hello")
            return self._receive_hello(body, fds)
        if kind == Type.REQUEST and self._serves:
            return self._receive_request(id_, body, fds)
        if kind in (Type.REPLY, Type.FAILURE) and not self._serves:
            return self._receive_answer(kind, id_, body, fds)
        if kind == Type.EVENT and self._events is not None:
            return Told(self._coder.decode_untrusted(self._events, body, fds))
        raise BadFrame(f"a frame of type {kind}")

    def _receive_hello(self, body: memoryview, fds: list[int]) -> Greeted:
        hello: Hello = self._coder.decode_untrusted(Hello, body, fds)
        if (hello.build, hello.service) != (self._build, self.service.name):
            raise BadFrame(f"the peer is {hello.service} {hello.build}, not {self.service.name} {self._build}")
        self._greeted = True
        return Greeted()

    def _receive_request(self, id_: int, body: memoryview, fds: list[int]) -> Asked | Refused:
        if id_ in self._pending or len(self._pending) >= CREDITS:
            raise BadFrame("more requests than there are credits, or an id used twice")
        try:
            request = self._coder.decode_untrusted(self._requests, body, fds)
        except BadFrame as error:
            return Refused(self._failure(id_, EPROTO(str(error))))
        self._pending[id_] = (None, request.max_reply())
        return Asked(id_, request)

    def _receive_answer(self, kind: int, id_: int, body: memoryview, fds: list[int]) -> Answered:
        if id_ not in self._pending:
            raise BadFrame("an answer to no request")
        reply_type, longest = self._pending.pop(id_)
        if kind == Type.FAILURE:
            failure: Failure = self._coder.decode_untrusted(Failure, body, fds)
            return Answered(id_, None, linux_error(failure.errno, failure.detail))
        if HEADER.size + len(body) > longest:
            raise BadFrame("a reply that is longer than the request allows")
        return Answered(id_, self._coder.decode_untrusted(reply_type, body, fds))
