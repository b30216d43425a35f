"""A service with every feature of a schema."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from pysc.urpc.fds import OwnedFd, RegularFd
from pysc.urpc.message import U32, Event, Message, Request, Service


class Sum(Message):
    max_frame = 14

    total: U32


class Opened(Message):
    max_frame = 10

    file: RegularFd


class Add(Request[Sum], tag=1):
    a: U32
    b: U32


class Swap(Request[Opened], tag=2):
    """Send a file, get it back."""

    file: RegularFd


class Take(Request[None], tag=3):
    files: Annotated[list[OwnedFd], Meta(max_length=3)]


class Blob(Message):
    data: Annotated[bytes, Meta(max_length=1 << 20)]


class Fetch(Request[Blob], tag=4):
    size: U32

    def max_reply(self) -> int:
        return min(self.size + 14, self.longest_reply)


class Crash(Request[None], tag=5):
    pass


class Tick(Event, tag=1):
    count: U32


class Poke(Event, tag=1):
    why: Annotated[bytes, Meta(max_length=16)]


SAMPLE = Service(
    "sample", (Add, Swap, Take, Fetch, Crash), events=(Tick,), client_events=(Poke,), request_fds=3, reply_fds=1
)
