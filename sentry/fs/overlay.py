"""An overlay (Linux's Documentation/filesystems/overlayfs.rst): a tmpfs takes all changes, the file system below none.

As in Linux a removed name of the lower side is a whiteout (character device 0:0) in the upper, a directory that hides
the lower one is opaque, and both marks and the number of a copied file are kept as ``trusted.overlay.*`` attributes,
which guests do not see.  Unlike in Linux a description opened before a copy-up sees the copy from then on; a mapping
keeps showing the lower file.  Directories that the lower side has cannot be renamed: EXDEV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from pysc.cabi.linux.mount import OVERLAYFS_SUPER_MAGIC
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT, S_IFREG
from pysc.sentry.fs.hostfs import HostDirectory, HostFilesystem
from pysc.sentry.fs.inode import Filesystem, FsStatistics, Inode
from pysc.sentry.fs.tmpfs import Tmpfs, TmpfsInode

if TYPE_CHECKING:
    from pysc.cabi.linux.attributes import HostAttributes

from pysc.sentry.fs.overlay_directory import OverlayDirectory
from pysc.sentry.fs.overlay_inode import ORIGIN, OverlayFile, OverlayInode, Place, mark

UPPER_INO: Final = 1 << 48
"""Numbers of files that only the upper side has start here."""


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

    def rebuild(self) -> None:
        """Let fast paths find names in the tree that this process has (pysc.sentry.state)."""
        if self.tree_cache is not None and isinstance(self.lower, HostFilesystem):
            self.tree_cache.begin_again(self.lower.tree.fd)

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
