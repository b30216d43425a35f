"""What a message is: requests with their reply types, events, and the service that groups them.

A service is declared once, in ``pysc.urpc.schema``::

    class Stat(Request[Attributes], tag=1):
        \"\"\"Say what the file is.\"\"\"

        path: Path

    FILES = Service("files", requests=(Stat,))

Every int of a message has bounds and every container a maximal length (a test walks all schemas); unknown fields
are refused.  Paths and names are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

from pysc.urpc.fds import MAX_FDS

MAX_FRAME: Final = 65536
CREDITS: Final = 32
"""Requests that may be outstanding in one direction."""
MAX_QUEUE: Final = 1 << 20
"""Bytes that a peer has not taken, and of the answers to all that is read from it."""
BARE: Final = 9
"""The frame of a reply that says nothing: header and nil."""

U8 = Annotated[int, Meta(ge=0, le=0xFF)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
I32 = Annotated[int, Meta(ge=-0x8000_0000, le=0x7FFF_FFFF)]
I64 = Annotated[int, Meta(ge=-0x8000_0000_0000_0000, le=0x7FFF_FFFF_FFFF_FFFF)]
U63 = Annotated[int, Meta(ge=0, le=0x7FFF_FFFF_FFFF_FFFF)]
"""Offsets and sizes."""
U64 = Annotated[int, Meta(ge=0)]
"""msgspec refuses ``le`` above 2**63-1; msgpack itself has no larger ints."""
Text = Annotated[str, Meta(max_length=4096)]
Detail = Annotated[str, Meta(max_length=1024)]

R = TypeVar("R")


class Message(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of all that travels: replies, events and the parts of either."""

    max_frame: ClassVar[int] = MAX_FRAME
    """As a reply: the longest frame that its fields' bounds allow.  Declared, and tested: see :class:`Service`."""


class Request(Message, Generic[R]):
    """A question; ``Request[X]`` is answered by an ``X`` (``None``: by the bare fact).  Each subclass has a tag."""

    reply_type: ClassVar[Any] = None
    longest_reply: ClassVar[int] = BARE

    def max_reply(self) -> int:
        """Return the longest frame that may answer this request, at most ``longest_reply``.  Both ends hold to it."""
        return self.longest_reply

    def __init_subclass__(cls, **config: Any) -> None:
        super().__init_subclass__(**config)
        for base in cls.__dict__.get("__orig_bases__", ()):
            if get_origin(base) is Request:
                cls.reply_type = get_args(base)[0]
                if issubclass(cls.reply_type, Message):
                    cls.longest_reply = cls.reply_type.max_frame


class Event(Message):
    """Something that is told and not answered.  Each subclass has a tag."""


class Hello(Message):
    """The first frame of each side."""

    build: Text
    """The exact build of the daemons of one sandbox; of CLI and supervisor, their protocol's version."""
    service: Text


class Failure(Message):
    """The error reply: an errno and, for logs and people, what it was about."""

    max_frame = 4111

    errno: Annotated[int, Meta(ge=1, le=4095)]
    detail: Detail = ""


class Service:
    """The requests and events between one kind of server and its client, compiled to decoders."""

    __slots__ = ("client_events", "events", "max_reply", "name", "reply_fds", "request_fds", "requests")

    def __init__(
        self,
        name: str,
        requests: Sequence[type[Request[Any]]],
        *,
        events: Sequence[type[Event]] = (),
        client_events: Sequence[type[Event]] = (),
        request_fds: int = 0,
        reply_fds: int = 0,
    ) -> None:
        # Numbers of descriptors and lengths of replies are declared, and tested: to count them here would cost each
        # start 15 ms.
        assert max(request_fds, reply_fds) <= MAX_FDS
        self.name = name
        self.requests = tuple(requests)
        self.events = tuple(events)
        """What the server tells."""
        self.client_events = tuple(client_events)
        """What the client tells."""
        self.request_fds = request_fds
        """The most descriptors that one frame brings to the server."""
        self.reply_fds = reply_fds
        """The most descriptors that one frame brings to the client."""
        self.max_reply = max(Failure.max_frame, *(kind.longest_reply for kind in requests))
        """The longest frame that answers any request."""
