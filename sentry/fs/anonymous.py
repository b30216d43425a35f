"""Descriptions without a place in any mount: pipes, sockets, eventfds and their like."""

from __future__ import annotations

from itertools import count
from typing import ClassVar, Final

from pysc.cabi.linux.mount import ANON_INODE_FS_MAGIC
from pysc.sentry.fs import inode
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Attributes, Owner, anonymous_device

ROOT: Final = Owner(0, 0)

_DEVICE: Final = anonymous_device()
_numbers: Final = count(1)


def next_ino() -> int:
    """Return an inode number for a new object that fstat(2) tells apart from others."""
    return next(_numbers)


_SHARED_INO: Final = next_ino()


class AnonymousFile(FileDescription):
    """A description whose fstat(2) and /proc/PID/fd link say what it is.

    The types of anon_inodes share one inode and have no file type, as in Linux.
    """

    __slots__ = ("created", "ino", "owner")

    kind: ClassVar[bytes] = b"anon_inode:[none]"
    """What /proc/PID/fd shows; ``pipe`` and ``socket`` get their number added."""
    magic: ClassVar[int] = ANON_INODE_FS_MAGIC
    """The number of the file system that it is of (statfs(2))."""
    mode: ClassVar[int] = 0o600
    blksize: ClassVar[int] = 4096

    def __init__(self, flags: int, owner: Owner = ROOT, ino: int = _SHARED_INO) -> None:
        super().__init__(flags)
        self.ino = ino
        self.owner = owner
        self.created = inode.clock()

    @property
    def link(self) -> bytes:
        """The target of the link in /proc/PID/fd."""
        return self.kind if self.kind.endswith(b"]") else b"%s:[%d]" % (self.kind, self.ino)

    def identity(self) -> tuple[int, int]:
        return (self.ino, _DEVICE) if self.path is None else super().identity()

    async def attributes(self) -> Attributes:
        return Attributes(
            dev=_DEVICE,
            ino=self.ino,
            mode=self.mode,
            nlink=1,
            uid=self.owner.uid,
            gid=self.owner.gid,
            blksize=self.blksize,
            atime=self.created,
            mtime=self.created,
            ctime=self.created,
        )
