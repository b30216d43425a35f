"""poll(2), select(2), epoll(7): event bits and layouts of x86-64."""

from __future__ import annotations

from struct import Struct
from typing import Final

POLLIN: Final = 0x1
POLLPRI: Final = 0x2
POLLOUT: Final = 0x4
POLLERR: Final = 0x8
POLLHUP: Final = 0x10
POLLNVAL: Final = 0x20
POLLRDNORM: Final = 0x40
POLLRDBAND: Final = 0x80
POLLWRNORM: Final = 0x100
POLLWRBAND: Final = 0x200
POLLMSG: Final = 0x400
POLLRDHUP: Final = 0x2000

EPOLLIN: Final = 0x1
EPOLLOUT: Final = 0x4
EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31
EPOLL_CLOEXEC: Final = 0o2000000

EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3

IN: Final = POLLIN | POLLRDNORM
"""What most readable things report."""
OUT: Final = POLLOUT | POLLWRNORM
UNASKED: Final = POLLERR | POLLHUP
"""Reported whether asked for or not."""

SELECT_IN: Final = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR
SELECT_OUT: Final = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR
SELECT_EX: Final = POLLPRI

POLLFD: Final = Struct("<ihh")
EPOLL_EVENT: Final = Struct("<IQ")
"""Packed on x86-64: 12 bytes."""
