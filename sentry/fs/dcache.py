"""What fast paths know of a tree of the host's that does not change: the face of a struct pysc_dcache.

It finds names by itself and answers for what they lead to.  Here it is told what it must not answer for, and what it
has found becomes dentries of ours when they are needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakValueDictionary

from pysc.cabi import objects
from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.attributes import ATTRIBUTES_SIZE, HostAttributes
from pysc.cabi.linux.errors import EIO
from pysc.cabi.objects import OBJECTS
from pysc.sentry.fs.directory import DirectoryFile
from pysc.sentry.fs.file import FileDescription, referenced
from pysc.sentry.fs.path import Dentry, Mount, Path
from pysc.sentry.fs.regular import RegularFile

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode

NAME_MAX: Final = 255
NAME: Final = lib.PYSC_WITHDRAWN_NAME
"""Withdrawn while there is something of this name in an overlay's upper side."""
INODE: Final = lib.PYSC_WITHDRAWN_INODE
"""Withdrawn for good."""

caches: Final[WeakValueDictionary[int, Dcache]] = WeakValueDictionary()
"""By index."""


class Served(Protocol):
    """A file system that has one."""

    root: Any

    def found(self, directory: Any, name: bytes, attributes: HostAttributes) -> Inode:
        """Return the inode of a name that the host has."""


class Dcache:
    """The cache of ``fs``, whose ``tree`` (borrowed) is a directory of the host's."""

    __slots__ = ("__weakref__", "_fs", "_mounts", "_top", "index")

    def __init__(self, fs: Served, tree: int, device: int, *, overlaid: bool) -> None:
        """ENFILE, or what the host says of the tree."""
        self.index: int = objects.answered(lib.pysc_dcache_new(OBJECTS, tree, device, overlaid))
        self._fs = fs
        self._top: Dentry | None = None
        self._mounts: WeakValueDictionary[int, Mount] = WeakValueDictionary()
        caches[self.index] = self

    def __del__(self) -> None:
        if hasattr(self, "index"):
            lib.pysc_dcache_disable(OBJECTS, self.index)

    def disable(self) -> None:
        """Answer for nothing any more."""
        lib.pysc_dcache_disable(OBJECTS, self.index)

    def top(self) -> int:
        """Return the dentry of the tree itself, in use."""
        return lib.pysc_dcache_top(OBJECTS, self.index)

    def enter(self, parent: int, name: bytes) -> int:
        """Return the dentry of a name, in use; negative: none, and all is handed over from now on."""
        return lib.pysc_dentry_enter(OBJECTS, parent, name, len(name))

    def leave(self, dentry: int) -> None:
        """Do not use it any more."""
        lib.pysc_dentry_leave(OBJECTS, dentry)

    def withdraw(self, dentry: int, reason: int) -> None:
        """Let nothing be answered for a name; what was opened by it becomes objects of ours."""
        if lib.pysc_dentry_withdraw(OBJECTS, dentry, reason) > 1:
            index = lib.pysc_file_unseen(OBJECTS, dentry, 0)
            while index >= 0:
                _see(index)
                index = lib.pysc_file_unseen(OBJECTS, dentry, index + 1)

    def withdraw_name(self, parent: int, name: bytes, reason: int) -> None:
        """Do so with the name in a directory."""
        dentry = self.enter(parent, name)
        if dentry >= 0:
            self.withdraw(dentry, reason)
            self.leave(dentry)

    def give_back(self, parent: int, name: bytes) -> None:
        """The upper side has nothing of this name any more."""
        dentry = self.enter(parent, name)
        if dentry >= 0:
            lib.pysc_dentry_return(OBJECTS, dentry, NAME)
            self.leave(dentry)

    def merge(self, dentry: int, inode: Inode) -> None:
        """A directory has an upper side, and these attributes now."""
        lib.pysc_dentry_merge(OBJECTS, dentry, inode.mode, inode.uid, inode.gid)

    def find(self, place: Path) -> int:
        """Return the dentry of a place, in use; negative: fast paths do not know it."""
        names: list[bytes] = []
        dentry = place.dentry
        while dentry.parent is not dentry:
            if dentry.deleted:
                return -1
            names.append(dentry.name)
            dentry = dentry.parent
        if self._top is None:
            self._top = dentry
        if dentry is not self._top or place.mount.root is not dentry:
            return -1
        self._mounts[place.mount.id] = place.mount
        index = self.top()
        for name in reversed(names):
            below = self.enter(index, name)
            self.leave(index)
            if below < 0:
                return -1
            lib.pysc_dentry_ask(OBJECTS, below)
            index = below
        return index

    def place(self, dentry: int, mount_id: int) -> Path:
        """Return the place that fast paths found; EIO if the host has lost it."""
        top = self._top
        assert top is not None, "something was found, so somebody was told where to begin"
        chain: list[int] = []
        above = lib.pysc_dentry_parent(OBJECTS, dentry)
        while above != dentry:
            chain.append(dentry)
            dentry, above = above, lib.pysc_dentry_parent(OBJECTS, above)
        here = top
        for index in reversed(chain):
            name = _name(index)
            child = here.children.get(name)
            here = child if child is not None else here.add(name, self._fs.found(here.inode, name, _attributes(index)))
        # A mount that nobody can reach any more is as good as one that was detached.
        return Path(self._mounts.get(mount_id) or Mount(top.inode.fs, top), here)


def _name(dentry: int) -> bytes:
    buffer = ffi.new("char[]", NAME_MAX)
    return bytes(ffi.buffer(buffer, objects.answered(lib.pysc_dentry_name(OBJECTS, dentry, buffer))))


def _attributes(dentry: int) -> HostAttributes:
    buffer = ffi.new("uint8_t[]", ATTRIBUTES_SIZE)
    if lib.pysc_dentry_ask(OBJECTS, dentry) < 0 or lib.pysc_dentry_attributes(OBJECTS, dentry, buffer, len(buffer)) < 0:
        raise EIO
    return HostAttributes.unpack_from(ffi.buffer(buffer))


def _see(index: int) -> FileDescription:
    """Return the object for a description that a fast path opened: it takes over all that the structure has."""
    c = lib.pysc_file_at(OBJECTS, index)
    data, fd = c.object, lib.pysc_data_at(OBJECTS, c.object).file
    place = caches[lib.pysc_dentry_cache(OBJECTS, c.dentry - 1)].place(c.dentry - 1, c.mount)
    file: FileDescription
    if c.type == lib.PYSC_FILE_REGULAR:
        place.inode.adopt_reader(fd)
        file = RegularFile(place.inode, c.flags, place, index)
    else:
        if fd >= 0:
            os.close(fd)
        c.type = lib.PYSC_FILE_OTHER
        file = DirectoryFile(place, c.flags, Path(place.mount, place.mount.root), index)
    objects.free_data(data)
    referenced[index] = file
    return file


referenced.see = _see
