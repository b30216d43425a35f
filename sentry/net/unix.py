"""Sockets of the AF_UNIX family (unix(7)).

A message waits in its receiver's queue and is charged to its sender until it is taken: that is what fills a send
buffer.  Both ends of a connection know each other; an end that is closed is ``dead`` and its peer is told.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.errors import (
    ECONNREFUSED,
    ECONNRESET,
    EINVAL,
    EISCONN,
    EMSGSIZE,
    ENOTCONN,
    EOPNOTSUPP,
    EPERM,
    EPIPE,
    LinuxError,
)
from pysc.cabi.linux.poll import IN, OUT, POLLERR, POLLHUP, POLLRDHUP, POLLWRBAND
from pysc.sentry.fs.anonymous import ROOT
from pysc.sentry.fs.pipe import broken_pipe
from pysc.sentry.kernel.scheduler import Interrupted, WaitQueue
from pysc.sentry.net.message import Message, PeerCredentials, Received
from pysc.sentry.net.socket import Socket
from pysc.sentry.net.unix_address import bind_name, find, normalize, sockaddr

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.inode import Inode, Owner
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.net.namespace import NetNamespace

MERGE: Final = 4096
OVERHEAD: Final = 256
"""What a message costs beside its bytes, so that empty ones are bounded, too."""
MAX_DGRAM_QUEUE: Final = 10
"""net.unix.max_dgram_qlen."""
STREAM_CHUNK: Final = 1 << 16

_CHANGED: Final = IN | OUT | POLLHUP | POLLRDHUP | POLLERR
_BOTH: Final = 3
"""Both directions are shut down: bit 0 receiving, bit 1 sending."""


class Packet:
    """A message in a queue: ``data`` from ``start`` on is left.  Its files carry a reference each."""

    __slots__ = ("address", "cost", "credentials", "data", "files", "sender", "start")

    def __init__(
        self,
        sender: UnixSocket,
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


class UnixSocket(Socket):
    """One end.

    Invariant: ``peer`` of a stream or seqpacket socket is mutual while both live; ``charged`` is the cost of this
    socket's messages in others' queues; ``queue_bytes`` is what is left in its own queue.
    """

    __slots__ = (
        "address",
        "backlog",
        "bound_inode",
        "charged",
        "connectors",
        "credentials",
        "dead",
        "down",
        "net",
        "peer",
        "peer_credentials",
        "pending",
        "queue",
        "queue_bytes",
        "read_wait",
        "room_wait",
        "write_wait",
    )

    family = abi.AF_UNIX
    can_peek_offset = True

    def __init__(self, net: NetNamespace, kind: int, flags: int = 0, owner: Owner = ROOT) -> None:
        super().__init__(kind, 0, flags, owner)
        self.net = net
        self.address = b""
        """The path, the abstract name with its NUL, or b""."""
        self.bound_inode: Inode | None = None
        self.peer: UnixSocket | None = None
        self.credentials: PeerCredentials | None = None
        """Whoever called listen(2), connect(2) or socketpair(2)."""
        self.peer_credentials: PeerCredentials | None = None
        self.backlog = -1
        """What listen(2) said; -1: not listening."""
        self.pending: deque[UnixSocket] = deque()
        """Connections that nobody has accepted."""
        self.queue: deque[Packet] = deque()
        self.queue_bytes = 0
        self.charged = 0
        self.down = 0
        self.dead = False
        self.connectors: dict[UnixSocket, None] = {}
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

    @property
    def listening(self) -> bool:
        return self.backlog >= 0

    # Names
    async def bind(self, task: Task, address: bytes) -> None:
        if self.address:
            raise EINVAL
        name = normalize(address)
        await bind_name(task, self, name)

    def name(self) -> bytes:
        return sockaddr(self.address)

    def peer_name(self) -> bytes:
        if self.peer is None:
            raise ENOTCONN
        return sockaddr(self.peer.address)

    # Connections
    def pair(self, other: UnixSocket, task: Task) -> None:
        """Connect two new sockets (socketpair(2))."""
        self._join(other)
        other._join(self)
        self.credentials = other.credentials = PeerCredentials.of(task)
        self.peer_credentials = other.peer_credentials = self.credentials

    def _join(self, peer: UnixSocket | None) -> None:
        if self.peer is not None:
            self.peer.connectors.pop(self, None)
        self.peer = peer
        if peer is not None and not self.connected_type:
            peer.connectors[self] = None

    def listen(self, task: Task, backlog: int) -> None:
        if not self.connected_type:
            raise EOPNOTSUPP
        if not self.address or self.peer is not None:
            raise EINVAL
        self.backlog = min(backlog & 0xFFFF_FFFF, abi.SOMAXCONN)
        self.credentials = PeerCredentials.of(task)
        self.room_wait.wake_all()

    async def connect(self, task: Task, address: bytes) -> None:
        if len(address) < 2:
            raise EINVAL
        unspecified = int.from_bytes(address[:2], "little") == abi.AF_UNSPEC
        if not self.connected_type:
            await self._connect_datagram(task, None if unspecified else normalize(address))
            return
        if unspecified:
            raise EINVAL
        name = normalize(address)
        deadline = self.send_deadline(task)
        while True:
            listener = await find(task, self, name)
            if self.listening:
                raise EINVAL
            if self.peer is not None:
                raise EISCONN
            if not listener.listening or listener.down & 1:
                raise ECONNREFUSED
            if len(listener.pending) <= listener.backlog:
                break
            await self.wait(listener.room_wait, deadline, 0)
        self.auto_bind()
        server = UnixSocket(self.net, self.type, owner=listener.owner)
        server.address = listener.address
        self.credentials = PeerCredentials.of(task)
        server.credentials = listener.credentials
        server.peer_credentials, self.peer_credentials = self.credentials, listener.credentials
        self.peer, server.peer = server, self
        server.get()
        listener.pending.append(server)
        listener.read_wait.wake(1)
        listener.poll_wait.wake_all(IN)
        self.poll_wait.wake_all(OUT)

    async def _connect_datagram(self, task: Task, name: bytes | None) -> None:
        target = None
        if name is not None:
            self.auto_bind()
            target = await find(task, self, name)
            if not self._may_send(target):
                raise EPERM
        if self.peer is not target:
            if self.peer is not None:
                self.purge()
            self._join(target)
        self.poll_wait.wake_all(OUT)

    def auto_bind(self) -> None:
        """Take a name, so that who receives credentials can answer (SO_PASSCRED)."""
        if not self.address and self.options.get(abi.SO_PASSCRED):
            self.address = self.net.claim_any(self)

    def _may_send(self, target: UnixSocket) -> bool:
        return target.peer is None or target.peer is self

    async def accept(self, task: Task, flags: int) -> Socket:
        if not self.connected_type:
            raise EOPNOTSUPP
        deadline = self.receive_deadline(task)
        while True:
            if not self.listening or self.down & 1:
                raise EINVAL
            if self.pending:
                break
            await self.wait(self.read_wait, deadline, 0)
        server = self.pending.popleft()
        server.flags |= flags
        self.room_wait.wake(1)
        if self.pending:
            self.read_wait.wake(1)
        return server

    def shutdown(self, how: int) -> None:
        if not 0 <= how <= 2:
            raise EINVAL
        bits = how + 1
        self._go_down(bits)
        if self.connected_type and self.peer is not None:
            self.peer._go_down(bits >> 1 & 1 | bits << 1 & 2)

    def _go_down(self, bits: int) -> None:
        self.down |= bits
        for queue in (self.read_wait, self.write_wait, self.room_wait):
            queue.wake_all()
        self.poll_wait.wake_all(_CHANGED)

    def release(self) -> None:
        self.dead = True
        if self.address[:1] == b"\0":
            self.net.abstract.pop(self.address, None)
        if self.bound_inode is not None:
            self.bound_inode.special = None
            self.bound_inode = None
        had_data = bool(self.queue_bytes) or len(self.queue) > 1 or bool(self.pending)
        peer = self.peer
        if self.connected_type and peer is not None:
            if had_data:
                peer.error = ECONNRESET
            peer._go_down(_BOTH)
        elif peer is not None:
            self._join(None)
        self._go_down(_BOTH)
        for connector in list(self.connectors):
            connector.poll_wait.wake_all(_CHANGED)
        self.purge()
        for server in self.pending:
            assert server.peer is not None
            server.peer.error = ECONNRESET
            server.put()
        self.pending.clear()
        self.backlog = -1
        if self.net.in_flight:
            from pysc.sentry.net.unix_gc import collect

            collect(self.net)

    def purge(self) -> None:
        """Drop all that waits to be received."""
        while self.queue:
            packet = self._take()
            for file in packet.files:
                self.drop_in_flight(file)

    # Queues
    def _post(self, packet: Packet) -> None:
        """Put a packet into this socket's queue."""
        self.queue.append(packet)
        self.queue_bytes += len(packet.data)
        packet.sender.charged += packet.cost
        self.read_wait.wake(1)
        self.poll_wait.wake_all(IN)

    def _take(self) -> Packet:
        """Take the first packet out, and give its sender the room back."""
        was_full = self._full
        packet = self.queue.popleft()
        self.queue_bytes -= packet.left
        sender = packet.sender
        sender.charged -= packet.cost
        if sender.charged * 4 <= sender.sndbuf:
            sender.write_wait.wake_all()
            sender.poll_wait.wake_all(OUT)
        if was_full and not self._full:
            self.room_wait.wake_all()
            for connector in self.connectors:
                connector.poll_wait.wake_all(OUT)
        if self.queue:
            self.read_wait.wake(1)
        return packet

    @property
    def _full(self) -> bool:
        return not self.connected_type and len(self.queue) > MAX_DGRAM_QUEUE

    def drop_in_flight(self, file: FileDescription) -> None:
        """Give up a message's reference to a file."""
        self._landed(file)
        file.put()

    def _landed(self, file: FileDescription) -> None:
        if isinstance(file, UnixSocket):
            count = self.net.in_flight[file] - 1
            if count:
                self.net.in_flight[file] = count
            else:
                del self.net.in_flight[file]

    def _launch(self, files: tuple[FileDescription, ...]) -> None:
        for file in files:
            if isinstance(file, UnixSocket):
                self.net.in_flight[file] = self.net.in_flight.get(file, 0) + 1

    # Sending
    async def send(self, task: Task, message: Message, flags: int) -> int:
        files, message.files = message.files, ()
        try:
            if flags & abi.MSG_OOB:
                raise EOPNOTSUPP
            credentials = message.credentials or PeerCredentials.of(task)
            if self.type == abi.SOCK_STREAM:
                sent = await self._send_stream(task, message, files, credentials, flags)
            else:
                sent = await self._send_packet(task, message, files, credentials, flags)
        except BaseException:
            for file in files:
                file.put()
            raise
        return sent

    async def _send_stream(
        self,
        task: Task,
        message: Message,
        files: tuple[FileDescription, ...],
        credentials: PeerCredentials,
        flags: int,
    ) -> int:
        if message.address is not None:
            raise EISCONN if self.peer is not None else EOPNOTSUPP
        data, done = memoryview(message.data), 0
        deadline = self.send_deadline(task)
        try:
            if self.peer is None:
                raise ENOTCONN
            if self.down & 2:
                raise EPIPE
            while done < len(data):
                self.raise_error_for_send()
                peer = self.peer
                if self.down & 2 or peer.dead or peer.down & 1:
                    raise EPIPE
                if self.charged >= self.sndbuf:
                    await self.wait(self.write_wait, deadline, flags)
                    continue
                chunk = data[done : done + min(STREAM_CHUNK, max(self.sndbuf // 2, 1))]
                peer._append(self, chunk, files, credentials)
                if files:
                    self._launch(files)
                    files = ()
                done += len(chunk)
        except (LinuxError, Interrupted) as error:
            if done:
                return done
            if isinstance(error, EPIPE) and not flags & abi.MSG_NOSIGNAL:
                broken_pipe(task)
            raise
        return done

    def raise_error_for_send(self) -> None:
        """Linux looks at the pending error before it sends, too; a reset of the peer's is EPIPE then."""
        if self.error is not None and self.error is not ECONNRESET:
            self.raise_error()

    def _append(
        self,
        sender: UnixSocket,
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
        self._post(Packet(sender, owned, files, credentials))

    async def _send_packet(
        self,
        task: Task,
        message: Message,
        files: tuple[FileDescription, ...],
        credentials: PeerCredentials,
        flags: int,
    ) -> int:
        data = message.data
        deadline = self.send_deadline(task)
        named: UnixSocket | None = None
        if self.connected_type:
            if self.peer is None:
                raise ENOTCONN
        elif message.address is not None:
            self.auto_bind()
            named = await find(task, self, normalize(message.address))
        if len(data) > self.sndbuf - 32:
            raise EMSGSIZE
        while True:
            self.raise_error()
            if self.down & 2:
                raise EPIPE
            target = named or self.peer
            if target is None:
                raise ENOTCONN
            if not self.connected_type:
                if target.dead:
                    if named is None:
                        self._join(None)
                        self.purge()
                    raise ECONNREFUSED
                if not self._may_send(target):
                    raise EPERM
            if target.dead or target.down & 1:
                raise EPIPE
            if self.charged >= self.sndbuf:
                await self.wait(self.write_wait, deadline, flags)
            elif target._full and target.peer is not self:
                await self.wait(target.room_wait, deadline, flags)
            else:
                break
        target._post(Packet(self, bytes(data), files, credentials))
        self._launch(files)
        return len(data)

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
        wanted = size if flags & abi.MSG_WAITALL else min(self.rcvlowat, size)
        received = Received()
        parts: list[bytes] = []
        deadline = self.receive_deadline(task)
        peek = bool(flags & abi.MSG_PEEK)
        skip = self.peek_offset if peek and self.peek_offset > 0 else 0
        while True:
            if peek:
                glued = self._peek_stream(received, parts, size, skip)
            else:
                glued = self._read_stream(received, parts, size)
            if received.length >= wanted or not glued or received.length >= size:
                break
            try:
                if not received.length:
                    self.raise_error()
                if self.down & 1 or self.dead:
                    break
                await self.wait(self.read_wait, deadline, flags)
            except (LinuxError, Interrupted):
                if received.length and not peek:
                    break
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
        """Take bytes while they are of the same sender and come with no files; false where they do not go on."""
        while self.queue and received.length < size:
            packet = self.queue[0]
            if received.credentials is not None and (packet.files or packet.credentials != received.credentials):
                return False
            received.credentials = packet.credentials
            received.address = sockaddr(packet.address)
            part = bytes(memoryview(packet.data)[packet.start : packet.start + size - received.length])
            parts.append(part)
            received.length += len(part)
            if packet.files:
                received.files, packet.files = packet.files, ()
                for file in received.files:
                    self._landed(file)
                self._advance(packet, len(part))
                return False
            self._advance(packet, len(part))
        return True

    def _advance(self, packet: Packet, size: int) -> None:
        if size == packet.left:
            self._take()
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
            if received.credentials is not None and (packet.files or packet.credentials != received.credentials):
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
        if self.connected_type:
            received.flags |= abi.MSG_EOR
        if peek:
            for file in packet.files:
                file.get()
        else:
            self._take()
            for file in packet.files:
                self._landed(file)
        return received

    # Readiness and the rest
    def poll(self) -> int:
        events = 0
        if self.error is not None:
            events |= POLLERR
        if self.down == _BOTH:
            events |= POLLHUP
        if self.down & 1:
            events |= POLLRDHUP | IN
        if self.queue or self.pending:
            events |= IN
        if self.connected_type and self.peer is None and not self.listening:
            events |= POLLHUP
        if not self.listening and self.charged * 4 <= self.sndbuf:
            peer = self.peer
            if self.connected_type or peer is None or peer.peer is self or not peer._full:
                events |= OUT | POLLWRBAND
        return events

    def readable_bytes(self) -> int:
        """Return what FIONREAD shows.  EINVAL for a listener."""
        if self.listening:
            raise EINVAL
        if self.type == abi.SOCK_STREAM:
            return self.queue_bytes
        return len(self.queue[0].data) if self.queue else 0

    def unsent_bytes(self) -> int:
        return self.charged
