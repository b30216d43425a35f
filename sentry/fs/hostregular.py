"""Regular files of the host (hostfs.py): their descriptors, and how bytes are moved."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import ENFILE, ENOENT, EOPNOTSUPP, ESTALE, LinuxError, answered_by_host
from pysc.cabi.linux.stat import S_IFREG
from pysc.sentry.fs.data import Data
from pysc.sentry.fs.hostinode import GONE, AskAttributes, HostInode, as_request
from pysc.sentry.fs.inode import Changes
from pysc.sentry.fs.superblock import DATA, NAMES
from pysc.sentry.hostfds import NONE, HostFd
from pysc.urpc.fds import FileFd
from pysc.urpc.schema import gofer

if TYPE_CHECKING:
    from pysc.sentry.fs.hostfs import HostFilesystem
    from pysc.sentry.kernel.workers import WorkerClient

R = TypeVar("R")
T = TypeVar("T")


class HostRegular(HostInode):
    """A regular file.

    Invariant: ``users`` descriptions have it open, ``writers`` of them for writing.  While ``write_fd`` is open it
    serves reads, too: on overlayfs a descriptor from before the first open for writing shows the old file.
    ``read_fd`` is the gofer's if ``_changeable``: what the sentry opens below the tree is of a read-only mount, by
    which the host lets nobody change anything.
    """

    __slots__ = ("_busy", "_changeable", "_data", "_refuses", "_replaced", "read_fd", "users", "write_fd", "writers")

    def __init__(self, fs: HostFilesystem, attributes: HostAttributes) -> None:
        super().__init__(fs, attributes)
        self._data = Data()
        self._data.c.super = self.superblock.number
        if fs.revalidates:
            self._data.distrust()
        self._refuses = False  # RWF_NOWAIT, as does all that has no disk, and overlayfs
        self.read_fd = NONE
        self.write_fd = NONE
        self._changeable = False
        self.users = 0
        self.writers = 0
        self._busy = 0
        self._replaced: list[HostFd] = []
        """Descriptors that nobody uses any more but ``_busy`` calls of workers, maybe."""

    def __del__(self) -> None:
        self.close_idle()

    def close_idle(self) -> None:
        """Close the descriptors if nobody uses them."""
        if not self.users:
            for fd in (self.read_fd, self.write_fd):
                if fd >= 0:
                    self.fs.tree.close(fd, self.superblock, last=not self.places)
            self.read_fd = self.write_fd = NONE
            self._data.set_host(-1)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in ("host", "stale") and (data := getattr(self, "_data", None)) is not None:
            data.touch()

    def data(self) -> Data:
        return self._data

    def rebuild(self) -> None:
        """Let fast paths read by the descriptors of this process (pysc.sentry.state)."""
        if self.fd >= 0:
            self._data.set_host(self.fd, self.fd if self.write_fd < 0 else NONE)

    def adopt(self, created: int) -> None:
        """Take over the descriptor that came with its creation.  ENFILE."""
        fd = self._own(self.fs.tree.hold(created, self.host, writable=True))
        if self.write_fd >= 0:
            self._replace(self.write_fd)
        self.write_fd = fd
        self._data.set_host(fd)
        self.fs.keep_idle(self)

    async def open_data(self, write: bool) -> None:
        self.users += 1
        self.writers += write
        self.fs.idle.pop(self, None)
        try:
            try:
                await self._open_data(write)
            except ENFILE:
                if not self.fs.close_idle():
                    raise
                await self._open_data(write)
        except BaseException as error:
            self.close_data(write)
            if self.fs.revalidates and isinstance(error, ENOENT):
                raise ESTALE from None  # it was there just now: who walks again finds another, or may make it
            raise

    async def _open_data(self, write: bool) -> None:
        if write and self.write_fd < 0:
            self._set_write_fd(await self._open_by_gofer(write=True))
        elif self.write_fd < 0 and self.read_fd < 0:
            await self._open_reader()

    def adopt_reader(self, opened: int) -> None:
        fd = self.fs.tree.hold(opened, self.host)
        self.users += 1
        self.fs.idle.pop(self, None)
        if self.fd >= 0:
            self.fs.tree.close(fd, self.superblock)
        else:
            self._set_read_fd(fd)

    async def _open_reader(self) -> None:
        if self.superblock.is_slow(NAMES):
            await self._by_worker(self._read_by_new())
        else:
            await self._read_by_new()

    async def _read_by_new(self) -> None:
        self._set_read_fd(self._own(await self.fs.tree.open_read(self.path(), self.host, self.superblock)))

    async def _open_by_gofer(self, *, write: bool) -> HostFd:
        return self._own(await self.fs.tree.open_by_gofer(self.path(), self.host, write=write))

    async def before_removal(self) -> None:
        # Who has it open may change it without a name, too, or map what they may only read; if that cannot be had, they
        # hear of it when they try.
        if not self.users or len(self.places) > 1:
            return
        with suppress(LinuxError):
            if self.write_fd < 0 and not self._changeable:
                await self._with_hold(self._read_by_changeable())
            elif self.write_fd >= 0 and self.read_fd < 0 and self.users > self.writers:
                await self._open_reader()

    async def _read_by_changeable(self) -> None:
        fd = await self._open_by_gofer(write=False)
        if self.write_fd >= 0:
            self.fs.tree.close(fd, self.superblock)
            return
        if self.read_fd >= 0:
            self._replace(self.read_fd)
        self.read_fd = fd
        self._changeable = True
        self._data.set_host(fd, fd)

    def lost(self) -> None:
        if not self.places and not self.users:
            self.fs.idle.pop(self, None)
            self.close_idle()

    def _own(self, fd: HostFd) -> HostFd:
        """Return a descriptor that was opened by a name of this file's; else it is closed.

        ESTALE: it is no regular file's, or where others may change names another file's.
        """
        dev, ino, kind = host.identity_and_kind(fd)
        if kind != S_IFREG or (self.fs.revalidates and (dev, ino) != (self.host.dev, self.host.ino)):
            self.fs.tree.close(fd, self.superblock)
            raise ESTALE
        return fd

    def _workers(self, *, always: bool = False) -> WorkerClient | None:
        """Return who shall make calls on the data, if they may take long."""
        return self.fs.tree.workers if always or self.superblock.is_slow(DATA) else None

    async def _by_worker(self, calls: Coroutine[Any, Any, T]) -> T:
        """Await what uses descriptors of this file, which stay open as long as that goes on."""
        workers = self.fs.tree.workers
        return await (self._with_hold(calls) if workers is None else workers.killably(self._with_hold(calls)))

    async def _with_hold(self, calls: Coroutine[Any, Any, T]) -> T:
        self.users += 1
        self._busy += 1
        try:
            return await calls
        finally:
            self._busy -= 1
            while self._replaced and not self._busy:
                self.fs.tree.close(self._replaced.pop(), self.superblock)
            self.close_data(False)

    def _replace(self, fd: HostFd) -> None:
        if self._busy:
            self._replaced.append(fd)
        else:
            self.fs.tree.close(fd, self.superblock)

    def _set_write_fd(self, fd: HostFd) -> None:
        if self.write_fd >= 0:
            self.fs.tree.close(fd, self.superblock)
            return
        self.write_fd = fd
        self._data.set_host(fd)
        if self.read_fd >= 0:
            self._replace(self.read_fd)
            self.read_fd = NONE

    def _set_read_fd(self, fd: HostFd) -> None:
        if self.read_fd >= 0:
            self.fs.tree.close(fd, self.superblock)
        else:
            self.read_fd = fd
            self._changeable = self.fs.tree.fd < 0
            self._data.set_host(self.fd, fd)

    def close_data(self, write: bool) -> None:
        self.users -= 1
        self.writers -= write
        if self.users:
            return
        if self.places:
            self.fs.keep_idle(self)
        else:
            self.close_idle()

    @property
    def fd(self) -> HostFd:
        """The descriptor to read by."""
        return self.write_fd if self.write_fd >= 0 else self.read_fd

    @property
    def has_names(self) -> bool:
        return super().has_names or self.fd >= 0

    async def refresh(self) -> None:
        belongs = await self._belongs() if self.fs.tree.maps_owners else None
        if self.fd < 0:
            await super().refresh()
            return
        workers = self.fs.tree.workers if self.superblock.remote else None
        if workers is not None:
            found = await self._by_worker(workers.stat(self.fd, lane=self.superblock.lane))
        else:
            with answered_by_host():
                found = host.stat_at(self.fd)
        if belongs is not None:
            found = replace(found, mode=belongs.mode, uid=belongs.uid, gid=belongs.gid)
        self.update(found)

    async def _belongs(self) -> HostAttributes:
        """Return attributes with the owner and mode that only the gofer knows."""
        if self.fs.revalidates and self.places and self.fd >= 0:
            try:
                there = await self.fs.tree.stat(self.path(), self.superblock)
            except LinuxError:
                return self.host  # it has lost its name on the host
            if (there.dev, there.ino) == (self.host.dev, self.host.ino):
                return there
        return self.host

    async def size(self) -> int:
        if self.stale or self.fs.revalidates:
            await self.refresh()
        return self.host.size

    async def read_at(self, size: int, offset: int) -> bytes:
        # Where the host does not refuse to tell, it has told that this waits.
        workers = self._workers(always=not self._refuses)
        if workers is not None:
            return await self._by_worker(workers.pread(self.fd, size, offset, lane=self.superblock.lane))
        with answered_by_host():
            return self.superblock.inline(DATA, os.pread, self.fd, size, offset)

    def read_nowait(self, size: int, offset: int) -> bytes | None:
        if self._refuses:
            return None
        buffer = bytearray(size)
        try:
            count = os.preadv(self.fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            self._refuses = error.errno == EOPNOTSUPP.errno
            return None
        if count < size and (self.superblock.remote or (count and offset + count < os.fstat(self.fd).st_size)):
            return None  # the rest is on the disk, or may be at the server
        return bytes(buffer) if count == size else bytes(memoryview(buffer)[:count])

    async def write_at(self, data: bytes, offset: int | None) -> tuple[int, int]:
        self.stale = True
        workers = self._workers()
        if workers is not None:
            return await self._by_worker(self._write(workers, data, offset))
        with answered_by_host():
            if offset is not None:
                written = self.superblock.inline(DATA, os.pwrite, self.write_fd, data, offset)
                return written, offset + written
            written = self.superblock.inline(DATA, os.pwritev, self.write_fd, [data], 0, os.RWF_APPEND)
            return written, os.fstat(self.write_fd).st_size

    async def _write(self, workers: WorkerClient, data: bytes, offset: int | None) -> tuple[int, int]:
        lane = self.superblock.lane
        try:
            if offset is not None:
                written = await workers.pwrite(self.write_fd, data, offset, lane=lane)
                return written, offset + written
            written = await workers.pwrite(self.write_fd, data, 0, os.RWF_APPEND, lane=lane)
            return written, (await workers.stat(self.write_fd, lane=lane)).size
        finally:
            self.stale = True  # somebody may have asked meanwhile

    @property
    def _fd_to_change(self) -> HostFd:
        """By which the file can be changed without a name."""
        return self.write_fd if self.write_fd >= 0 or not self._changeable else self.read_fd

    async def ask_attributes(self, ask: AskAttributes[R], *, write: bool) -> R:
        try:
            return await super().ask_attributes(ask, write=write)
        except GONE:
            fd = self._fd_to_change if write else self.fd
            if fd < 0:
                raise
            request = ask(self.fs.tree.file(b"", self.host), FileFd.lend(fd))
            return await self._with_hold(self.fs.tree.call(request))

    async def set_attributes(self, changes: Changes) -> None:
        fd = self._fd_to_change
        if self.places or fd < 0:
            try:
                await super().set_attributes(changes)
            except GONE:  # the host has moved or replaced it
                if fd < 0 or (changes.size is not None and self.write_fd < 0):
                    raise
            else:
                return
        request = gofer.SetOpenAttributes(self.fs.tree.mount, FileFd.lend(fd), as_request(changes))
        self.made(await self._with_hold(self.fs.tree.call(request)))

    async def seek_data(self, offset: int, hole: bool) -> int:
        whence = os.SEEK_HOLE if hole else os.SEEK_DATA
        workers = self._workers()
        if workers is not None:
            return await self._by_worker(workers.seek(self.fd, offset, whence, lane=self.superblock.lane))
        with answered_by_host():
            return self.superblock.inline(DATA, os.lseek, self.fd, offset, whence)

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        if self.write_fd < 0:
            raise EOPNOTSUPP
        request = gofer.Allocate(self.fs.tree.mount, FileFd.lend(self.write_fd), mode, offset, length)
        await self.fs.tree.call(request)
        self.stale = True

    async def sync(self, data_only: bool) -> None:
        if self.write_fd >= 0:
            await self._by_worker(self.fs.tree.sync(self.write_fd, data_only, self.superblock))

    async def mapping_fd(self, write: bool) -> HostFd:
        if write:
            self.stale = True
            return self.write_fd
        if self.read_fd < 0:
            await self._open_reader()
        return self.read_fd
