"""What the sockets of a sandbox share (network_namespaces(7))."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EADDRINUSE

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.net.unix import UnixSocket
    from pysc.sentry.net.unix_receive import UnixReceiver


LOOKED_AT: Final = 64
"""What a collection may look at for each socket that has ended since the last one."""


class NetNamespace:
    """Abstract names of unix sockets, and the unix sockets in flight between others (see unix_gc.py)."""

    __slots__ = ("_collection", "_ended", "_next_automatic", "abstract", "dropped", "dropping", "in_flight")

    def __init__(self) -> None:
        self.abstract: dict[bytes, UnixSocket] = {}
        self.in_flight: dict[UnixReceiver, int] = {}
        """How many messages that wait somewhere carry each of them."""
        self.dropped: deque[FileDescription] = deque()
        """What messages carried that nobody will receive, each with the message's reference."""
        self.dropping = False
        """Somebody is giving these up."""
        self._next_automatic = 0
        self._collection = self._ended = 0

    def collects(self) -> bool:
        """Count one more socket that has ended: whether so many have that the next collection costs each little."""
        self._ended += 1
        return bool(self.in_flight) and self._ended * LOOKED_AT >= self._collection

    def collected(self, count: int) -> None:
        """A collection has looked at ``count`` sockets and messages."""
        self._collection, self._ended = count, 0

    def claim(self, name: bytes, socket: UnixSocket) -> None:
        """Take an abstract name.  EADDRINUSE."""
        if name in self.abstract:
            raise EADDRINUSE
        self.abstract[name] = socket

    def claim_any(self, socket: UnixSocket) -> bytes:
        """Take a free name of five hexadecimal digits (autobind of unix(7))."""
        for _ in range(1 << 20):
            name = b"\0%05x" % self._next_automatic
            self._next_automatic = (self._next_automatic + 1) & 0xFFFFF
            if name not in self.abstract:
                self.abstract[name] = socket
                return name
        raise EADDRINUSE
