"""Sentry and netstackd: the sandbox's network.  So far netstackd can only say that it has no link."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from pysc.urpc.message import U32, Message, Request, Service


class Link(Message):
    """A network interface."""

    index: U32
    name: Annotated[str, Meta(min_length=1, max_length=15)]
    mtu: U32


class Links(Message):
    """All interfaces, by index."""

    max_frame = 4684

    links: Annotated[list[Link], Meta(max_length=64)]


class ListLinks(Request[Links], tag=1):
    """Ask for the interfaces."""


NETSTACK: Final = Service("netstack", requests=(ListLinks,))
