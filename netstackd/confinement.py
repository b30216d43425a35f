"""netstackd's filter: it talks on the sockets that it was given, and touches nothing else."""

from __future__ import annotations

from typing import Final

from pysc.cabi import filters
from pysc.cabi.filters import EQ, Arg
from pysc.cabi.linux.socket import SOL_SOCKET
from pysc.cabi.linux.termios import FIONBIO

SO_SNDTIMEO: Final = 21

ALLOWED: Final = ("epoll_ctl", "epoll_pwait", "epoll_wait", "recvfrom", "recvmsg", "sendmsg", "sendto", "shutdown")

RULES: Final[tuple[filters.Rule, ...]] = (
    ("ioctl", (Arg(1, EQ, FIONBIO),)),  # socket.setblocking()
    ("setsockopt", (Arg(1, EQ, SOL_SOCKET), Arg(2, EQ, SO_SNDTIMEO))),
)


_PROGRAM: Final = filters.load("netstackd", ALLOWED, RULES)


def lock_down() -> None:
    """Install the filter; there is no way back."""
    filters.install(_PROGRAM)
