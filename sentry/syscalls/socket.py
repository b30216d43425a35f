"""Sockets: making, naming, connecting, options (socket(2)).  Messages are in socket_messages.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.errors import EINVAL, ENODATA, ENOTSOCK, EOPNOTSUPP, ERANGE
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.sentry.net.families import make_socket
from pysc.sentry.net.socket import Socket
from pysc.sentry.net.unix import UnixSocket
from pysc.sentry.syscalls.descriptors import install, install_pair
from pysc.sentry.syscalls.table import I32, U32, Addr, Fd
from pysc.sentry.syscalls.waiting import Using

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task

_TYPE_FLAGS: Final = abi.SOCK_NONBLOCK | abi.SOCK_CLOEXEC


def socket_of(task: Task, fd: int) -> Socket:
    """Return the socket of a descriptor (borrowed).  EBADF, ENOTSOCK."""
    return _socket(task.fds.get(fd))


def _socket(file: FileDescription) -> Socket:
    if not isinstance(file, Socket):
        raise ENOTSOCK
    return file


class UsingSocket(Using):
    """The socket of a descriptor while a call uses it.  EBADF, ENOTSOCK."""

    __slots__ = ()

    def __enter__(self) -> Socket:
        try:
            return _socket(self.file)
        except ENOTSOCK as error:
            self.__exit__(None, error, None)
            raise


def _split_type(kind: int) -> tuple[int, int]:
    if kind & ~(abi.SOCK_TYPE_MASK | _TYPE_FLAGS):
        raise EINVAL
    return kind & abi.SOCK_TYPE_MASK, kind & O_NONBLOCK


def socket(task: Task, family: I32, type: I32, protocol: I32) -> int:  # noqa: A002 (the name in socket(2))
    """socket(2)."""
    kind, flags = _split_type(type)
    return install(task, make_socket(task, family, kind, protocol, flags), cloexec=bool(type & abi.SOCK_CLOEXEC))


async def socketpair(task: Task, family: I32, type: I32, protocol: I32, fds: Addr) -> None:  # noqa: A002
    """socketpair(2): of AF_UNIX only."""
    kind, flags = _split_type(type)
    first = make_socket(task, family, kind, protocol, flags)
    second = make_socket(task, family, kind, protocol, flags)
    if not isinstance(first, UnixSocket) or not isinstance(second, UnixSocket):
        raise EOPNOTSUPP
    first.pair(second, task)
    await install_pair(task, (first, second), fds, cloexec=bool(type & abi.SOCK_CLOEXEC))


# Addresses


async def read_address(task: Task, address: int, length: int) -> bytes:
    """Copy a sockaddr in.  EINVAL, EFAULT."""
    if not 0 <= length <= abi.SOCKADDR_MAX:
        raise EINVAL
    return await task.copy_in(address, length) if length else b""


async def write_address(task: Task, value: bytes, address: int, length_at: int) -> None:
    """Copy a sockaddr out, cut to the room in ``*length_at``, where its full length goes.  EINVAL, EFAULT."""
    (room,) = abi.INT.unpack(await task.copy_in(length_at, 4))
    if room < 0:
        raise EINVAL
    if room and value:
        await task.copy_out(address, value[:room])
    await task.copy_out(length_at, abi.INT.pack(len(value)))


async def bind(task: Task, fd: Fd, address: Addr, length: I32) -> None:
    """bind(2)."""
    with UsingSocket(task, fd) as sock:
        await sock.bind(task, await read_address(task, address, length))


async def connect(task: Task, fd: Fd, address: Addr, length: I32) -> None:
    """connect(2)."""
    with UsingSocket(task, fd) as sock:
        await sock.connect(task, await read_address(task, address, length))


def listen(task: Task, fd: Fd, backlog: I32) -> None:
    """listen(2)."""
    socket_of(task, fd).listen(task, backlog)


async def accept4(task: Task, fd: Fd, address: Addr, length: Addr, flags: U32) -> int:
    """accept4(2)."""
    if flags & ~_TYPE_FLAGS:
        raise EINVAL
    with UsingSocket(task, fd) as sock:
        accepted = await sock.accept(task, flags & O_NONBLOCK)
    try:
        if address:
            await write_address(task, accepted.peer_name(), address, length)
        return install(task, accepted, cloexec=bool(flags & abi.SOCK_CLOEXEC))
    finally:
        accepted.put()


async def accept(task: Task, fd: Fd, address: Addr, length: Addr) -> int:
    """accept(2)."""
    return await accept4(task, fd, address, length, 0)


async def getsockname(task: Task, fd: Fd, address: Addr, length: Addr) -> None:
    """getsockname(2)."""
    await write_address(task, socket_of(task, fd).name(), address, length)


async def getpeername(task: Task, fd: Fd, address: Addr, length: Addr) -> None:
    """getpeername(2)."""
    await write_address(task, socket_of(task, fd).peer_name(), address, length)


def shutdown(task: Task, fd: Fd, how: I32) -> None:
    """shutdown(2)."""
    socket_of(task, fd).shutdown(how)


# Options


async def setsockopt(task: Task, fd: Fd, level: I32, name: I32, value: Addr, length: I32) -> None:
    """setsockopt(2)."""
    if length < 0:
        raise EINVAL
    sock = socket_of(task, fd)
    sock.set_option(task, level, name, await task.copy_in(value, min(length, 4096)) if length else b"")


async def getsockopt(task: Task, fd: Fd, level: I32, name: I32, value: Addr, length: Addr) -> None:
    """getsockopt(2)."""
    sock = socket_of(task, fd)
    (room,) = abi.INT.unpack(await task.copy_in(length, 4))
    if room < 0:
        raise EINVAL
    found = _peer_option(sock, level, name)
    if found is None:
        found = sock.get_option(level, name)
    elif name == abi.SO_PEERGROUPS and room < len(found):
        await task.copy_out(length, abi.INT.pack(len(found)))
        raise ERANGE
    await task.copy_out(value, found[:room])
    await task.copy_out(length, abi.INT.pack(min(room, len(found))))


def _peer_option(sock: Socket, level: int, name: int) -> bytes | None:
    if level != abi.SOL_SOCKET or name not in (abi.SO_PEERCRED, abi.SO_PEERGROUPS):
        return None
    creds = sock.peer_credentials if isinstance(sock, UnixSocket) else None
    if name == abi.SO_PEERCRED:
        return (
            abi.UCRED.pack(0, 0xFFFF_FFFF, 0xFFFF_FFFF)
            if creds is None
            else abi.UCRED.pack(creds.pid, creds.uid, creds.gid)
        )
    if creds is None:
        raise ENODATA
    return b"".join(group.to_bytes(4, "little") for group in creds.groups)
