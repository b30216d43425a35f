"""Sockets: address families, types, options, message flags and layouts (socket(7), unix(7), cmsg(3))."""

from __future__ import annotations

from struct import Struct
from typing import Final

AF_UNSPEC: Final = 0
AF_UNIX: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10
AF_NETLINK: Final = 16
AF_PACKET: Final = 17

SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_RAW: Final = 3
SOCK_RDM: Final = 4
SOCK_SEQPACKET: Final = 5
SOCK_DCCP: Final = 6
SOCK_PACKET: Final = 10
SOCK_TYPE_MASK: Final = 0xF
SOCK_NONBLOCK: Final = 0o4000
SOCK_CLOEXEC: Final = 0o2000000

SHUT_RD: Final = 0
SHUT_WR: Final = 1
SHUT_RDWR: Final = 2

SOL_SOCKET: Final = 1
SO_DEBUG: Final = 1
SO_REUSEADDR: Final = 2
SO_TYPE: Final = 3
SO_ERROR: Final = 4
SO_DONTROUTE: Final = 5
SO_BROADCAST: Final = 6
SO_SNDBUF: Final = 7
SO_RCVBUF: Final = 8
SO_KEEPALIVE: Final = 9
SO_OOBINLINE: Final = 10
SO_PRIORITY: Final = 12
SO_LINGER: Final = 13
SO_REUSEPORT: Final = 15
SO_PASSCRED: Final = 16
SO_PEERCRED: Final = 17
SO_RCVLOWAT: Final = 18
SO_SNDLOWAT: Final = 19
SO_RCVTIMEO_OLD: Final = 20
SO_SNDTIMEO_OLD: Final = 21
SO_TIMESTAMP: Final = 29
SO_ACCEPTCONN: Final = 30
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SO_PROTOCOL: Final = 38
SO_DOMAIN: Final = 39
SO_PEEK_OFF: Final = 42
SO_PEERGROUPS: Final = 59
SO_RCVTIMEO_NEW: Final = 66
SO_SNDTIMEO_NEW: Final = 67

MSG_OOB: Final = 0x1
MSG_PEEK: Final = 0x2
MSG_CTRUNC: Final = 0x8
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_WAITALL: Final = 0x100
MSG_ERRQUEUE: Final = 0x2000
MSG_NOSIGNAL: Final = 0x4000
MSG_WAITFORONE: Final = 0x10000
MSG_CMSG_CLOEXEC: Final = 0x4000_0000

SCM_RIGHTS: Final = 1
SCM_CREDENTIALS: Final = 2
SCM_MAX_FD: Final = 253

SIOCINQ: Final = 0x541B
SIOCOUTQ: Final = 0x5411

SOMAXCONN: Final = 4096
SOCKADDR_MAX: Final = 128
SUN_PATH: Final = 108
UIO_MAXIOV: Final = 1024

MSGHDR: Final = Struct("<QI4xQQQQI4x")
"""struct msghdr: name, namelen, iov, iovlen, control, controllen, flags."""
MMSGHDR_SIZE: Final = 64
"""struct mmsghdr: a msghdr, then the length as u32 at 56."""
IOVEC: Final = Struct("<QQ")
CMSGHDR: Final = Struct("<Qii")
UCRED: Final = Struct("<iII")
LINGER: Final = Struct("<ii")
INT: Final = Struct("<i")
U16: Final = Struct("<H")


def cmsg_align(size: int) -> int:
    """Round up as CMSG_ALIGN does."""
    return (size + 7) & ~7
