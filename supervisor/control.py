"""The supervisor's socket in the state directory, and how other commands use it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final, TypeVar

from pysc.cabi.linux.errors import LinuxError
from pysc.supervisor.failure import Failure
from pysc.supervisor.peer import Loop, Peer
from pysc.urpc.blocking import Client, Disconnected
from pysc.urpc.codec import Asked
from pysc.urpc.message import Request
from pysc.urpc.schema import supervisor as protocol

R = TypeVar("R")
BACKLOG: Final = 16
ANSWER_SECONDS: Final = 10
END_ANSWER_SECONDS: Final = 2
"""Who is asked to end, and is frozen or silent, is ended by force: ``delete --force`` has five seconds in a shim."""
_CREDENTIALS: Final = struct.Struct("iII")


class Control:
    """Listens, and hands each request to a callback, which answers by :meth:`answer` at any later time."""

    def __init__(self, loop: Loop, path: str, on_request: Callable[[Control, Asked], None]) -> None:
        """Bind the socket.

        Raises:
            Failure: it cannot be bound.
        """
        self._loop = loop
        self._on_request = on_request
        self._owners: dict[int, Peer] = {}
        directory, self._name = os.path.split(path)
        self._directory = -1
        """The path may be another container's, of the same id, by the time that this one has ended."""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._directory = os.open(directory, os.O_PATH | os.O_CLOEXEC)
            # sun_path holds 108 bytes; the state directory may be deeper than that.
            self._sock.bind(f"/proc/self/fd/{self._directory}/{self._name}")
            os.chmod(self._name, 0o600, dir_fd=self._directory)
            self._sock.listen(BACKLOG)
        except OSError as error:
            self._sock.close()
            if self._directory >= 0:
                os.close(self._directory)
            raise Failure(f"cannot make the socket {path}: {error.strerror}") from None
        self._sock.setblocking(False)
        loop.watch(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return
        _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid not in (0, os.geteuid()):
            sock.close()
            return
        peer = Peer(
            self._loop,
            sock,
            protocol.COMMANDS,
            serves=True,
            build=protocol.VERSION,
            on_request=self._asked,
            on_end=lambda: None,
        )
        assert peer.open

    def _asked(self, peer: Peer, asked: Asked) -> None:
        self._owners[id(asked)] = peer
        self._on_request(self, asked)

    def answer(self, asked: Asked, value: object = None, error: LinuxError | None = None) -> None:
        """Answer a request; its asker may be gone."""
        peer = self._owners.pop(id(asked), None)
        if peer is not None:
            peer.answer(asked, value, error)

    def close(self) -> None:
        """Stop listening, and remove the socket."""
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        try:
            os.unlink(self._name, dir_fd=self._directory)
        except OSError:
            pass
        os.close(self._directory)


def ask(path: str, request: Request[R], seconds: int = ANSWER_SECONDS) -> R:
    """Ask the supervisor whose socket this is.

    Raises:
        LinuxError: its error reply.
        Disconnected: it is gone, or silent for ``seconds``.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    for timeout in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # a full backlog keeps connect(2) waiting, too
        sock.setsockopt(socket.SOL_SOCKET, timeout, struct.pack("ll", seconds, 0))
    try:
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
    except OSError as error:
        sock.close()
        raise Disconnected(error.strerror) from None
    client = Client(sock, protocol.COMMANDS, build=protocol.VERSION)
    try:
        return client.call(request)
    finally:
        client.close()
