"""Sending and receiving on sockets (send(2), recv(2), sendmmsg(2), recvmmsg(2))."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.clock import SECOND, TIMESPEC
from pysc.cabi.linux.errors import EFAULT, EINVAL, EMSGSIZE, ENOBUFS, LinuxError
from pysc.sentry.kernel.scheduler import Interrupted, Reason, now
from pysc.sentry.net.control import build_control, parse_control
from pysc.sentry.net.message import Message, Received
from pysc.sentry.net.socket import Socket
from pysc.sentry.syscalls.buffers import PUT_MAX, Range, gather, scatter, single, total, vector
from pysc.sentry.syscalls.socket import UsingSocket, read_address, write_address
from pysc.sentry.syscalls.table import U32, Addr, Fd, Size
from pysc.sentry.syscalls.waiting import cut_short, timespec_ns

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

CONTROL_MAX: Final = 20_480
STEP: Final = 1 << 18
"""Bytes of a stream that are copied and sent at a time."""
RECEIVE_MAX: Final = 1 << 20
"""Bytes that one call receives: a stream's reader comes again, and no datagram is larger."""
_RECEIVE_FLAGS: Final = ~(abi.MSG_CMSG_CLOEXEC | abi.MSG_WAITFORONE)


async def _send(task: Task, sock: Socket, ranges: list[Range], message: Message, flags: int) -> int:
    """Send what is in ``ranges``: a stream in steps, a datagram whole."""
    size = total(ranges) if ranges else 0
    if sock.type != abi.SOCK_STREAM:
        if size > sock.sndbuf:
            _drop(message)
            raise EMSGSIZE
        try:
            message.data = await gather(task, ranges, 0, size) if size else b""
        except LinuxError:
            _drop(message)
            raise
        return await sock.send(task, message, flags)
    done = task.resume()
    if done:
        _drop(message)  # its files went with the first bytes
    while True:
        try:
            step = min(STEP, size - done)
            message.data = await gather(task, ranges, done, step) if step else b""
            sent = await sock.send(task, message, flags)
        except (LinuxError, Interrupted) as error:
            _drop(message)
            return cut_short(task, error, done)
        done += sent
        if done >= size or sent < step:
            return done


def _drop(message: Message) -> None:
    files, message.files = message.files, ()
    for file in files:
        file.put()


async def sendto(task: Task, fd: Fd, buf: Addr, count: Size, flags: U32, address: Addr, length: U32) -> int:
    """sendto(2)."""
    with UsingSocket(task, fd) as sock:
        name = await read_address(task, address, length) if address else None
        return await _send(task, sock, single(buf, count), Message(b"", name or None), flags)


async def _send_header(task: Task, sock: Socket, header: int, flags: int) -> int:
    name_at, name_size, iov, count, control_at, control_size, _ = abi.MSGHDR.unpack(
        await task.copy_in(header, abi.MSGHDR.size)
    )
    if count > abi.UIO_MAXIOV:
        raise EMSGSIZE
    if control_size > CONTROL_MAX:
        raise ENOBUFS
    message = Message(b"")
    if name_at and name_size:
        message.address = await read_address(task, name_at, min(name_size, abi.SOCKADDR_MAX))
    ranges = await vector(task, iov, count)
    if control_size:
        parse_control(task, await task.copy_in(control_at, control_size), message)
    return await _send(task, sock, ranges, message, flags)


async def sendmsg(task: Task, fd: Fd, header: Addr, flags: U32) -> int:
    """sendmsg(2)."""
    with UsingSocket(task, fd) as sock:
        return await _send_header(task, sock, header, flags)


async def sendmmsg(task: Task, fd: Fd, headers: Addr, count: U32, flags: U32) -> int:
    """sendmmsg(2): how many messages were sent; an error of a later one is told by the next call."""
    with UsingSocket(task, fd) as sock:
        done = _resume_messages(task)
        while done < min(count, abi.UIO_MAXIOV):
            at = headers + done * abi.MMSGHDR_SIZE
            try:
                sent = await _send_header(task, sock, at, flags)
                await task.copy_out(at + abi.MSGHDR.size, abi.INT.pack(sent))
            except (LinuxError, Interrupted) as error:
                return _cut_short(task, error, done)
            done = _next_message(task, done)
        return done


def _resume_messages(task: Task) -> int:
    """Return how many messages the call had moved before it was begun again."""
    return 0 if task.record is None else task.record.messages


def _next_message(task: Task, done: int) -> int:
    """Count a message; the next one has all the time that a call has."""
    if task.record is not None:
        task.record.deadline = None
    return done + 1


def _cut_short(task: Task, error: LinuxError | Interrupted, done: int) -> int:
    """As cut_short(), of a call that counts messages."""
    if isinstance(error, Interrupted) and error.reason is Reason.FREEZE:
        task.recorded().messages = done
        raise error
    if not done:
        raise error
    return done


async def receive(task: Task, sock: Socket, ranges: list[Range], flags: int, *, last: bool = False) -> Received:
    """Receive into the ranges; what is received of a stream stays in it if it cannot be stored.  EFAULT.

    In the ``last`` step of a call it may go with the reply.
    """
    offset = sock.peek_offset
    received = await sock.receive(task, min(total(ranges), RECEIVE_MAX) if ranges else 0, flags & _RECEIVE_FLAGS)
    stays = sock.type == abi.SOCK_STREAM and not flags & abi.MSG_PEEK and bool(received.data)
    if stays:
        # A signal's handler would be entered whatever becomes of the reply.
        last = last and len(ranges) == 1 and len(received.data) <= PUT_MAX and not (received.files or task.attention)
    if stays and last:
        task.untake = partial(sock.give_back, received, offset)
    try:
        if await scatter(task, ranges, 0, received.data, last=last) < len(received.data):
            raise EFAULT
    except BaseException:
        if stays:
            sock.give_back(received, offset)
        received.drop_files()
        raise
    return received


async def recvfrom(task: Task, fd: Fd, buf: Addr, count: Size, flags: U32, address: Addr, length: Addr) -> int:
    """recvfrom(2)."""
    with UsingSocket(task, fd) as sock:
        ranges = single(buf, count)
        received = await receive(task, sock, ranges, flags, last=not address)
    received.drop_files()
    if address:
        await write_address(task, received.address or b"", address, length)
    return _result(sock, received, flags)


def _result(sock: Socket, received: Received, flags: int) -> int:
    """MSG_TRUNC asks for the length of a datagram, whatever was copied."""
    if flags & abi.MSG_TRUNC and sock.type != abi.SOCK_STREAM:
        return received.length
    return len(received.data)


async def _receive_header(task: Task, sock: Socket, header: int, flags: int) -> int:
    name_at, name_room, iov, count, control_at, control_room, _ = abi.MSGHDR.unpack(
        await task.copy_in(header, abi.MSGHDR.size)
    )
    if count > abi.UIO_MAXIOV:
        raise EMSGSIZE
    if name_room >> 31:
        raise EINVAL
    ranges = await vector(task, iov, count)
    received = await receive(task, sock, ranges, flags)
    try:
        if name_at:
            name = received.address or b""
            await task.copy_out(name_at, name[:name_room])
            name_room = len(name)
        control = build_control(
            task,
            received,
            control_room if control_at else 0,
            passcred=bool(sock.options.get(abi.SO_PASSCRED)),
            cloexec=bool(flags & abi.MSG_CMSG_CLOEXEC),
        )
        if control:
            await task.copy_out(control_at, control)
    finally:
        received.drop_files()
    shown = received.flags | flags & abi.MSG_CMSG_CLOEXEC
    await task.copy_out(header, abi.MSGHDR.pack(name_at, name_room, iov, count, control_at, len(control), shown))
    return _result(sock, received, flags)


async def recvmsg(task: Task, fd: Fd, header: Addr, flags: U32) -> int:
    """recvmsg(2)."""
    with UsingSocket(task, fd) as sock:
        return await _receive_header(task, sock, header, flags)


async def recvmmsg(task: Task, fd: Fd, headers: Addr, count: U32, flags: U32, timeout: Addr) -> int:
    """recvmmsg(2): the timeout is looked at between messages only, as in Linux."""
    with UsingSocket(task, fd) as sock:
        deadline = None
        if timeout:
            record = task.recorded()
            if record.until is None:
                record.until = now() + timespec_ns(await task.copy_in(timeout, TIMESPEC.size))
            deadline = record.until
        done = _resume_messages(task)
        if done and flags & abi.MSG_WAITFORONE:
            flags |= abi.MSG_DONTWAIT
        while done < min(count, abi.UIO_MAXIOV):
            at = headers + done * abi.MMSGHDR_SIZE
            try:
                size = await _receive_header(task, sock, at, flags)
                await task.copy_out(at + abi.MSGHDR.size, abi.INT.pack(size))
            except (LinuxError, Interrupted) as error:
                done = _cut_short(task, error, done)
                break
            done = _next_message(task, done)
            if flags & abi.MSG_WAITFORONE:
                flags |= abi.MSG_DONTWAIT
            if deadline is not None and deadline <= now():
                break
        if deadline is not None:
            left = max(0, deadline - now())
            await task.copy_out(timeout, TIMESPEC.pack(*divmod(left, SECOND)))
        return done
