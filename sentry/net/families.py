"""Which address families there are: a table that protocol implementations add themselves to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.errors import EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT
from pysc.sentry.fs.inode import Owner
from pysc.sentry.net.unix import UnixSocket

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.net.socket import Socket

SocketMaker = Callable[["Task", int, int, int], "Socket"]
"""Makes a socket of (type, protocol, flags): flags are O_NONBLOCK or 0."""


def make_unix(task: Task, kind: int, protocol: int, flags: int) -> UnixSocket:
    """Make a socket of AF_UNIX; SOCK_RAW means SOCK_DGRAM there."""
    if protocol not in (0, abi.AF_UNIX):
        raise EPROTONOSUPPORT
    if kind == abi.SOCK_RAW:
        kind = abi.SOCK_DGRAM
    if kind not in (abi.SOCK_STREAM, abi.SOCK_DGRAM, abi.SOCK_SEQPACKET):
        raise ESOCKTNOSUPPORT
    return UnixSocket(task.kernel.net, kind, flags, Owner(task.creds.fsuid, task.creds.fsgid))


FAMILIES: Final[dict[int, SocketMaker]] = {abi.AF_UNIX: make_unix}


def make_socket(task: Task, family: int, kind: int, protocol: int, flags: int) -> Socket:
    """Make a socket of any family.  EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT …"""
    make = FAMILIES.get(family)
    if make is None:
        raise EAFNOSUPPORT
    return make(task, kind, protocol, flags)
