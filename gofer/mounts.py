"""The trees that a gofer serves, and how a request's file is found in one.

Every resolution starts at a tree's root and is one openat2 (RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS): the host kernel
follows no link for us and leaves no tree.  What is found must have the dev:ino that the sentry expects, else ESTALE.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EACCES, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO, EROFS, ESTALE
from pysc.gofer import owners
from pysc.urpc.schema.gofer import File

DEVICES: Final = (stat.S_IFCHR, stat.S_IFBLK)
OTHER: Final = {
    stat.S_IFREG: (ELOOP.errno, ENOTDIR.errno, EISDIR.errno, ENXIO.errno),
    stat.S_IFDIR: (ELOOP.errno, ENOTDIR.errno),
}
"""By kind: what the host says of a path on which such a file was found, and another one is now."""


class ServedMount:
    """One tree: a directory descriptor (O_PATH, borrowed for the life of the process) and what may be done below it."""

    __slots__ = (
        "descriptors",
        "hidden",
        "host_ids",
        "id",
        "owners",
        "path",
        "readers",
        "readonly",
        "root",
        "sockets",
        "source",
    )

    def __init__(self, number: int, root: int, *, readonly: bool, path: bytes = b"", sockets: bool = False) -> None:
        self.id = number
        self.root = root
        self.readonly = readonly
        self.path = path
        """Of the mount's root below ``root``: not empty if that is a single file."""
        self.owners = owners.HOST
        """Where owners and modes are kept."""
        self.sockets = sockets
        """Whether host sockets may be connected to."""
        self.hidden: frozenset[int] = frozenset()
        """Mounts of the host below it that show its kernel: their roots are seen, what is in them is not."""
        self.host_ids = {host.stat_at(root).mnt_id}
        """Mounts of the host that the tree is made of, so far as they are known: a gofer's descriptors are of these."""
        self.readers: frozenset[int] = frozenset()
        """Those that the sentry's own tree is made of, which is read-only."""
        self.source = b""
        """Where it is on the host, if those mounts have other files, too: then that tells which are the tree's."""
        self.descriptors = -1
        """With ``source``: /proc/self/fd."""

    def has(self, fd: int, attributes: HostAttributes, *, reading: bool = False) -> bool:
        """Whether an open file, whose name may be gone, is one of the tree's; for ``reading``, or the sentry's."""
        mount = attributes.mnt_id
        if not mount or (mount not in self.host_ids and not (reading and mount in self.readers)):
            return False
        if not self.source:
            return True
        there = os.readlink(b"%d" % fd, dir_fd=self.descriptors)
        itself = self.source if attributes.nlink else self.source + b" (deleted)"
        return there == itself or there.startswith(self.source.rstrip(b"/") + b"/")


def own_descriptors() -> int:
    """Open the directory of this process's own descriptors, while there is a path to it."""
    return os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


class Place:
    """A found file: an O_PATH descriptor, closed by :func:`found`, and what it was when it was found."""

    __slots__ = ("attributes", "fd", "mount", "path")

    def __init__(self, mount: ServedMount, path: bytes, fd: int, attributes: HostAttributes) -> None:
        self.mount = mount
        self.path = path
        self.fd = fd
        self.attributes = attributes

    @property
    def kind(self) -> int:
        """S_IF*."""
        return stat.S_IFMT(self.attributes.mode)

    def show(self) -> bytes:
        """Return the packed attributes that it has now, as guests see them.  ESTALE: it lost its name."""
        return self.mount.owners.show_at(host.stat_packed_at(self.fd, b""), self.mount.root, self.path)

    def is_same(self, other: HostAttributes) -> bool:
        """Whether ``other`` is of this very file."""
        return (other.dev, other.ino) == (self.attributes.dev, self.attributes.ino)

    def reopen(self, flags: int) -> int:
        """Open the file itself, by its name: never a device.  ESTALE: another one has taken its name since.

        Non-blocking, so that no FIFO or lease holds us up.  The caller owns the descriptor.
        """
        if self.kind in DEVICES:
            raise EACCES("a device")
        try:
            fd = host.open_beneath(self.mount.root, self.path, flags | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if self.kind in OTHER and error.errno in OTHER[self.kind]:
                raise ESTALE from None
            raise
        if not self.is_same(host.stat_at(fd)):
            os.close(fd)
            raise ESTALE
        return fd


class Mounts:
    """All trees of a container, by number."""

    __slots__ = ("_mounts",)

    def __init__(self, mounts: Sequence[ServedMount]) -> None:
        self._mounts = {mount.id: mount for mount in mounts}

    def get(self, number: int) -> ServedMount:
        """Return a mount.  EINVAL: there is none."""
        mount = self._mounts.get(number)
        if mount is None:
            raise EINVAL("no such mount")
        return mount

    def writable(self, number: int) -> ServedMount:
        """Return a mount for something that mutates.  EROFS."""
        mount = self.get(number)
        if mount.readonly:
            raise EROFS
        return mount

    @contextmanager
    def found(self, file: File, flags: int = 0) -> Iterator[Place]:
        """Find a file; its descriptor is open for the time of the context."""
        mount = self.get(file.mount)
        if mount.path and file.path != mount.path:
            raise ENOENT("the mount is a file")
        fd = host.open_beneath(mount.root, file.path, flags | os.O_PATH)
        try:
            attributes = host.stat_at(fd)
            if (file.dev or file.ino) and (attributes.dev, attributes.ino) != (file.dev, file.ino):
                raise ESTALE
            if attributes.mnt_id in mount.hidden:
                raise EACCES("the host kernel's own file system")
            mount.host_ids.add(attributes.mnt_id)
            yield Place(mount, file.path, fd, attributes)
        finally:
            os.close(fd)

    @contextmanager
    def found_writable(self, file: File, flags: int = 0) -> Iterator[Place]:
        """As :meth:`found`, for something that mutates.  EROFS."""
        self.writable(file.mount)
        with self.found(file, flags) as place:
            yield place

    @contextmanager
    def directory(self, file: File) -> Iterator[Place]:
        """As :meth:`found`, of a directory.  ENOTDIR."""
        with self.found(file, os.O_DIRECTORY) as place:
            yield place

    @contextmanager
    def writable_directory(self, file: File) -> Iterator[Place]:
        """As :meth:`directory`, for something that mutates.  EROFS."""
        with self.found_writable(file, os.O_DIRECTORY) as place:
            yield place


def check_name(name: bytes) -> None:
    """Refuse what is no name of a directory entry.  EINVAL."""
    if name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise EINVAL("not a name")
