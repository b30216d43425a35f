"""What goes through a socket in one call, apart from where it is in the guest's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task


class PeerCredentials(msgspec.Struct, frozen=True, gc=False):
    """struct ucred: who is, or was, at the other end."""

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @classmethod
    def of(cls, task: Task) -> PeerCredentials:
        """Return those of a task now."""
        creds = task.creds
        return cls(task.group.tgid, creds.euid, creds.egid, creds.groups)


class Message(msgspec.Struct):
    """What is sent.  ``files`` carry a reference each, which whoever takes the message owns."""

    data: bytes | memoryview
    address: bytes | None = None
    """A sockaddr."""
    files: tuple[FileDescription, ...] = ()
    credentials: PeerCredentials | None = None


class Received(msgspec.Struct):
    """What was received.  ``files`` carry a reference each."""

    data: bytes = b""
    length: int = 0
    """How long the datagram was, which ``data`` may be a part of."""
    address: bytes | None = None
    files: tuple[FileDescription, ...] = ()
    credentials: PeerCredentials | None = None
    flags: int = 0
    """MSG_TRUNC …"""

    def drop_files(self) -> None:
        """Give up the references."""
        files, self.files = self.files, ()
        for file in files:
            file.put()
