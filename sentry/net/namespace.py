"""What the sockets of a sandbox share (network_namespaces(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import EADDRINUSE

if TYPE_CHECKING:
    from pysc.sentry.net.unix import UnixSocket
    from pysc.sentry.net.unix_receive import UnixReceiver


class NetNamespace:
    """Abstract names of unix sockets, and the unix sockets in flight between others (see unix_gc.py)."""

    __slots__ = ("_next_automatic", "abstract", "in_flight")

    def __init__(self) -> None:
        self.abstract: dict[bytes, UnixSocket] = {}
        self.in_flight: dict[UnixReceiver, int] = {}
        """How many messages that wait somewhere carry each of them."""
        self._next_automatic = 0

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
