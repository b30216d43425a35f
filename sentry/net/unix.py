"""Sockets of the AF_UNIX family (unix(7)).

Here are names, connections and sending; the receiving half is unix_receive.py.  Both ends of a connection know each
other; an end that is closed is ``dead`` and its peer is told.
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
from pysc.sentry.kernel.scheduler import Interrupted
from pysc.sentry.net.message import Message, PeerCredentials
from pysc.sentry.net.socket import Socket
from pysc.sentry.net.unix_address import bind_name, find, normalize, sockaddr
from pysc.sentry.net.unix_receive import Packet, UnixReceiver

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.inode import Inode, Owner
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.net.namespace import NetNamespace

STREAM_CHUNK: Final = 1 << 16

_CHANGED: Final = IN | OUT | POLLHUP | POLLRDHUP | POLLERR
_BOTH: Final = 3
"""Both directions are shut down: bit 0 receiving, bit 1 sending."""


class UnixSocket(UnixReceiver):
    """One end.

    Invariant: ``peer`` of a stream or seqpacket socket is mutual while both live.
    """

    __slots__ = (
        "backlog",
        "bound_inode",
        "credentials",
        "peer_credentials",
        "pending",
    )

    peer: UnixSocket | None

    def __init__(self, net: NetNamespace, kind: int, flags: int = 0, owner: Owner = ROOT) -> None:
        super().__init__(net, kind, flags, owner)
        self.bound_inode: Inode | None = None
        self.credentials: PeerCredentials | None = None
        """Whoever called listen(2), connect(2) or socketpair(2)."""
        self.peer_credentials: PeerCredentials | None = None
        self.backlog = -1
        """What listen(2) said; -1: not listening."""
        self.pending: deque[UnixSocket] = deque()
        """Connections that nobody has accepted."""

    @property
    def listening(self) -> bool:
        return self.backlog >= 0

    # Names
    async def bind(self, task: Task, address: bytes) -> None:
        await bind_name(task, self, normalize(address))

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
        self.peer = None  # two ends that know each other would stay until a full collection
        if self.net.collects():
            from pysc.sentry.net.unix_gc import collect

            collect(self.net)

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
        except BaseException as error:
            if not (isinstance(error, Interrupted) and error.moved):  # they went with the first bytes
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
                peer.append(self, chunk, files, credentials)
                if files:
                    self.launch(files)
                    files = ()
                done += len(chunk)
        except Interrupted as interrupted:
            interrupted.moved = done
            raise
        except LinuxError as error:
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
            elif target.full and target.peer is not self:
                await self.wait(target.room_wait, deadline, flags)
            else:
                break
        target.post(Packet(self, bytes(data), files, credentials))
        self.launch(files)
        return len(data)

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
            if self.connected_type or peer is None or peer.peer is self or not peer.full:
                events |= OUT | POLLWRBAND
        return events
