"""The receiving half of a unix socket: its queue, and what is taken from it (unix(7)).

A message waits in its receiver's queue and is charged to its sender until it is taken: that is what fills a send
buffer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from pysc.cabi import objects
from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.errors import EINVAL, ENOBUFS, ENOTCONN, EOPNOTSUPP, LinuxError
from pysc.cabi.linux.poll import IN, OUT
from pysc.sentry.kernel.scheduler import Interrupted, Reason, WaitQueue
from pysc.sentry.net.message import PeerCredentials, Received
from pysc.sentry.net.socket import Socket
from pysc.sentry.net.unix_address import sockaddr

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.inode import Owner
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.net.namespace import NetNamespace

MERGE: Final = 4096
OVERHEAD: Final = 256
"""What a message costs beside its bytes, so that empty ones are bounded, too."""
MAX_DGRAM_QUEUE: Final = 10
"""net.unix.max_dgram_qlen."""


class Packet:
    """A message in a queue: ``data`` from ``start`` on is left.  Its files carry a reference each."""

    __slots__ = ("address", "cost", "credentials", "data", "files", "sender", "start")

    def __init__(
        self,
        sender: UnixReceiver,
        data: bytes | bytearray,
        files: tuple[FileDescription, ...],
        credentials: PeerCredentials,
    ) -> None:
        self.sender = sender
        self.data = data
        self.start = 0
        self.files = files
        self.credentials = credentials
        self.address = sender.address
        self.cost = len(data) + OVERHEAD

    @property
    def left(self) -> int:
        """Bytes that nobody has taken."""
        return len(self.data) - self.start


class UnixReceiver(Socket):
    """What both halves work on.

    Invariant: ``charged`` is the cost of this socket's messages in others' queues; ``queue_bytes`` is what is left in
    its own.
    """

    __slots__ = (
        "address",
        "charged",
        "connectors",
        "dead",
        "down",
        "net",
        "peer",
        "queue",
        "queue_bytes",
        "read_wait",
        "room_wait",
        "write_wait",
    )

    family = abi.AF_UNIX
    can_peek_offset = True

    def __init__(self, net: NetNamespace, kind: int, flags: int, owner: Owner) -> None:
        super().__init__(kind, 0, flags, owner)
        self.net = net
        self.address = b""
        """The path, the abstract name with its NUL, or b""."""
        self.peer: UnixReceiver | None = None
        self.queue: deque[Packet] = deque()
        self.queue_bytes = 0
        self.charged = 0
        self.down = 0
        """What is shut down: bit 0 receiving, bit 1 sending."""
        self.dead = False
        self.connectors: dict[UnixReceiver, None] = {}
        """Datagram sockets connected to this one: told when its queue has room again."""
        self.read_wait = WaitQueue()
        self.write_wait = WaitQueue()
        """Senders that wait for their own messages to be taken."""
        self.room_wait = WaitQueue()
        """Connectors that wait for a place in the backlog, senders that wait for one in this datagram queue."""

    @property
    def connected_type(self) -> bool:
        """Whether it is of a type that listens and connects."""
        return self.type != abi.SOCK_DGRAM

    def purge(self) -> None:
        """Drop all that waits to be received.

        What a dropped message carried may end with it, and purge in turn: it is dropped by whoever began.
        """
        net = self.net
        while self.queue:
            net.dropped.extend(self.take().files)
        if net.dropping:
            return
        net.dropping = True
        try:
            while net.dropped:
                self.drop_in_flight(net.dropped.popleft())
        finally:
            net.dropping = False

    # Queues
    def post(self, packet: Packet) -> None:
        """Put a packet into this socket's queue.  ENOBUFS: memory is out."""
        if objects.memory_is_out():
            raise ENOBUFS
        self.queue.append(packet)
        self.queue_bytes += len(packet.data)
        packet.sender.charged += packet.cost
        self.read_wait.wake(1)
        self.poll_wait.wake_all(IN)

    def take(self) -> Packet:
        """Take the first packet out, and give its sender the room back."""
        was_full = self.full
        packet = self.queue.popleft()
        self.queue_bytes -= packet.left
        sender = packet.sender
        sender.charged -= packet.cost
        if sender.charged * 4 <= sender.sndbuf:
            sender.write_wait.wake_all()
            sender.poll_wait.wake_all(OUT)
        if was_full and not self.full:
            self.room_wait.wake_all()
            for connector in self.connectors:
                connector.poll_wait.wake_all(OUT)
        if self.queue:
            self.read_wait.wake(1)
        return packet

    @property
    def full(self) -> bool:
        return not self.connected_type and len(self.queue) > MAX_DGRAM_QUEUE

    def drop_in_flight(self, file: FileDescription) -> None:
        """Give up a message's reference to a file."""
        self.landed(file)
        file.put()

    def landed(self, file: FileDescription) -> None:
        if isinstance(file, UnixReceiver):
            count = self.net.in_flight[file] - 1
            if count:
                self.net.in_flight[file] = count
            else:
                del self.net.in_flight[file]

    def launch(self, files: tuple[FileDescription, ...]) -> None:
        for file in files:
            if isinstance(file, UnixReceiver):
                self.net.in_flight[file] = self.net.in_flight.get(file, 0) + 1

    def append(
        self,
        sender: UnixReceiver,
        data: memoryview,
        files: tuple[FileDescription, ...],
        credentials: PeerCredentials,
    ) -> None:
        """Add bytes to a stream; small ones join the last packet if it is the same to a receiver."""
        last = self.queue[-1] if self.queue else None
        if (
            last is not None
            and not files
            and not last.files
            and isinstance(last.data, bytearray)
            and len(last.data) + len(data) <= MERGE
            and last.credentials == credentials
        ):
            last.data += data
            last.cost += len(data)
            self.queue_bytes += len(data)
            sender.charged += len(data)
            self.read_wait.wake(1)
            self.poll_wait.wake_all(IN)
            return
        owned = bytearray(data) if len(data) < MERGE else bytes(data)
        self.post(Packet(sender, owned, files, credentials))

    # Receiving
    async def receive(self, task: Task, size: int, flags: int) -> Received:
        if flags & abi.MSG_OOB:
            raise EOPNOTSUPP
        if self.type == abi.SOCK_STREAM:
            return await self._receive_stream(task, size, flags)
        return await self._receive_packet(task, size, flags)

    async def _receive_stream(self, task: Task, size: int, flags: int) -> Received:
        if self.peer is None or self.listening:
            raise EINVAL
        # Even to receive nothing, Linux waits for something to be there.
        wanted = max(1, size if flags & abi.MSG_WAITALL else min(self.rcvlowat, size))
        received: Received = task.take_back() or Received()
        parts = [bytes(received.data)] if received.length else []
        deadline = self.receive_deadline(task)
        peek = bool(flags & abi.MSG_PEEK)
        skip = self.peek_offset if peek and self.peek_offset > 0 else 0
        while True:
            if peek:
                glued = self._peek_stream(received, parts, size, skip)
            else:
                glued = self._read_stream(received, parts, size)
            if received.length >= wanted or not glued or (received.length >= size and (size or self.queue)):
                break
            try:
                if not received.length:
                    self.raise_error()
                if self.down & 1 or self.dead:
                    break
                await self.wait(self.read_wait, deadline, flags)
            except (LinuxError, Interrupted) as error:
                if received.length and not peek:
                    if not (isinstance(error, Interrupted) and error.reason is Reason.FREEZE):
                        break
                    received.data = b"".join(parts)
                    task.recorded().taken = received
                raise
            if peek:
                received.drop_files()
                received = Received()
                parts = []
        received.data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self.peek_offset >= 0:
            self.peek_offset = (
                self.peek_offset + received.length if peek else max(0, self.peek_offset - received.length)
            )
        return received

    def _read_stream(self, received: Received, parts: list[bytes], size: int) -> bool:
        """Take bytes up to where files come, or another sender's if one wants to know; false there."""
        while self.queue and received.length < size:
            packet = self.queue[0]
            if self._parts_from(packet, received):
                return False
            received.credentials = packet.credentials
            received.address = sockaddr(packet.address)
            part = bytes(memoryview(packet.data)[packet.start : packet.start + size - received.length])
            parts.append(part)
            received.length += len(part)
            if packet.files:
                received.files, packet.files = packet.files, ()
                for file in received.files:
                    self.landed(file)
                self._advance(packet, len(part))
                return False
            self._advance(packet, len(part))
        return True

    def _parts_from(self, packet: Packet, received: Received) -> bool:
        return (
            bool(self.options.get(abi.SO_PASSCRED))
            and received.credentials is not None
            and received.credentials != packet.credentials
        )

    def _advance(self, packet: Packet, size: int) -> None:
        if size == packet.left:
            self.take()
        else:
            packet.start += size
            self.queue_bytes -= size
            self.read_wait.wake(1)

    def _peek_stream(self, received: Received, parts: list[bytes], size: int, skip: int) -> bool:
        for packet in self.queue:
            if received.length >= size:
                break
            if skip >= packet.left:
                skip -= packet.left
                continue
            if self._parts_from(packet, received):
                return False
            start = packet.start + skip
            part = bytes(memoryview(packet.data)[start : start + size - received.length])
            skip = 0
            parts.append(part)
            received.length += len(part)
            received.credentials = packet.credentials
            received.address = sockaddr(packet.address)
            if packet.files:
                received.files = packet.files
                for file in packet.files:
                    file.get()
                return False
        return True

    async def _receive_packet(self, task: Task, size: int, flags: int) -> Received:
        if self.connected_type and self.peer is None:
            raise ENOTCONN
        deadline = self.receive_deadline(task)
        peek = bool(flags & abi.MSG_PEEK)
        self.raise_error()  # before any data, unlike a stream
        while not self.queue:
            self.raise_error()
            if self.down & 1 and (self.connected_type or not (self.nonblock or flags & abi.MSG_DONTWAIT)):
                return Received()
            await self.wait(self.read_wait, deadline, flags)
        packet = self.queue[0]
        skip = min(self.peek_offset, len(packet.data)) if peek and self.peek_offset > 0 else 0
        received = Received(
            data=bytes(packet.data[skip : skip + size]),
            length=len(packet.data) - skip,
            address=sockaddr(packet.address) if packet.address else None,
            files=packet.files,
            credentials=packet.credentials,
        )
        if received.length > size:
            received.flags |= abi.MSG_TRUNC
        if peek:
            for file in packet.files:
                file.get()
        else:
            self.take()
            for file in packet.files:
                self.landed(file)
        return received

    def give_back(self, received: Received, peek_offset: int) -> None:
        if self.dead or self.peer is None or received.credentials is None:
            return
        files, received.files = received.files, ()
        packet = Packet(self.peer, received.data, files, received.credentials)
        self.launch(files)
        self.queue.appendleft(packet)
        self.queue_bytes += len(packet.data)
        self.peer.charged += packet.cost
        self.peek_offset = peek_offset
        self.read_wait.wake(1)
        self.poll_wait.wake_all(IN)

    def readable_bytes(self) -> int:
        """Return what FIONREAD shows.  EINVAL for a listener."""
        if self.listening:
            raise EINVAL
        if self.type == abi.SOCK_STREAM:
            return self.queue_bytes
        return len(self.queue[0].data) if self.queue else 0

    def unsent_bytes(self) -> int:
        return self.charged
