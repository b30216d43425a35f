"""One mount of the gofer's, as the sentry reaches it: reading below a donated tree, everything else by request.

Without a tree (``--file-access-direct=off``), and where the tree answers EACCES, reading is a request, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EACCES, EIO, EROFS, LinuxError, answered_by_host, linux_error
from pysc.sentry.fs.inode import Entry
from pysc.sentry.kernel.scheduler import yield_now
from pysc.urpc.fds import FileFd
from pysc.urpc.schema import gofer

if TYPE_CHECKING:
    from pysc.sentry.kernel.workers import WorkerClient
    from pysc.urpc.message import Request

R = TypeVar("R")
LIST_BYTES: Final = 32 << 10


def listing(fd: int) -> Iterator[list[Entry]]:
    """Return the entries of an open directory (borrowed) of the host's, part by part: each takes some time.

    They are without attributes, which can be had later for little.
    """
    cookie, end = 0, False
    while not end:
        with answered_by_host():
            part, cookie, end = host.list_directory(fd, cookie, LIST_BYTES)
        yield as_entries(part)


def as_entries(found: Iterable[host.Entry]) -> list[Entry]:
    """Return what was found in a directory as getdents64(2) shows it."""
    return [Entry(entry.name, entry.ino, entry.type << 12) for entry in found]


class Caller(Protocol):
    """What :class:`pysc.urpc.loop.Client` is to us."""

    async def call(self, request: Request[R]) -> R:
        """Ask the gofer; its errors are raised."""


class Tree:
    """A mount: its number at the gofer, the tree (-1: none; owned), and the gofer (None: nothing can be changed)."""

    __slots__ = ("_client", "_workers", "base", "fd", "maps_owners", "mount")

    def __init__(self, mount: int, fd: int, client: Caller | None, workers: WorkerClient | None = None) -> None:
        self.mount = mount
        self.fd = fd
        self.base = b""
        """The root's path in the tree: not empty if the mount is a single file."""
        self.maps_owners = False
        """Owners and modes are the gofer's to tell: the host's inodes have others."""
        self._client = client
        self._workers = workers

    async def attach(self) -> tuple[HostAttributes, bool]:
        """Return the root's attributes, and whether the gofer lets nothing be changed."""
        if self._client is None:
            return await self.stat(b""), True
        attached = await self._client.call(gofer.Attach(self.mount))
        self.base = attached.path
        self.maps_owners = attached.maps_owners
        return HostAttributes.unpack_from(attached.root), attached.readonly

    async def call(self, request: Request[R]) -> R:
        """Ask the gofer.  EROFS without one."""
        if self._client is None:
            raise EROFS
        return await self._client.call(request)

    def file(self, path: bytes, attributes: HostAttributes | None = None) -> gofer.File:
        """Name a file to the gofer, with what is expected there."""
        if attributes is None:
            return gofer.File(self.mount, path)
        return gofer.File(self.mount, path, attributes.dev, attributes.ino)

    def _refused(self, error: OSError) -> LinuxError | None:
        """Return the guest's error; None if the gofer is to be asked."""
        if error.errno == EACCES.errno and self._client is not None:
            return None
        return linux_error(error.errno or EIO.errno)

    async def stat(self, path: bytes) -> HostAttributes:
        """Return the attributes of what is there, no link followed."""
        if self.fd >= 0:
            try:
                return host.stat_at(self.fd, path)
            except OSError as error:
                refusal = self._refused(error)
                if refusal is not None:
                    raise refusal from None
        if path == self.base:
            return (await self.attach())[0]
        parent, _slash, name = path.rpartition(b"/")
        walked = await self.call(gofer.Walk(gofer.File(self.mount, parent), [name]))
        if not walked.attributes:
            raise linux_error(walked.errno or EIO.errno)
        return HostAttributes.unpack_from(walked.attributes[0])

    async def read_link(self, path: bytes, attributes: HostAttributes) -> bytes:
        """Return the text of a link."""
        if self.fd >= 0:
            try:
                return host.read_link_at(self.fd, path)
            except OSError as error:
                refusal = self._refused(error)
                if refusal is not None:
                    raise refusal from None
        return (await self.call(gofer.ReadLink(self.file(path, attributes)))).target

    async def open_read(self, path: bytes, attributes: HostAttributes) -> int:
        """Open a regular file or a directory for reading; the caller owns the descriptor."""
        if self.fd >= 0:
            try:
                return host.open_read_at(self.fd, path, os.O_NONBLOCK)
            except OSError as error:
                refusal = self._refused(error)
                if refusal is not None:
                    raise refusal from None
        return (await self.call(gofer.Open(self.file(path, attributes), os.O_RDONLY))).file.take()

    async def open_write(self, path: bytes, attributes: HostAttributes) -> int:
        """Open a regular file for reading and writing; the caller owns the descriptor."""
        return (await self.call(gofer.Open(self.file(path, attributes), os.O_RDWR))).file.take()

    async def list(self, path: bytes, attributes: HostAttributes) -> list[Entry]:
        """Return all entries of a directory."""
        entries: list[Entry] = []
        if self.fd >= 0:
            try:
                fd = host.open_read_at(self.fd, path, os.O_DIRECTORY | os.O_NONBLOCK)
            except OSError as error:
                refusal = self._refused(error)
                if refusal is not None:
                    raise refusal from None
            else:
                try:
                    for part in listing(fd):
                        if entries:
                            await yield_now()
                        entries += part
                finally:
                    os.close(fd)
                return entries
        cookie, end = 0, False
        while not end:
            listed = await self.call(gofer.ListDirectory(self.file(path, attributes), cookie))
            with answered_by_host():
                entries += as_entries(host.parse_listing_untrusted(listed.records))
            cookie, end = listed.cookie, listed.end
        return entries

    async def warm(self, fd: int, size: int, offset: int) -> None:
        """Have a worker read, so that the bytes are in the host's cache; what fails will fail again."""
        if self._workers is not None:
            try:
                await self._workers.pread(fd, size, offset)
            except LinuxError:
                pass

    async def sync(self, fd: int, data_only: bool) -> None:
        """fsync(2) of an open file, on a worker: it may take seconds, in which the gofer has other things to do."""
        if self._workers is not None:
            await self._workers.fsync(fd, data_only=data_only)
        else:
            await self.call(gofer.Sync(self.mount, FileFd.lend(fd), data_only))

    async def statistics(self, attributes: HostAttributes) -> gofer.FileSystem:
        """statfs(2) of the root."""
        if self.fd >= 0:
            with answered_by_host():
                return gofer.FileSystem(*host.statfs(self.fd))
        return await self.call(gofer.StatFs(self.file(self.base, attributes)))
