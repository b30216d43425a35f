"""An overlay (Linux's Documentation/filesystems/overlayfs.rst): a tmpfs takes all changes, the file system below none.

As in Linux a removed name of the lower side is a whiteout (character device 0:0) in the upper, a directory that hides
the lower one is opaque, and both marks and the number of a copied file are kept as ``trusted.overlay.*`` attributes,
which guests do not see.  Unlike in Linux a description opened before a copy-up sees the copy from then on; a mapping
keeps showing the lower file.  Directories that the lower side has cannot be renamed: EXDEV.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from pysc.cabi.linux.errors import EIO, ENOENT, ENOTEMPTY, EPERM, EXDEV, LinuxError
from pysc.cabi.linux.mount import OVERLAYFS_SUPER_MAGIC
from pysc.cabi.linux.stat import PERMISSIONS, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from pysc.sentry.fs import dcache
from pysc.sentry.fs.data import Data
from pysc.sentry.fs.dcache import INODE, NAME
from pysc.sentry.fs.hostfs import HostDirectory, HostFilesystem
from pysc.sentry.fs.inode import Attributes, Changes, Entry, Filesystem, FsStatistics, Inode, Owner, clock
from pysc.sentry.fs.mutex import Mutex
from pysc.sentry.fs.tmpfs import Tmpfs, TmpfsDirectory, TmpfsInode, TmpfsNode
from pysc.sentry.kernel.scheduler import yield_now

if TYPE_CHECKING:
    from pysc.cabi.linux.attributes import HostAttributes
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task

STEP: Final = 1 << 18
UPPER_INO: Final = 1 << 48
"""Numbers of files that only the upper side has start here."""
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


class Overlay(Filesystem):
    """``upper`` over ``lower``.

    Invariant: there is one :class:`OverlayInode` for an inode of either side as long as anybody uses it; those of a
    lower file with several names are kept once they were changed, so that all its names lead to the same.
    """

    __slots__ = ("_by_lower", "_by_upper", "_kept", "lower", "upper")

    name = b"overlay"
    magic = OVERLAYFS_SUPER_MAGIC
    showable = True
    root: OverlayDirectory

    def __init__(self, lower: Filesystem, upper: Tmpfs) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.remembers_absent = True
        self._by_lower: WeakValueDictionary[Inode, OverlayInode] = WeakValueDictionary()
        self._by_upper: WeakValueDictionary[TmpfsInode, OverlayInode] = WeakValueDictionary()
        self._kept: dict[Inode, OverlayInode] = {}
        top = upper.root
        top.mode, top.uid, top.gid = lower.root.mode, lower.root.uid, lower.root.gid
        self.root = OverlayDirectory(self, top, lower.root)

    def serve(self) -> None:
        """Let fast paths answer for what only the lower side has, if it can be looked at directly."""
        lower = self.lower
        if isinstance(lower, HostFilesystem):
            self.dcache = lower.names(self, self.dev, overlaid=True)
        if self.dcache is not None:
            self.root.merge()

    def found(self, directory: OverlayDirectory, name: bytes, attributes: HostAttributes) -> OverlayInode:
        """Return the inode of a name that fast paths have found on the lower side."""
        below = directory.below
        assert isinstance(below, HostDirectory)
        lower = below.fs.found(below, name, attributes)
        return self.inode(directory.upper.children.get(name) if directory.upper else None, lower, (directory, name))

    def number(self, upper: TmpfsInode | None, lower: Inode | None) -> int:
        """Return the inode number: the lower one's if it began there, also after a copy-up."""
        if lower is not None:
            return lower.ino
        assert upper is not None
        if upper.xattrs is not None and ORIGIN in upper.xattrs:
            return int(upper.xattrs[ORIGIN])
        return UPPER_INO + upper.ino

    def on(self, upper: TmpfsInode) -> OverlayInode | None:
        """Return the inode with this upper side, if it is in use."""
        return self._by_upper.get(upper)

    def inode(self, upper: TmpfsInode | None, lower: Inode | None, place: Place) -> OverlayInode:
        """Return the inode for what was found on either side."""
        found = self._by_upper.get(upper) if upper is not None else None
        if found is None and upper is None and lower is not None:
            found = self._by_lower.get(lower)
        if found is None:
            kind = (upper or lower or self.root).mode & S_IFMT
            cls = {S_IFDIR: OverlayDirectory, S_IFREG: OverlayFile}.get(kind, OverlayInode)
            found = cls(self, upper, lower)
            if upper is not None:
                self._by_upper[upper] = found
            if lower is not None:
                self._by_lower[lower] = found
        if place not in found.places:
            found.places.append(place)
        return found

    def copied(self, inode: OverlayInode, upper: TmpfsInode) -> None:
        """Note that an inode has an upper side now."""
        inode.upper = upper
        mark(upper, ORIGIN, b"%d" % inode.ino)
        self._by_upper[upper] = inode
        inode.follow_upper()
        if isinstance(inode, OverlayDirectory):
            inode.merge()
        if inode.links > 1:
            self.keep(inode)

    def keep(self, inode: OverlayInode) -> None:
        """Remember an inode whose lower side has other names: all lead to it."""
        if inode.lower is not None:
            self._kept[inode.lower] = inode

    async def statistics(self) -> FsStatistics:
        s = await self.upper.statistics()
        return FsStatistics(self.magic, s.blocks, s.bfree, s.bavail, s.files, s.ffree)


Place = tuple["OverlayDirectory", bytes]
MISSING_MAX: Final = 1024
"""Absent names of the lower side that one directory remembers."""


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
        if self.mode & S_IFMT == S_IFLNK:
            return await directory.symlink(name, await self.below.readlink(None), owner)  # type: ignore[arg-type]
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
        await _copy_xattrs(lower, made)
        if name:
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


async def _copy_xattrs(lower: Inode, made: TmpfsInode) -> None:
    try:
        for name in await lower.list_xattrs():
            if name.startswith((b"user.", b"security.capability")):
                await made.set_xattr(name, await lower.get_xattr(name), 0)
    except LinuxError:
        return  # as a file system that has none


class OverlayDirectory(KnownInode):
    """A directory: of one side, or of both (merged).

    Fast paths answer for the names in it that only the lower side has: whatever makes one on the upper side, or hides
    one by a whiteout, takes it first.
    """

    __slots__ = ("_dentry", "_missing")

    upper: TmpfsDirectory | None

    def __init__(self, fs: Overlay, upper: TmpfsInode | None, lower: Inode | None) -> None:
        super().__init__(fs, upper, lower)
        self._dentry = -1
        self._missing: set[bytes] = set()
        """Names that the lower side has not, and never will."""

    def __del__(self) -> None:
        if self._dentry >= 0:
            dcache.leave(self._dentry)

    def _entered(self) -> int:
        """Return its dentry in the cache; negative: fast paths never come here."""
        cache = self.fs.tree_cache
        if self._dentry < 0 and cache is not None and self.lower is not None:
            if self is self.fs.root:
                self._dentry = cache.top()
            elif self.places:
                parent, name = self.places[-1]
                above = parent._entered()
                if above >= 0:
                    self._dentry = dcache.enter(above, name)
        return self._dentry

    def merge(self) -> None:
        """It has an upper side, or other permissions, now."""
        dentry = self._entered()
        if dentry >= 0:
            dcache.merge(dentry, self)

    def take(self, name: bytes, reason: int = NAME) -> None:
        """Answer for ``name`` here alone."""
        dentry = self._entered()
        if dentry >= 0:
            dcache.withdraw(dentry, name, reason)

    @contextmanager
    def taking(self, name: bytes) -> Iterator[None]:
        """Take ``name`` while it changes, and for longer if then there is something on the upper side."""
        self.take(name)
        try:
            yield
        finally:
            dentry = self._entered()
            if dentry >= 0 and not self._hides(name):
                dcache.give_back(dentry, name)

    def _hides(self, name: bytes) -> bool:
        upper = self.upper.children.get(name) if self.upper is not None else None
        merged = self.fs.on(upper) if isinstance(upper, TmpfsDirectory) else None
        return upper is not None and (merged is None or merged.lower is None)

    def _take_over(self) -> None:
        super()._take_over()
        self.merge()

    async def _copy(self, directory: TmpfsDirectory, name: bytes, before: Attributes, size: int | None) -> TmpfsInode:
        made = await directory.mkdir(name, before.mode & PERMISSIONS, Owner(before.uid, before.gid))
        await _copy_xattrs(self.below, made)
        return made

    async def _upper(self) -> TmpfsDirectory:
        upper = await self.copy_up()
        assert isinstance(upper, TmpfsDirectory)
        return upper

    async def _lower_has(self, name: bytes) -> Inode | None:
        if self.lower is None or name in self._missing or is_opaque(self.upper):
            return None
        try:
            return await self.lower.lookup(name)
        except ENOENT:
            if len(self._missing) >= MISSING_MAX:
                self._missing.clear()
            self._missing.add(name)
            return None

    async def lookup(self, name: bytes) -> Inode:
        upper = self.upper.children.get(name) if self.upper is not None else None
        if upper is not None and is_whiteout(upper):
            raise ENOENT
        lower: Inode | None = None
        if upper is None or (upper.mode & S_IFMT == S_IFDIR and not is_opaque(upper)):
            lower = await self._lower_has(name)
            if upper is not None and lower is not None and lower.mode & S_IFMT != S_IFDIR:
                lower = None
        if upper is None and lower is None:
            raise ENOENT
        return self.fs.inode(upper, lower, (self, name))

    async def entries(self) -> list[Entry]:
        found: list[Entry] = []
        seen: dict[bytes, TmpfsInode] = {}
        if self.upper is not None:
            seen = self.upper.children
            found = [
                Entry(name, self.fs.number(child, None), child.mode & S_IFMT)
                for name, child in seen.items()
                if not is_whiteout(child)
            ]
        if self.lower is not None and not is_opaque(self.upper):
            found += [entry for entry in await self.lower.entries() if entry.name not in seen]
        return found

    def _made(self, upper: TmpfsInode, name: bytes) -> OverlayInode:
        return self.fs.inode(upper, None, (self, name))

    async def _clear(self, name: bytes) -> TmpfsDirectory:
        """Return the upper side without a whiteout for ``name``."""
        upper = await self._upper()
        there = upper.children.get(name)
        if there is not None and is_whiteout(there):
            upper.remove(name)
        return upper

    async def create(self, name: bytes, mode: int, owner: Owner) -> Inode:
        with self.taking(name):
            return self._made(await (await self._clear(name)).create(name, mode, owner), name)

    async def mkdir(self, name: bytes, mode: int, owner: Owner) -> Inode:
        with self.taking(name):
            made = await (await self._clear(name)).mkdir(name, mode, owner)
            if self.lower is not None:
                mark(made, OPAQUE)
            return self._made(made, name)

    async def mknod(self, name: bytes, mode: int, rdev: int, owner: Owner) -> Inode:
        if mode & S_IFMT == S_IFCHR and rdev == 0:
            raise EPERM("a whiteout")
        with self.taking(name):
            return self._made(await (await self._clear(name)).mknod(name, mode, rdev, owner), name)

    async def symlink(self, name: bytes, target: bytes, owner: Owner) -> Inode:
        with self.taking(name):
            return self._made(await (await self._clear(name)).symlink(name, target, owner), name)

    async def tmpfile(self, mode: int, owner: Owner) -> Inode:
        made = OverlayFile(self.fs, await self.fs.upper.root.tmpfile(mode, owner), None)
        made.links = 0
        return made

    async def link(self, name: bytes, target: Inode) -> Inode:
        assert isinstance(target, OverlayInode)
        upper = await target.copy_up()
        with self.taking(name):
            await (await self._clear(name)).link(name, upper)
        target.relink(1)
        target.places.append((self, name))
        return target

    async def unlink(self, name: bytes, child: Inode) -> None:
        await self._remove(name, child)

    async def rmdir(self, name: bytes, child: Inode) -> None:
        assert isinstance(child, OverlayDirectory)
        if await child.entries():
            raise ENOTEMPTY
        await self._remove(name, child)

    async def _remove(self, name: bytes, child: Inode) -> None:
        assert isinstance(child, OverlayInode)
        if child.links < 0:
            await child.attributes()
        hidden = await self._lower_has(name)
        with self.taking(name):
            upper = await self._upper()
            if name in upper.children:
                upper.remove(name)
            if hidden is not None:
                upper.insert(name, TmpfsNode(self.fs.upper, S_IFCHR, 0, ROOT))
        self._lose(name, child)

    def _lose(self, name: bytes, child: OverlayInode) -> None:
        child.relink(-1)
        if (self, name) in child.places:
            child.places.remove((self, name))
        if child.links > 0:
            self.fs.keep(child)

    async def rename(self, name: bytes, child: Inode, target: Inode, new_name: bytes, replaced: Inode | None) -> None:
        assert isinstance(target, OverlayDirectory)
        assert isinstance(child, OverlayInode)
        with self.taking(name), target.taking(new_name):
            await self._rename(name, child, target, new_name, replaced)

    async def _rename(
        self, name: bytes, child: OverlayInode, target: OverlayDirectory, new_name: bytes, replaced: Inode | None
    ) -> None:
        is_directory = child.mode & S_IFMT == S_IFDIR
        if is_directory and child.lower is not None:
            raise EXDEV
        if isinstance(replaced, OverlayDirectory) and await replaced.entries():
            raise ENOTEMPTY
        moved = await child.copy_up()
        hidden = await self._lower_has(name)
        covered = await target._lower_has(new_name)
        source_upper, target_upper = await self._upper(), await target._clear(new_name)
        if name not in source_upper.children:  # it was copied up by another of its lower names
            source_upper.insert(name, moved)
            moved.nlink += 1
        there = target_upper.children.get(new_name)
        if isinstance(there, TmpfsDirectory):
            there.children.clear()  # whiteouts only: it is empty
        await source_upper.rename(name, moved, target_upper, new_name, there)
        if is_directory and covered is not None:
            mark(moved, OPAQUE)
        if hidden is not None:
            source_upper.insert(name, TmpfsNode(self.fs.upper, S_IFCHR, 0, ROOT))
        if isinstance(replaced, OverlayInode):
            if replaced.links < 0:
                await replaced.attributes()
            target._lose(new_name, replaced)
        if (self, name) in child.places:
            child.places.remove((self, name))
        child.places.append((target, new_name))
        moved.ctime = clock()

    async def exchange(self, name: bytes, child: Inode, target: Inode, new_name: bytes, other: Inode) -> None:
        assert isinstance(target, OverlayDirectory)
        assert isinstance(child, OverlayInode)
        assert isinstance(other, OverlayInode)
        with self.taking(name), target.taking(new_name):
            await self._exchange(name, child, target, new_name, other)

    async def _exchange(
        self, name: bytes, child: OverlayInode, target: OverlayDirectory, new_name: bytes, other: OverlayInode
    ) -> None:
        sides = ((self, name, child, target, new_name), (target, new_name, other, self, name))
        uppers: list[TmpfsDirectory] = []
        for directory, old, inode, goal, new in sides:
            if inode.mode & S_IFMT == S_IFDIR:
                if inode.lower is not None:
                    raise EXDEV
                if await goal._lower_has(new) is not None:
                    mark(await inode.copy_up(), OPAQUE)
            moved = await inode.copy_up()
            upper = await directory._upper()
            if old not in upper.children:  # it was copied up by another of its lower names
                upper.insert(old, moved)
                moved.nlink += 1
            uppers.append(upper)
        child_upper, other_upper = await child.copy_up(), await other.copy_up()
        await uppers[0].exchange(name, child_upper, uppers[1], new_name, other_upper)
        for directory, old, inode, goal, new in sides:
            if (directory, old) in inode.places:
                inode.places.remove((directory, old))
            inode.places.append((goal, new))
