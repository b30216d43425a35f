"""devtmpfs: what /dev holds at the start; an ordinary tmpfs from then on."""

from __future__ import annotations

from typing import Final

from pysc.cabi.linux.stat import S_IFCHR, S_IFDIR, makedev
from pysc.sentry.fs.inode import Owner
from pysc.sentry.fs.memory_devices import MEM_MAJOR
from pysc.sentry.fs.memory_file import Budget
from pysc.sentry.fs.tmpfs import Tmpfs, TmpfsDirectory, TmpfsNode, TmpfsSymlink

ROOT: Final = Owner(0, 0)
TTY_GROUP: Final = 5

DEVICES: Final = (
    (b"full", MEM_MAJOR, 7, 0o666, ROOT),
    (b"null", MEM_MAJOR, 3, 0o666, ROOT),
    (b"random", MEM_MAJOR, 8, 0o666, ROOT),
    (b"tty", 5, 0, 0o666, Owner(0, TTY_GROUP)),
    (b"urandom", MEM_MAJOR, 9, 0o666, ROOT),
    (b"zero", MEM_MAJOR, 5, 0o666, ROOT),
)

LINKS: Final = (
    (b"core", b"/proc/kcore"),
    (b"fd", b"/proc/self/fd"),
    (b"ptmx", b"pts/ptmx"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
)

DIRECTORIES: Final = ((b"mqueue", 0o1777), (b"pts", 0o755), (b"shm", 0o1777))
"""Mount points."""


class Devtmpfs(Tmpfs):
    """A tmpfs with the usual devices in it."""

    __slots__ = ()

    name = b"devtmpfs"

    def __init__(self, parent: Budget | None = None, mode: int = 0o755) -> None:
        super().__init__(parent, mode=mode)
        populate(self)


def populate(fs: Tmpfs) -> None:
    """Add the devices, links and mount points that are missing to a file system that will be /dev."""
    root = fs.root
    for name, major, minor, mode, owner in DEVICES:
        if name not in root.children:
            root.insert(name, TmpfsNode(fs, S_IFCHR | mode, makedev(major, minor), owner))
    for name, target in LINKS:
        if name not in root.children:
            root.insert(name, TmpfsSymlink(fs, target, ROOT))
    for name, mode in DIRECTORIES:
        if name not in root.children:
            root.insert(name, TmpfsDirectory(fs, S_IFDIR | mode, ROOT))
