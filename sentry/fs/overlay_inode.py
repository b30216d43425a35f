"""Inodes of an overlay: who has both sides, what is copied up and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EIO, EPERM, LinuxError
from pysc.cabi.linux.stat import PERMISSIONS, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT
from pysc.sentry.fs.data import Data
from pysc.sentry.fs.dcache import INODE
from pysc.sentry.fs.inode import Attributes, Changes, Inode, Owner
from pysc.sentry.fs.mutex import Mutex
from pysc.sentry.fs.tmpfs import TmpfsDirectory, TmpfsInode, TmpfsNode
from pysc.sentry.kernel.scheduler import yield_now

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.overlay import Overlay
    from pysc.sentry.fs.overlay_directory import OverlayDirectory
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task

STEP: Final = 1 << 18
PRIVATE: Final = (b"trusted.overlay.", b"user.pysc.")
"""Attributes that are not the guests': this file system's own, and those of the gofer on the lower side."""
OPAQUE: Final = b"trusted.overlay.opaque"
ORIGIN: Final = b"trusted.overlay.origin"
ROOT: Final = Owner(0, 0)


def is_whiteout(inode: Inode) -> bool:
    """Whether an upper inode says that a name was removed."""
    return isinstance(inode, TmpfsNode) and inode.mode & S_IFMT == S_IFCHR and inode.rdev == 0


def is_opaque(inode: TmpfsInode | None) -> bool:
    """Whether an upper directory hides the lower one."""
    return inode is not None and inode.xattrs is not None and OPAQUE in inode.xattrs


def mark(inode: TmpfsInode, name: bytes, value: bytes = b"y") -> None:
    """Set one of the overlay's own attributes."""
    if inode.xattrs is None:
        inode.xattrs = {}
    inode.xattrs[name] = value


@contextmanager
def unnoticed(directory: TmpfsDirectory) -> Iterator[None]:
    """While a name is added that the directory has had all along: its times stay."""
    before = directory.mtime, directory.ctime
    yield
    directory.mtime, directory.ctime = before


Place = tuple["OverlayDirectory", bytes]


class OverlayInode(Inode):
    """A file of any type.  ``links`` is how many names there are, lower ones included.

    Invariant: ``upper`` or ``lower`` is set; of what is no directory ``upper`` alone counts once it is set.
    """

    __slots__ = ("_copying", "links", "lower", "places", "upper")

    fs: Overlay

    def __init__(self, fs: Overlay, upper: TmpfsInode | None, lower: Inode | None) -> None:
        real = upper if upper is not None else lower
        assert real is not None
        super().__init__(fs, fs.number(upper, lower), real.mode, real.uid, real.gid)
        self.upper = upper
        self.lower = lower
        self.places: list[Place] = []
        self.links = upper.nlink if upper is not None else -1  # not asked yet
        self._copying: Mutex | None = None

    @property
    def real(self) -> Inode:
        """The side that counts."""
        return self.upper if self.upper is not None else self.below

    @property
    def below(self) -> Inode:
        """The lower side, where there must be one."""
        if self.lower is None:
            raise EIO
        return self.lower

    def _take_over(self) -> None:
        real = self.real
        self.mode, self.uid, self.gid = real.mode, real.uid, real.gid
        if self.shown is not None:
            self.shown.update(self)

    def follow_upper(self) -> None:
        """What fast paths know of it is the upper side's from now on."""

    def relink(self, more: int) -> None:
        """It has so many names more."""
        self.links += more

    def withdraw(self) -> None:
        super().withdraw()
        cache = self.fs.tree_cache
        if self is self.fs.root and cache is not None:
            cache.disable()
        for directory, name in self.places:
            directory.take(name, INODE)

    async def attributes(self) -> Attributes:
        found = await self.real.attributes()
        found.dev, found.ino = self.fs.dev, self.ino
        if self.links < 0:
            self.links = found.nlink
        if self.mode & S_IFMT != S_IFDIR:
            found.nlink = self.links
        elif self.lower is not None:
            found.nlink = 1
        return found

    async def copy_up(self, size: int | None = None) -> TmpfsInode:
        """Return the upper side, made if need be; of a regular file the first ``size`` bytes are enough."""
        if self.upper is not None:
            return self.upper
        if self._copying is None:
            self._copying = Mutex()
        async with self._copying:
            if self.upper is not None:
                return self.upper
            self._take_names()
            before = await self.attributes()
            if self.places:
                parent, name = self.places[-1]
                directory = await parent.copy_up()
            else:
                directory, name = self.fs.upper.root, b""
            assert isinstance(directory, TmpfsDirectory)
            upper = await self._copy(directory, name, before, size)
            self.fs.copied(self, upper)
            self._take_names()  # whoever tried in vain to change one meanwhile has given it back
            upper.mode, upper.uid, upper.gid = self.mode, self.uid, self.gid
            upper.atime, upper.mtime, upper.ctime = before.atime, before.mtime, before.ctime
            return upper

    def _take_names(self) -> None:
        """Answer for all its names here alone, unless it is a directory, which is merged."""
        if self.mode & S_IFMT != S_IFDIR:
            for parent, name in self.places:
                parent.take(name)

    async def _copy(self, directory: TmpfsDirectory, name: bytes, before: Attributes, size: int | None) -> TmpfsInode:
        owner = Owner(before.uid, before.gid)
        text = await self.below.readlink(None) if self.mode & S_IFMT == S_IFLNK else None  # type: ignore[arg-type]
        with unnoticed(directory):
            if text is not None:
                return await directory.symlink(name, text, owner)
            return await directory.mknod(name, before.mode, before.rdev, owner)

    async def set_attributes(self, changes: Changes) -> None:
        upper = await self.copy_up(changes.size)
        await upper.set_attributes(changes)
        self._take_over()

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription | None:
        return await self.real.open(task, path, flags)

    async def readlink(self, task: Task) -> bytes:
        return await self.real.readlink(task)

    async def get_xattr(self, name: bytes) -> bytes:
        return await self.real.get_xattr(name)

    async def set_xattr(self, name: bytes, value: bytes, flags: int) -> None:
        if name.startswith(PRIVATE):
            raise EPERM
        await (await self.copy_up()).set_xattr(name, value, flags)

    async def list_xattrs(self) -> list[bytes]:
        return [name for name in await self.real.list_xattrs() if not name.startswith(PRIVATE)]

    async def remove_xattr(self, name: bytes) -> None:
        if name.startswith(PRIVATE):
            raise EPERM
        await (await self.copy_up()).remove_xattr(name)


class KnownInode(OverlayInode):
    """What fast paths know the bytes of, or what stat(2) shows: those of the side that counts."""

    __slots__ = ("_data",)

    def __init__(self, fs: Overlay, upper: TmpfsInode | None, lower: Inode | None) -> None:
        super().__init__(fs, upper, lower)
        self._data: Data | None = None

    def data(self) -> Data:
        if self._data is None:
            self._data = Data()
            self.follow_upper()
        return self._data

    def follow_upper(self) -> None:
        if self._data is not None:
            self._data.set_other(self.real.data())

    def relink(self, more: int) -> None:
        super().relink(more)
        if self._data is not None:
            self._data.touch()


class OverlayFile(KnownInode):
    """A regular file.  ``lower_opens`` counts the descriptions that opened the lower side."""

    __slots__ = ("lower_opens",)

    def __init__(self, fs: Overlay, upper: TmpfsInode | None, lower: Inode | None) -> None:
        super().__init__(fs, upper, lower)
        self.lower_opens = 0

    async def _copy(self, directory: TmpfsDirectory, name: bytes, before: Attributes, size: int | None) -> TmpfsInode:
        lower = self.below
        mode, owner = before.mode & PERMISSIONS, Owner(before.uid, before.gid)
        made = await directory.tmpfile(mode, owner)
        await lower.open_data(False)
        try:
            end = before.size if size is None else min(size, before.size)
            position = 0
            while position < end:
                data = await lower.read_at(min(STEP, end - position), position)
                if not data:
                    break
                written, position = await made.write_at(data, position)
                if written < len(data):
                    continue
                await yield_now()
        finally:
            lower.close_data(False)
        await copy_xattrs(lower, made)
        if name:
            with unnoticed(directory):
                directory.insert(name, made)
            made.nlink = 1
        return made

    async def open_data(self, write: bool) -> None:
        if write:
            await self.copy_up()
        elif self.upper is None:
            await self.below.open_data(False)
            self.lower_opens += 1

    def adopt_reader(self, fd: int) -> None:
        self.below.adopt_reader(fd)
        self.lower_opens += 1

    def close_data(self, write: bool) -> None:
        if self.lower_opens and not write:
            self.lower_opens -= 1
            self.below.close_data(False)

    async def size(self) -> int:
        return await self.real.size()

    async def read_at(self, size: int, offset: int) -> bytes:
        return await self.real.read_at(size, offset)

    def read_nowait(self, size: int, offset: int) -> bytes | None:
        return self.real.read_nowait(size, offset)

    async def write_at(self, data: bytes, offset: int | None) -> tuple[int, int]:
        return await (await self.copy_up()).write_at(data, offset)

    async def seek_data(self, offset: int, hole: bool) -> int:
        return await self.real.seek_data(offset, hole)

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        await (await self.copy_up()).allocate(mode, offset, length)

    async def mapping_fd(self, write: bool) -> int:
        if write:
            return await (await self.copy_up()).mapping_fd(True)
        return await self.real.mapping_fd(False)


async def copy_xattrs(lower: Inode, made: TmpfsInode) -> None:
    """Give an upper inode the attributes of the lower one that users see."""
    try:
        for name in await lower.list_xattrs():
            if name.startswith((b"user.", b"security.capability")):
                await made.set_xattr(name, await lower.get_xattr(name), 0)
    except LinuxError:
        return  # as a file system that has none
