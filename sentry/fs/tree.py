"""One mount of the gofer's, as the sentry reaches it: reading below a donated tree, everything else by request.

Without a tree (``--file-access-direct=off``), and where the tree answers EACCES, reading is a request, too.  What may
wait is a worker's: see superblock.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from msgspec.structs import replace

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import (
    EACCES,
    EIO,
    ELOOP,
    EMFILE,
    ENAMETOOLONG,
    ENFILE,
    ENOTDIR,
    ENXIO,
    EROFS,
    ESTALE,
    LinuxError,
    answered_by_host,
    linux_error,
)
from pysc.sentry.fs.inode import Entry
from pysc.sentry.fs.superblock import NAMES, Superblock
from pysc.sentry.hostfds import Held, HostFd, Of, close, hold, let_go
from pysc.sentry.kernel.scheduler import yield_now
from pysc.urpc.fds import FileFd
from pysc.urpc.schema import gofer

if TYPE_CHECKING:
    from pysc.sentry.kernel.workers import WorkerClient
    from pysc.urpc.message import Request

R = TypeVar("R")
LIST_BYTES: Final = 32 << 10
MAX_ENTRIES: Final = 10_000_000
"""No directory of a gofer that can be believed has more."""
SMALL_FILE: Final = 1 << 20
OTHER: Final = frozenset({ELOOP.errno, ENOTDIR.errno, ENXIO.errno})
"""What the host says of a path on which is now a link, or a file, or a socket, where none was found just before."""


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
    """A mount: its number at the gofer, the tree (-1: none), and the gofer (None: nothing can be changed)."""

    __slots__ = ("_client", "base", "fd", "maps_owners", "mount", "workers")

    def __init__(self, mount: int, fd: HostFd, client: Caller | None, workers: WorkerClient | None = None) -> None:
        self.mount = mount
        self.fd = fd
        self.base = b""
        """The root's path in the tree: not empty if the mount is a single file."""
        self.maps_owners = False
        """Owners and modes are the gofer's to tell: the host's inodes have others."""
        self._client = client
        self.workers = workers
        """None: there are none (tests)."""

    async def attach(self) -> tuple[HostAttributes, bool]:
        """Return the root's attributes, and whether the gofer lets nothing be changed."""
        if self._client is None:
            return host.stat_at(self.fd), True
        attached = await self._client.call(gofer.Attach(self.mount))
        self.base = attached.path
        self.maps_owners = attached.maps_owners
        attributes = HostAttributes.unpack_from(attached.root)
        if self.fd >= 0:  # the mount's number is the tree's: see HostInode.seen()
            with answered_by_host():
                attributes = replace(attributes, mnt_id=host.stat_at(self.fd, self.base).mnt_id)
        return attributes, attached.readonly

    async def kind(self, path: bytes, attributes: HostAttributes) -> int:
        """Return the magic number of the file system there, as statfs(2) has it; 0 if nobody tells."""
        try:
            if self.fd >= 0:
                return await self.workers.look(self.fd, path) if self.workers is not None else host.statfs(self.fd)[0]
            return (await self.call(gofer.StatFs(self.file(path, attributes)))).magic
        except LinuxError:
            return 0

    def _waits(self, at: Superblock) -> WorkerClient | None:
        """Return who shall look at names, if that may take long."""
        return self.workers if at.is_slow(NAMES) else None

    async def call(self, request: Request[R]) -> R:
        """Ask the gofer.  EROFS without one; ESTALE: not what was found is on the path by now."""
        if self._client is None:
            raise EROFS
        try:
            return await self._client.call(request)
        except (ELOOP, ENOTDIR):
            raise ESTALE from None  # see OTHER

    def file(self, path: bytes, attributes: HostAttributes | None = None) -> gofer.File:
        """Name a file to the gofer, with what is expected there.  ENAMETOOLONG."""
        if len(path) > gofer.MAX_PATH:
            raise ENAMETOOLONG
        if attributes is None:
            return gofer.File(self.mount, path)
        return gofer.File(self.mount, path, attributes.dev, attributes.ino)

    def _refused(self, error: OSError | LinuxError) -> LinuxError | None:
        """Return the guest's error; None if the gofer is to be asked."""
        if error.errno == EACCES.errno and self._client is not None:
            return None
        if error.errno == EMFILE.errno:  # ours, not the guest's process's
            return ENFILE()
        if error.errno in OTHER:
            return ESTALE()
        return linux_error(error.errno or EIO.errno)

    async def stat(self, path: bytes, at: Superblock) -> HostAttributes:
        """Return the attributes of what is there, no link followed."""
        if self.fd >= 0:
            workers = self._waits(at)
            try:
                if workers is not None:
                    return await workers.killably(workers.stat(self.fd, path, lane=at.lane))
                return at.inline(NAMES, host.stat_at, self.fd, path)
            except (OSError, LinuxError) as error:
                refusal = self._refused(error)
                if refusal is not None:
                    raise refusal from None
        if path == self.base:
            return (await self.attach())[0]
        parent, _slash, name = path.rpartition(b"/")
        walked = await self.call(gofer.Walk(self.file(parent), [name]))
        if not walked.attributes:
            raise ESTALE() if walked.errno in OTHER else linux_error(walked.errno or EIO.errno)
        return HostAttributes.unpack_from(walked.attributes[0])

    async def read_link(self, path: bytes, attributes: HostAttributes, at: Superblock) -> bytes:
        """Return the text of a link."""
        if self.fd >= 0:
            workers = self._waits(at)
            try:
                if workers is not None:
                    return await workers.killably(workers.read_link(self.fd, path, lane=at.lane))
                return at.inline(NAMES, host.read_link_at, self.fd, path)
            except (OSError, LinuxError) as error:
                refusal = self._refused(error)
                if refusal is not None:
                    raise refusal from None
        return (await self.call(gofer.ReadLink(self.file(path, attributes)))).target

    def hold(self, fd: int, attributes: HostAttributes, *, writable: bool = False) -> HostFd:
        """Take a descriptor of a file on it over."""
        return hold(fd, Held(Of.FILE, self.mount, attributes.dev, attributes.ino, writable))

    async def open_read(self, path: bytes, attributes: HostAttributes, at: Superblock) -> HostFd:
        """Open a regular file or a directory for reading; the caller owns the descriptor, so it must not be killed."""
        fd = await self._open_here(path, os.O_NONBLOCK, attributes, at)
        if fd is not None:
            return fd
        return await self.open_by_gofer(path, attributes, write=False)

    async def _open_here(self, path: bytes, flags: int, attributes: HostAttributes, at: Superblock) -> HostFd | None:
        """Open below the tree; None: the gofer is to be asked."""
        if self.fd < 0:
            return None
        workers = self._waits(at)
        try:
            if workers is not None:
                return self.hold(await workers.open_read(self.fd, path, flags, lane=at.lane), attributes)
            return self.hold(at.inline(NAMES, host.open_read_at, self.fd, path, flags), attributes)
        except (OSError, LinuxError) as error:
            refusal = self._refused(error)
            if refusal is not None:
                raise refusal from None
            return None

    async def open_by_gofer(self, path: bytes, attributes: HostAttributes, *, write: bool) -> HostFd:
        """Open a file where it can be changed: for reading, and writing if asked; the caller owns the descriptor."""
        opened = await self.call(gofer.Open(self.file(path, attributes), os.O_RDWR if write else os.O_RDONLY))
        return self.hold(opened.file.take(), attributes, writable=write)

    async def entries(self, path: bytes, attributes: HostAttributes, at: Superblock) -> list[Entry]:
        """Return all entries of a directory."""
        workers = self._waits(at)
        listed = self._list_here(path, attributes, at)
        entries = await (listed if workers is None else workers.killably(listed))
        if entries is not None:
            return entries
        entries = []
        cookie, end = 0, False
        while not end:
            part = await self.call(gofer.ListDirectory(self.file(path, attributes), cookie))
            with answered_by_host():
                entries += as_entries(host.parse_listing_untrusted(part.records))
            cookie, end = part.cookie, part.end
            if not end and (not part.records or len(entries) > MAX_ENTRIES):
                raise EIO("a listing without an end")
        return entries

    async def _list_here(self, path: bytes, attributes: HostAttributes, at: Superblock) -> list[Entry] | None:
        """List below the tree; None: the gofer is to be asked.  ESTALE: another directory is there by now."""
        fd = await self._open_here(path, os.O_DIRECTORY | os.O_NONBLOCK, attributes, at)
        if fd is None:
            return None
        entries: list[Entry] = []
        cookie, end = 0, False
        try:
            if host.identity(fd) != (attributes.dev, attributes.ino):
                raise ESTALE
            while not end:
                workers = self._waits(at)
                with answered_by_host():
                    if workers is not None:
                        records, cookie, end = await workers.list(fd, cookie, LIST_BYTES, lane=at.lane)
                        entries += as_entries(host.parse_listing_untrusted(records))
                        continue
                    if entries:
                        await yield_now()
                    part, cookie, end = at.inline(NAMES, host.list_directory, fd, cookie, LIST_BYTES)
                    entries += as_entries(part)
        finally:
            self.close(fd, at)
        return entries

    def close(self, fd: HostFd, at: Superblock, *, last: bool = False) -> None:
        """Close a descriptor of a file on it; ``last``: that is the file's end, which takes long if it is large."""
        if self.workers is not None and (at.is_slow(NAMES) or (last and os.fstat(fd).st_size > SMALL_FILE)):
            self.workers.close(let_go(fd), lane=at.lane)
        else:
            close(fd)

    async def sync(self, fd: int, data_only: bool, at: Superblock) -> None:
        """fsync(2) of an open file, on a worker: it may take seconds, in which the gofer has other things to do."""
        if self.workers is not None:
            await self.workers.fsync(fd, data_only=data_only, lane=at.lane)
        else:
            await self.call(gofer.Sync(self.mount, FileFd.lend(fd), data_only))

    async def sync_directory(self, path: bytes, attributes: HostAttributes, data_only: bool, at: Superblock) -> None:
        """fsync(2) of a directory: the names in it are there after a crash."""
        synced = self._sync_directory(path, attributes, data_only, at)
        await (synced if self.workers is None else self.workers.killably(synced))

    async def _sync_directory(self, path: bytes, attributes: HostAttributes, data_only: bool, at: Superblock) -> None:
        fd = await self.open_read(path, attributes, at)
        try:
            await self.sync(fd, data_only, at)
        finally:
            self.close(fd, at)

    async def statistics(self, attributes: HostAttributes, at: Superblock) -> gofer.FileSystem:
        """statfs(2) of the root."""
        if self.fd >= 0:
            workers = self._waits(at)
            if workers is not None:
                return gofer.FileSystem(*await workers.killably(workers.statfs(self.fd, lane=at.lane)))
            with answered_by_host():
                return gofer.FileSystem(*at.inline(NAMES, host.statfs, self.fd))
        return await self.call(gofer.StatFs(self.file(self.base, attributes)))
