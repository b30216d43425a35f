"""What fast paths know of names: the face of a struct pysc_dcache.

In a tree of the host's that does not change they find names by themselves; here they are told what they must not answer
for.  All other dentries are shown to them, once somebody has walked there, and hidden when they change (path.py).  What
they have found or opened becomes dentries and descriptions of ours when these are needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakValueDictionary

from pysc.cabi import objects
from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.attributes import ATTRIBUTES_SIZE, HostAttributes
from pysc.cabi.linux.errors import EIO
from pysc.cabi.linux.limits import NAME_MAX
from pysc.cabi.objects import OBJECTS
from pysc.sentry.fs.directory import DirectoryFile
from pysc.sentry.fs.file import FileDescription, referenced
from pysc.sentry.fs.path import Dentry, Mount, Path, mounts
from pysc.sentry.fs.regular import RegularFile

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode

NAME: Final = lib.PYSC_WITHDRAWN_NAME
"""Withdrawn while there is something of this name in an overlay's upper side."""
INODE: Final = lib.PYSC_WITHDRAWN_INODE
"""Withdrawn for good."""

caches: Final[WeakValueDictionary[int, Dcache]] = WeakValueDictionary()
"""By index (cabi/objects.py): fast paths say by which dentry they found something, and a dentry which cache has it."""


class Lower(Protocol):
    """A file system whose names fast paths look up by themselves."""

    def found(self, directory: Any, name: bytes, attributes: HostAttributes) -> Inode:
        """Return the inode of a name that the host has."""


class Dcache:
    """The cache of a file system, and its topmost dentry.

    ``tree`` (borrowed) is a directory of the host's, on ``superblock``, or -1: fast paths know then what is shown to
    them, no more.
    """

    __slots__ = ("__weakref__", "_lower", "_top", "has_tree", "index")

    def __init__(
        self,
        lower: Lower | None = None,
        tree: int = -1,
        device: int = 0,
        *,
        superblock: int = 0,
        overlaid: bool = False,
    ) -> None:
        """ENFILE, or what the host says of the tree."""
        self.index: int = objects.answered(lib.pysc_dcache_new(OBJECTS, tree, superblock, device, overlaid))
        self._lower = lower
        self.has_tree = tree >= 0
        self._top: Dentry | None = None
        caches[self.index] = self

    def __del__(self) -> None:
        if hasattr(self, "index"):
            lib.pysc_dcache_free(OBJECTS, self.index)

    def begin_again(self, tree: int) -> None:
        """Of a tree (borrowed) that the structure has not, since it was made in another process.  LinuxError."""
        objects.answered(lib.pysc_dcache_set_tree(OBJECTS, self.index, tree))

    def disable(self) -> None:
        """Answer for nothing in the tree any more."""
        lib.pysc_dcache_disable(OBJECTS, self.index)

    def top(self) -> int:
        """Return the dentry of the tree itself, in use."""
        return lib.pysc_dcache_top(OBJECTS, self.index)

    def show_top(self, dentry: Dentry) -> None:
        """Show the root of the file system; another one than before is not shown."""
        if self._top is None:
            self._top = dentry
            dentry.index = self.top()
            lib.pysc_dentry_show(OBJECTS, dentry.index, dentry.inode.show().index)

    def place(self, dentry: int, mount_id: int) -> Path:
        """Return the place that fast paths found; EIO if the host has lost it."""
        here = self._top
        assert here is not None, "something was found, so somebody was told where to begin"
        chain: list[int] = []
        above = lib.pysc_dentry_parent(OBJECTS, dentry)
        while above != dentry:
            chain.append(dentry)
            dentry, above = above, lib.pysc_dentry_parent(OBJECTS, above)
        for index in reversed(chain):
            name = _name(index)
            child = here.children.get(name)
            if child is None:
                assert self._lower is not None, "what is shown is cached here"
                child = here.add(name, self._lower.found(here.inode, name, _attributes(index)))
            here = child
        # A mount that nobody can reach any more is as good as one that was detached.
        return Path(mounts.get(mount_id) or Mount(here.inode.fs, self._top or here), here)


def place(dentry: int, mount_id: int) -> Path:
    """Return the place that fast paths found; EIO if the host has lost it, or nothing of the file system is left."""
    cache = caches.get(lib.pysc_dentry_cache(OBJECTS, dentry))
    if cache is None:
        raise EIO
    return cache.place(dentry, mount_id)


def enter(parent: int, name: bytes) -> int:
    """Return the dentry of a name, in use; negative: none, and all of the tree is handed over from now on."""
    return lib.pysc_dentry_enter(OBJECTS, parent, name, len(name))


def leave(dentry: int) -> None:
    """Do not use it any more."""
    lib.pysc_dentry_leave(OBJECTS, dentry)


def withdraw(parent: int, name: bytes, reason: int) -> None:
    """Let nothing be answered for a name in a directory; what was opened by it becomes objects of ours."""
    dentry = enter(parent, name)
    if dentry >= 0:
        if lib.pysc_dentry_withdraw(OBJECTS, dentry, reason) > 1:
            referenced.see_at(dentry)
        leave(dentry)


def give_back(parent: int, name: bytes) -> None:
    """The upper side has nothing of this name any more."""
    dentry = enter(parent, name)
    if dentry >= 0:
        lib.pysc_dentry_return(OBJECTS, dentry, NAME)
        leave(dentry)


def merge(dentry: int, inode: Inode) -> None:
    """A directory has an upper side, and these attributes now."""
    lib.pysc_dentry_merge(OBJECTS, dentry, inode.mode, inode.uid, inode.gid)


def show(parent: Dentry, child: Dentry) -> None:
    """Show a child of a dentry that is shown."""
    index = enter(parent.index, child.name)
    if index >= 0:
        child.index = index
        lib.pysc_dentry_show(OBJECTS, index, child.inode.show().index)
        if child.mounts:
            lib.pysc_dentry_cover(OBJECTS, index)


def show_top(dentry: Dentry) -> None:
    """Show the root of a file system, if it is one that can be shown."""
    fs = dentry.inode.fs
    if not fs.showable or fs.revalidates:
        return
    if fs.dcache is None:
        fs.dcache = Dcache()
    fs.dcache.show_top(dentry)


def find(place: Path) -> int:
    """Return the dentry of a place, in use, and show it if need be; negative: fast paths do not know it."""
    if place.mount.root.parent is not place.mount.root:
        return -1  # where ".." leads from there they do not know
    hidden: list[Dentry] = []
    dentry = place.dentry
    while dentry.index < 0:
        if dentry.parent is dentry:
            show_top(dentry)
            if dentry.index < 0:
                return -1
            break
        if dentry.parent.children.get(dentry.name) is not dentry:
            return -1
        hidden.append(dentry)
        dentry = dentry.parent
    for child in reversed(hidden):
        show(child.parent, child)
        if child.index < 0:
            return -1
    lib.pysc_dentry_use(OBJECTS, place.dentry.index)
    return place.dentry.index


def stand(file: DirectoryFile) -> None:
    """Let fast paths start from an open directory, if they know the place."""
    dentry = find(file.place)
    if dentry >= 0:
        file.stand(dentry)
        leave(dentry)


def note_crossing(mount: Mount, point: Dentry, below: Mount, root: Dentry) -> None:
    """Tell fast paths what is seen at a mount point, until mounts change."""
    if root.index < 0 and root.parent is root:
        show_top(root)
    if point.index >= 0 and root.index >= 0 and root.parent is root:
        lib.pysc_crossing_note(OBJECTS, mount.id, point.index, below.id, root.index)


def opened() -> Iterator[int]:
    """Give the host's descriptors of files that fast paths have opened and nobody has seen here."""
    index = lib.pysc_file_unseen(OBJECTS, -1, 0)
    while index >= 0:
        file = lib.pysc_file_at(OBJECTS, index)
        fd: int = lib.pysc_data_at(OBJECTS, file.object).file if file.owns else -1
        if fd >= 0:
            yield fd
        index = lib.pysc_file_unseen(OBJECTS, -1, index + 1)


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
    where = place(c.dentry - 1, c.mount)
    file: FileDescription
    data, fd = (c.object, lib.pysc_data_at(OBJECTS, c.object).file) if c.owns else (-1, -1)
    if c.type == lib.PYSC_FILE_REGULAR:
        if c.owns:
            where.inode.adopt_reader(fd)
        file = RegularFile(where.inode, c.flags, where, index)
    else:
        c.type = lib.PYSC_FILE_OTHER
        # Nobody's root is opened by fast paths: what is above it is what everybody sees there.
        namespace = where.mount.namespace
        root = Path(where.mount, where.mount.root) if namespace is None else namespace.root_path
        file = listed = DirectoryFile(where, c.flags, root, index)
        if fd >= 0 and c.offset:  # a part was listed: what comes next is by the host's order
            listed.go_on(fd)
        elif fd >= 0:
            os.close(fd)
    if c.owns:
        c.owns = False
        objects.free_data(data)
    referenced[index] = file
    return file


referenced.see = _see
