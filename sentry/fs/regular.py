"""Open regular files, of every file system: the offset lives here, the bytes in the inode."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EACCES, EBADF, EFBIG, EINVAL, ENOENT, ENXIO, ESTALE, ETXTBSY, LinuxError
from pysc.cabi.linux.fcntl import (
    O_ACCMODE,
    O_APPEND,
    O_DSYNC,
    O_RDONLY,
    O_RDWR,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)
from pysc.cabi.linux.mman import PROT_WRITE
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Changes, clock
from pysc.sentry.fs.mutex import Mutex

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Attributes, Inode
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task

MAX_LFS_FILESIZE: Final = (1 << 63) - 1
MAP_SHARED_BIT: Final = 1
"""Set in MAP_SHARED and MAP_SHARED_VALIDATE, not in MAP_PRIVATE."""


class _Position(Mutex):
    """f_pos_lock: who has it moves the offset, and may wait meanwhile; fast paths leave that to Python then."""

    __slots__ = ("_c",)

    def __init__(self, c: Any) -> None:
        super().__init__()
        self._c = c

    async def __aenter__(self) -> None:
        await super().__aenter__()
        self._c.moving = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        self._c.moving = self.held


class RegularFile(FileDescription):
    """Invariant: :meth:`Inode.open_data` was awaited for it; release gives that back."""

    __slots__ = ("_claim", "_position", "created", "inode")

    def __init__(self, inode: Inode, flags: int, path: Path | None, index: int | None = None) -> None:
        super().__init__(flags, path, index)
        self.inode = inode
        self.created = False
        """Whether the file was made by this open (F_CREATED_QUERY)."""
        self._claim = 0
        self._position = _Position(self._c)
        data = inode.data()
        if data is not None:
            self.serve(lib.PYSC_FILE_REGULAR, data.index, data.generation)

    def release(self) -> None:
        self.inode.close_data(self.writable)
        self.inode.writecount -= self._claim

    def claim(self, writers: int) -> None:
        """Count among those who write (1), or who keep others from it (-1), until the release.

        ETXTBSY: there are such of the other kind; then the description, which has no reference yet, is released.
        """
        if self.inode.writecount * writers < 0:
            self.release()
            raise ETXTBSY
        self.inode.writecount += writers
        self._claim = writers

    async def _offer(self) -> None:
        """Fast paths ask for a descriptor that guests may read by: make it, or be asked no more."""
        data = self.inode.data()
        if data is None or data.c.offer != lib.PYSC_OFFER_WANTED:
            return
        data.c.offer = lib.PYSC_OFFER_DONE
        with suppress(LinuxError):
            await self.inode.mapping_fd(False)

    async def read(self, size: int) -> bytes:
        await self._offer()
        if not self._position.held:
            data = self.inode.read_nowait(size, self.offset)
            if data is not None:
                self.offset += len(data)
                return data
        async with self._position:
            offset = self.offset
            data = await self.inode.read_at(size, offset)
            self.offset = offset + len(data)
        return data

    async def write(self, data: bytes) -> int:
        return await self.write_as(data, None, append=bool(self.flags & O_APPEND))

    async def write_as(self, data: bytes, offset: int | None, *, append: bool) -> int:
        """Write at ``offset`` (None: the description's, which moves), or at the end whatever O_APPEND says."""
        if offset is not None:
            written, _end = await self.inode.write_at(data, None if append else offset)
        else:
            async with self._position:
                written, self.offset = await self.inode.write_at(data, None if append else self.offset)
        if self.flags & O_DSYNC:
            await self.inode.sync(True)
        return written

    async def pread(self, size: int, offset: int) -> bytes:
        await self._offer()
        data = self.inode.read_nowait(size, offset)
        if data is None:
            data = await self.inode.read_at(size, offset)
        return data

    async def pwrite(self, data: bytes, offset: int) -> int:
        return await self.write_as(data, offset, append=bool(self.flags & O_APPEND))

    async def seek(self, offset: int, whence: int) -> int:
        async with self._position:
            return await self._seek(offset, whence)

    async def _seek(self, offset: int, whence: int) -> int:
        if whence == SEEK_SET:
            position = offset
        elif whence == SEEK_CUR:
            position = self.offset + offset
        elif whence == SEEK_END:
            position = await self.inode.size() + offset
        elif whence in (SEEK_DATA, SEEK_HOLE):
            if offset < 0 or offset >= await self.inode.size():
                raise ENXIO
            position = await self.inode.seek_data(offset, whence == SEEK_HOLE)
        else:
            raise EINVAL
        if not 0 <= position <= MAX_LFS_FILESIZE:
            raise EINVAL
        self.offset = position
        return position

    async def attributes(self) -> Attributes:
        return await self.inode.attributes()

    async def truncate(self, size: int) -> None:
        await self.inode.set_attributes(Changes(size=size, mtime=clock()))

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        if offset + length > MAX_LFS_FILESIZE:
            raise EFBIG
        await self.inode.allocate(mode, offset, length)

    async def sync(self, data_only: bool) -> None:
        await self.inode.sync(data_only)

    async def mapping_fd(self, prot: int, flags: int) -> int:
        if self.flags & O_ACCMODE not in (O_RDONLY, O_RDWR):
            raise EACCES
        if flags & MAP_SHARED_BIT and prot & PROT_WRITE and not self.writable:
            raise EACCES
        write = self.writable and bool(flags & MAP_SHARED_BIT)
        try:
            return await self.inode.mapping_fd(write)
        except (ENOENT, ESTALE):  # it has no name any more by which it could be opened for reading only
            if write or not self.writable:
                raise
            return await self.inode.mapping_fd(True)


class PathFile(FileDescription):
    """What O_PATH opens: a place, and nothing can be done with it but naming it (open(2))."""

    __slots__ = ("inode",)

    is_place = True

    def __init__(self, inode: Inode, flags: int, path: Path) -> None:
        super().__init__(flags, path)
        self.inode = inode

    async def attributes(self) -> Attributes:
        return await self.inode.attributes()

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        raise EBADF

    async def mapping_fd(self, prot: int, flags: int) -> int:
        raise EBADF
