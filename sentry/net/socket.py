"""Sockets of any family (socket(2)): options, timeouts, and what each protocol must supply."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.capability import CAP_NET_ADMIN
from pysc.cabi.linux.clock import SECOND
from pysc.cabi.linux.errors import (
    EAGAIN,
    EDOM,
    EINTR,
    EINVAL,
    ENOPROTOOPT,
    ENOTTY,
    EOPNOTSUPP,
    EPERM,
    LinuxError,
)
from pysc.cabi.linux.fcntl import O_NONBLOCK, O_RDWR
from pysc.cabi.linux.mount import SOCKFS_MAGIC
from pysc.cabi.linux.stat import S_IFSOCK
from pysc.sentry.fs.anonymous import ROOT, AnonymousFile, next_ino
from pysc.sentry.kernel.scheduler import Interrupted, Reason, WaitQueue, current_owner, now, park
from pysc.sentry.net.message import Message, Received

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Owner
    from pysc.sentry.kernel.task import Task

DEFAULT_BUFFER: Final = 212_992
MIN_SNDBUF: Final = 4608
MIN_RCVBUF: Final = 2304

_SWITCHES: Final = {
    abi.SO_DEBUG,
    abi.SO_REUSEADDR,
    abi.SO_DONTROUTE,
    abi.SO_BROADCAST,
    abi.SO_KEEPALIVE,
    abi.SO_OOBINLINE,
    abi.SO_REUSEPORT,
    abi.SO_PASSCRED,
    abi.SO_TIMESTAMP,
}
"""Options that are 0 or 1."""
_NUMBERS: Final = {abi.SO_PRIORITY}


class Socket(AnonymousFile):
    """A socket.  Protocols override what they have; the defaults are Linux's sock_no_*."""

    __slots__ = (
        "error",
        "linger",
        "options",
        "peek_offset",
        "poll_wait",
        "protocol",
        "rcvbuf",
        "rcvlowat",
        "rcvtimeo",
        "sndbuf",
        "sndtimeo",
        "type",
    )

    kind = b"socket"
    magic = SOCKFS_MAGIC
    tells = True
    mode = S_IFSOCK | 0o777
    family: ClassVar[int] = abi.AF_UNSPEC

    def __init__(self, kind: int, protocol: int, flags: int = 0, owner: Owner = ROOT) -> None:
        super().__init__(O_RDWR | flags & O_NONBLOCK, owner, next_ino())
        self.type = kind
        self.protocol = protocol
        self.error: type[LinuxError] | None = None
        """The pending error, told once (SO_ERROR)."""
        self.options: dict[int, int] = {}
        self.linger = (0, 0)
        self.sndbuf = DEFAULT_BUFFER
        self.rcvbuf = DEFAULT_BUFFER
        self.rcvlowat = 1
        self.rcvtimeo: int | None = None
        """Nanoseconds; None is forever."""
        self.sndtimeo: int | None = None
        self.peek_offset = -1
        self.poll_wait = WaitQueue()

    # The protocol
    async def bind(self, task: Task, address: bytes) -> None:
        """bind(2); ``address`` is a sockaddr of any length."""
        raise EOPNOTSUPP

    async def connect(self, task: Task, address: bytes) -> None:
        """connect(2)."""
        raise EOPNOTSUPP

    def listen(self, task: Task, backlog: int) -> None:
        """listen(2)."""
        raise EOPNOTSUPP

    async def accept(self, task: Task, flags: int) -> Socket:
        """accept(2): a new socket, with a reference that is the caller's, and O_NONBLOCK as ``flags`` have it."""
        raise EOPNOTSUPP

    def shutdown(self, how: int) -> None:
        """shutdown(2)."""
        raise EOPNOTSUPP

    def name(self) -> bytes:
        """Return the sockaddr of this end."""
        raise EOPNOTSUPP

    def peer_name(self) -> bytes:
        """Return the sockaddr of the other end.  ENOTCONN."""
        raise EOPNOTSUPP

    async def send(self, task: Task, message: Message, flags: int) -> int:
        """Send; the number of bytes taken.  Owns the message's files from here on."""
        raise EOPNOTSUPP

    async def receive(self, task: Task, size: int, flags: int) -> Received:
        """Receive up to ``size`` bytes."""
        raise EOPNOTSUPP

    def give_back(self, received: Received, peek_offset: int) -> None:
        """Undo a :meth:`receive` on a stream, from before which the offset is: what it took could not be stored."""
        raise EOPNOTSUPP

    def readable_bytes(self) -> int:
        """What FIONREAD shows."""
        raise ENOTTY

    def unsent_bytes(self) -> int:
        """What SIOCOUTQ shows."""
        raise ENOTTY

    # As a file
    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        if request == abi.SIOCINQ:
            count = self.readable_bytes()
        elif request == abi.SIOCOUTQ:
            count = self.unsent_bytes()
        else:
            raise ENOTTY
        task.put(argument, abi.INT.pack(count))
        return 0

    async def read(self, size: int) -> bytes:
        if not size and self.type == abi.SOCK_STREAM:
            return b""
        received = await self.receive(await current_owner(), size, 0)
        received.drop_files()
        return received.data

    async def write(self, data: bytes) -> int:
        return await self.send(await current_owner(), Message(data), 0)

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.poll_wait,)

    # Waiting
    async def wait(self, queue: WaitQueue, deadline: int | None, flags: int) -> None:
        """Wait for a wake.  EAGAIN: must not wait, or the deadline is over; EINTR: interrupted, with a deadline."""
        if self.nonblock or flags & abi.MSG_DONTWAIT or (deadline is not None and deadline <= now()):
            raise EAGAIN
        try:
            await park(queue, deadline=deadline)
        except Interrupted as interrupted:
            if deadline is not None and interrupted.reason is Reason.SIGNAL:
                raise EINTR from None
            raise

    def receive_deadline(self, task: Task) -> int | None:
        """When a receiving call gives up."""
        return None if self.rcvtimeo is None else task.deadline(self.rcvtimeo)

    def send_deadline(self, task: Task) -> int | None:
        """When a sending call gives up."""
        return None if self.sndtimeo is None else task.deadline(self.sndtimeo)

    def raise_error(self) -> None:
        """Raise the pending error, if there is one, and forget it."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    # Options
    def set_option(self, task: Task, level: int, name: int, value: bytes) -> None:
        """setsockopt(2).  ENOPROTOOPT, EOPNOTSUPP (no level of ours), EINVAL (too short), EDOM, EPERM."""
        if level != abi.SOL_SOCKET:
            raise EOPNOTSUPP
        if len(value) < 4:
            raise EINVAL
        number: int = abi.INT.unpack_from(value)[0]
        if name in _SWITCHES:
            self.options[name] = int(bool(number))
        elif name in _NUMBERS:
            self.options[name] = number
        elif name in (abi.SO_SNDBUF, abi.SO_SNDBUFFORCE):
            self.sndbuf = max(_buffer_size(task, name == abi.SO_SNDBUFFORCE, number), MIN_SNDBUF)
        elif name in (abi.SO_RCVBUF, abi.SO_RCVBUFFORCE):
            self.rcvbuf = max(_buffer_size(task, name == abi.SO_RCVBUFFORCE, number), MIN_RCVBUF)
        elif name == abi.SO_RCVLOWAT:
            self.rcvlowat = max(1, number if number >= 0 else (1 << 31) - 1)
        elif name in (abi.SO_RCVTIMEO_OLD, abi.SO_RCVTIMEO_NEW):
            self.rcvtimeo = _timeout(value)
        elif name in (abi.SO_SNDTIMEO_OLD, abi.SO_SNDTIMEO_NEW):
            self.sndtimeo = _timeout(value)
        elif name == abi.SO_LINGER:
            if len(value) < abi.LINGER.size:
                raise EINVAL
            self.linger = abi.LINGER.unpack_from(value)
        elif name == abi.SO_PEEK_OFF and self.can_peek_offset:
            self.peek_offset = number
        else:
            raise ENOPROTOOPT

    can_peek_offset: ClassVar[bool] = False

    def get_option(self, level: int, name: int) -> bytes:
        """getsockopt(2): the value, which the caller cuts to size.  ENOPROTOOPT, EOPNOTSUPP (no level of ours)."""
        if level != abi.SOL_SOCKET:
            raise EOPNOTSUPP
        if name in (abi.SO_RCVTIMEO_OLD, abi.SO_RCVTIMEO_NEW):
            return _timeval(self.rcvtimeo)
        if name in (abi.SO_SNDTIMEO_OLD, abi.SO_SNDTIMEO_NEW):
            return _timeval(self.sndtimeo)
        if name == abi.SO_LINGER:
            return abi.LINGER.pack(*self.linger)
        if name == abi.SO_PEEK_OFF and not self.can_peek_offset:
            raise ENOPROTOOPT
        return abi.INT.pack(self._number_option(name))

    def _number_option(self, name: int) -> int:
        match name:
            case abi.SO_TYPE:
                return self.type
            case abi.SO_DOMAIN:
                return self.family
            case abi.SO_PROTOCOL:
                return self.protocol
            case abi.SO_ERROR:
                error, self.error = self.error, None
                return 0 if error is None else error.errno
            case abi.SO_SNDBUF:
                return self.sndbuf
            case abi.SO_RCVBUF:
                return self.rcvbuf
            case abi.SO_RCVLOWAT:
                return self.rcvlowat
            case abi.SO_SNDLOWAT:
                return 1
            case abi.SO_ACCEPTCONN:
                return int(self.listening)
            case abi.SO_PEEK_OFF:
                return self.peek_offset
        if name in _SWITCHES or name in _NUMBERS:
            return self.options.get(name, 0)
        raise ENOPROTOOPT

    @property
    def listening(self) -> bool:
        """Whether connections can be made to it."""
        return False


def _buffer_size(task: Task, force: bool, size: int) -> int:
    """Linux doubles what is asked for, to account for its own overhead, and shows the doubled value."""
    if force:
        if not task.creds.has_capability(CAP_NET_ADMIN):
            raise EPERM
    elif not 0 <= size <= DEFAULT_BUFFER:
        size = DEFAULT_BUFFER
    return min(max(size, 0), 1 << 29) * 2


def _timeout(value: bytes) -> int | None:
    if len(value) < 16:
        raise EINVAL
    seconds = int.from_bytes(value[:8], "little", signed=True)
    microseconds = int.from_bytes(value[8:16], "little", signed=True)
    if not 0 <= microseconds < 1_000_000:
        raise EDOM
    if seconds < 0:
        return 0
    return min(seconds * SECOND + microseconds * 1000, 1 << 62) or None


def _timeval(timeout: int | None) -> bytes:
    seconds, rest = divmod(timeout or 0, SECOND)
    return seconds.to_bytes(8, "little") + (rest // 1000).to_bytes(8, "little")
