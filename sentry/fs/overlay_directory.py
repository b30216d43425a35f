"""Directories of an overlay: merged from both sides; whiteouts and opaque ones hide what the lower side has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import ENOENT, ENOTEMPTY, EPERM, EXDEV
from pysc.cabi.linux.stat import PERMISSIONS, S_IFCHR, S_IFDIR, S_IFMT
from pysc.sentry.fs import dcache
from pysc.sentry.fs.dcache import NAME
from pysc.sentry.fs.inode import Attributes, Entry, Inode, Owner, clock
from pysc.sentry.fs.overlay_inode import (
    OPAQUE,
    ROOT,
    KnownInode,
    OverlayFile,
    OverlayInode,
    copy_xattrs,
    is_opaque,
    is_whiteout,
    mark,
    unnoticed,
)
from pysc.sentry.fs.tmpfs import TmpfsDirectory, TmpfsInode, TmpfsNode

if TYPE_CHECKING:
    from pysc.sentry.fs.overlay import Overlay

MISSING_MAX: Final = 1024
"""Absent names of the lower side that one directory remembers."""


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
        with unnoticed(directory):
            made = await directory.mkdir(name, before.mode & PERMISSIONS, Owner(before.uid, before.gid))
        await copy_xattrs(self.below, made)
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

    async def rename(
        self, name: bytes, child: Inode, target: Inode, new_name: bytes, replaced: Inode | None, *, replaces: bool
    ) -> None:
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
        await source_upper.rename(name, moved, target_upper, new_name, there, replaces=True)
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
