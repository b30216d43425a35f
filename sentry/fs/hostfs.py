"""Files of the host, behind the gofer (kernel.md 1-3): what the root and the bind mounts are.

Exclusive mounts are cached: a directory that was listed whole is *complete*, so absent names need no call.  On shared
ones the host may change anything: each name is checked again when it is walked, and attributes are always fresh.

An inode knows its places (directory and name): the path of a file is made from them when it is needed, so a rename of
a directory costs nothing.  A file without a place was unlinked; what is open stays usable by its descriptors.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakValueDictionary

from msgspec.structs import replace

from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EINVAL, EIO, ENFILE, ENOENT, EPERM, ESTALE
from pysc.cabi.linux.fcntl import RENAME_EXCHANGE, RENAME_NOREPLACE
from pysc.cabi.linux.stat import S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
from pysc.cabi.objects import memory_is_short
from pysc.sentry.fs import dcache
from pysc.sentry.fs.dcache import Dcache, Lower
from pysc.sentry.fs.hostinode import HostInode, Place
from pysc.sentry.fs.hostregular import HostRegular
from pysc.sentry.fs.inode import (
    Changes,
    Entry,
    Filesystem,
    FsStatistics,
    Inode,
    Owner,
    anonymous_device,
    clock,
)
from pysc.sentry.fs.superblock import Superblock
from pysc.sentry.fs.tree import Tree
from pysc.urpc.schema import gofer

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.urpc.message import Request

R = TypeVar("R")
IDLE_MAX: Final = 512
"""Descriptors of files that nobody has open, kept for the next open."""


class HostFilesystem(Filesystem):
    """One mount.  ``inodes`` are those in use, by the host's identity; ``superblocks`` what it shows, by device.

    The identity of a directory includes the host's mount: where that has bound one a second time there are other files
    in it, maybe, and it may be below itself.
    """

    __slots__ = ("_devices", "idle", "inodes", "superblocks", "tree")

    name = b"9p"
    magic = 0x01021997
    showable = True
    root: HostInode

    def __init__(self, tree: Tree, *, shared: bool, readonly: bool = False) -> None:
        super().__init__()
        self.tree = tree
        self.readonly = readonly
        self.revalidates = shared
        self.remembers_absent = not shared
        self.inodes: WeakValueDictionary[tuple[int, int, int], HostInode] = WeakValueDictionary()
        self.idle: OrderedDict[HostRegular, None] = OrderedDict()
        self.superblocks: dict[int, Superblock] = {}
        self._devices: dict[int, int] = {}

    def rebuild(self) -> None:
        """Let fast paths find names in the tree that this process has (pysc.sentry.state)."""
        if self.tree_cache is not None:
            self.tree_cache.begin_again(self.tree.fd)

    @classmethod
    async def attach(cls, tree: Tree, *, shared: bool, readonly: bool = False) -> HostFilesystem:
        """Make the file system of a mount; its root may be a file (bind mounts)."""
        attributes, fixed = await tree.attach()
        fs = cls(tree, shared=shared, readonly=readonly or fixed)
        await fs.meet(attributes, tree.base)
        fs.root = fs.inode(attributes, None)
        return fs

    async def meet(self, attributes: HostAttributes, path: bytes) -> None:
        """Find out of what kind the file system is that a file is on: the host may have mounted another one there."""
        if attributes.dev not in self.superblocks:
            superblock = self.superblocks[attributes.dev] = Superblock()
            superblock.found(await self.tree.kind(path, attributes))

    def superblock(self, device: int) -> Superblock:
        """Return that of a device of the host's."""
        found = self.superblocks.get(device)
        if found is None:
            found = self.superblocks[device] = Superblock()
        return found

    def device(self, number: int) -> int:
        """Return the virtual device number for one of the host's."""
        if number not in self._devices:
            self._devices[number] = anonymous_device() if self._devices else self.dev
        return self._devices[number]

    def inode(self, attributes: HostAttributes, place: Place | None) -> HostInode:
        """Return the inode with this identity, found at ``place``."""
        mount = attributes.mnt_id if attributes.mode & S_IFMT == S_IFDIR else 0
        key = (attributes.dev, attributes.ino, mount)
        inode = self.inodes.get(key)
        if inode is not None and (inode.mode ^ attributes.mode) & S_IFMT == 0:
            inode.update(attributes)
        else:
            inode = _TYPES.get(attributes.mode & S_IFMT, HostInode)(self, attributes)
            self.inodes[key] = inode
        if place is not None:
            inode.put(place)
        return inode

    def keep_idle(self, inode: HostRegular) -> None:
        """Remember that nobody has ``inode`` open any more; the longest idle loses its descriptor."""
        self.idle[inode] = None
        if len(self.idle) > IDLE_MAX:
            self.idle.popitem(last=False)[0].close_idle()

    def close_idle(self) -> int:
        """Close all descriptors that nobody uses; return of how many files."""
        count = len(self.idle)
        while self.idle:
            self.idle.popitem(last=False)[0].close_idle()
        return count

    def serve(self) -> None:
        """Let fast paths answer for the names in it, if nobody changes them and it can be looked at directly."""
        if self.readonly and isinstance(self.root, HostDirectory):
            self.dcache = self.names(self, self.dev, overlaid=False)

    def names(self, lower: Lower, device: int, *, overlaid: bool) -> Dcache | None:
        """Return a cache of its names in which fast paths look for themselves; None: they cannot, or must not."""
        superblock = self.root.superblock
        if self.revalidates or self.tree.fd < 0 or superblock.remote:
            return None
        return Dcache(lower, self.tree.fd, device, superblock=superblock.number, overlaid=overlaid)

    def found(self, directory: HostDirectory, name: bytes, attributes: HostAttributes) -> HostInode:
        """Return the inode of a name that fast paths have found."""
        return self.inode(attributes, Place(directory, name))

    async def statistics(self) -> FsStatistics:
        s = await self.tree.statistics(self.root.host, self.root.superblock)
        return FsStatistics(self.magic, s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen)


class HostLink(HostInode):
    """A symbolic link; its text never changes, but where others make links one may have the number of another."""

    __slots__ = ("_target",)

    def __init__(self, fs: HostFilesystem, attributes: HostAttributes) -> None:
        super().__init__(fs, attributes)
        self._target: bytes | None = None

    async def readlink(self, task: Task) -> bytes:
        if self._target is None or self.fs.revalidates:
            try:
                self._target = await self.fs.tree.read_link(self.path(), self.host, self.superblock)
            except EINVAL:
                raise ESTALE from None  # it is no link any more
        return self._target


class HostDirectory(HostInode):
    """Invariant: ``listing``, if there is one, has every name (exclusive mounts only)."""

    __slots__ = ("_changes", "listing")

    def __init__(self, fs: HostFilesystem, attributes: HostAttributes) -> None:
        super().__init__(fs, attributes)
        self.listing: dict[bytes, Entry] | None = None
        self._changes = 0
        """Names that came or went."""

    def below(self, name: bytes) -> bytes:
        """Return the path of a name in it."""
        path = self.path()
        return path + b"/" + name if path else name

    def entered(self, cache: Dcache) -> int:
        """Return its dentry in the cache, in use; negative: nothing is answered from there any more."""
        index = cache.top()
        for name in self.path().split(b"/") if self is not self.fs.root else ():
            below = dcache.enter(index, name)
            dcache.leave(index)
            if below < 0:
                return below
            index = below
        return index

    async def lookup(self, name: bytes) -> Inode:
        if self.listing is not None and name not in self.listing:
            raise ENOENT
        path = self.below(name)
        attributes = await self.fs.tree.stat(path, self.superblock)
        if attributes.dev not in self.fs.superblocks:
            await self.fs.meet(attributes, path)
        return self.fs.inode(attributes, Place(self, name))

    async def entries(self) -> list[Entry]:
        if self.listing is not None:
            return list(self.listing.values())
        changes = self._changes
        entries = await self.fs.tree.entries(self.path(), self.host, self.superblock)
        if not self.fs.revalidates and changes == self._changes and not memory_is_short():
            self.listing = {entry.name: entry for entry in entries}
        return entries

    async def sync(self, data_only: bool) -> None:
        if not self.is_removed and not self.fs.readonly:
            await self.fs.tree.sync_directory(self.path(), self.host, data_only, self.superblock)

    async def _ask(self, request: Request[R], *others: HostInode) -> R:
        """Ask for a change of its names.  After EIO, with a gofer that died, it is not known whether that was made."""
        try:
            return await self.fs.tree.call(request)
        except EIO:
            for inode in (self, *others):
                inode.doubt()
            raise

    def doubt(self) -> None:
        super().doubt()
        self._changes += 1
        self.listing = None

    def _added(self, name: bytes, packed: bytes) -> HostInode:
        inode = self.fs.inode(self.seen(packed), Place(self, name))
        self._note(name, inode)
        return inode

    def _note(self, name: bytes, inode: Inode) -> None:
        self._changes += 1
        if memory_is_short():
            self.listing = None
        if self.listing is not None:
            self.listing[name] = Entry(name, inode.ino, inode.mode & S_IFMT)
        self.stale = True

    def _removed(self, name: bytes, child: HostInode) -> None:
        self._changes += 1
        if self.listing is not None:
            self.listing.pop(name, None)
        child.lose(Place(self, name))
        self.stale = child.stale = True

    async def create(self, name: bytes, mode: int, owner: Owner) -> Inode:
        opened = await self._ask(gofer.Create(self.file(), name, os.O_RDWR, mode, owner.uid, owner.gid))
        inode = self._added(name, opened.attributes)
        if isinstance(inode, HostRegular):
            with suppress(ENFILE):  # it is there: who opens it hears of that
                inode.adopt(opened.file.take())
        return inode

    async def mkdir(self, name: bytes, mode: int, owner: Owner) -> Inode:
        request = gofer.MakeDirectory(self.file(), name, mode, owner.uid, owner.gid)
        inode = self._added(name, (await self._ask(request)).attributes)
        if isinstance(inode, HostDirectory) and not self.fs.revalidates:
            inode.listing = {}
        return inode

    async def mknod(self, name: bytes, mode: int, rdev: int, owner: Owner) -> Inode:
        kind = mode & S_IFMT
        if kind not in (S_IFIFO, S_IFSOCK):
            raise EPERM
        request = gofer.MakeNode(self.file(), name, kind, mode & 0o7777, owner.uid, owner.gid)
        inode = self._added(name, (await self._ask(request)).attributes)
        inode.give(owner)
        return inode

    async def symlink(self, name: bytes, target: bytes, owner: Owner) -> Inode:
        request = gofer.MakeSymlink(self.file(), name, target, owner.uid, owner.gid)
        inode = self._added(name, (await self._ask(request)).attributes)
        inode.give(owner)
        return inode

    async def link(self, name: bytes, target: Inode) -> Inode:
        assert isinstance(target, HostInode)
        reply = await self._ask(gofer.Link(target.file(), self.file(), name), target)
        inode = self._added(name, reply.attributes)
        target.stale = inode is not target  # an overlay of the host's may number the names of one file apart
        return inode

    async def set_attributes(self, changes: Changes) -> None:
        if not self.is_removed:
            await super().set_attributes(changes)
            return
        # Only who has it open here will ever see what it has.
        there, given = self.host, changes
        self.update(
            replace(
                there,
                mode=there.mode if given.mode is None else there.mode & S_IFMT | given.mode,
                uid=there.uid if given.uid is None else given.uid,
                gid=there.gid if given.gid is None else given.gid,
                atime=there.atime if given.atime is None else given.atime,
                mtime=there.mtime if given.mtime is None else given.mtime,
                ctime=clock(),
            )
        )

    async def unlink(self, name: bytes, child: Inode) -> None:
        await self._remove(name, child, is_directory=False)

    async def rmdir(self, name: bytes, child: Inode) -> None:
        await self._remove(name, child, is_directory=True)

    async def _remove(self, name: bytes, child: Inode, *, is_directory: bool) -> None:
        assert isinstance(child, HostInode)
        await child.before_removal()
        host_file = child.host
        await self._ask(gofer.Unlink(self.file(), name, is_directory, host_file.dev, host_file.ino), child)
        self._removed(name, child)
        child.removed()

    async def rename(
        self, name: bytes, child: Inode, target: Inode, new_name: bytes, replaced: Inode | None, *, replaces: bool
    ) -> None:
        assert isinstance(target, HostDirectory)
        assert isinstance(child, HostInode)
        # Where others make names, what is there by now is replaced as well, if the caller allows that.
        flags = 0 if replaced is not None or (replaces and self.fs.revalidates) else RENAME_NOREPLACE
        if isinstance(replaced, HostInode):
            await replaced.before_removal()
        await self._rename(name, child, target, new_name, flags)
        self._removed(name, child)
        if isinstance(replaced, HostInode):
            target._removed(new_name, replaced)
            replaced.removed()
        child.put(Place(target, new_name))
        target._note(new_name, child)

    async def exchange(self, name: bytes, child: Inode, target: Inode, new_name: bytes, other: Inode) -> None:
        assert isinstance(target, HostDirectory)
        assert isinstance(child, HostInode)
        assert isinstance(other, HostInode)
        await self._rename(name, child, target, new_name, RENAME_EXCHANGE)
        self._removed(name, child)
        target._removed(new_name, other)
        child.put(Place(target, new_name))
        other.put(Place(self, name))
        target._note(new_name, child)
        self._note(name, other)

    async def _rename(self, name: bytes, child: HostInode, target: HostDirectory, new_name: bytes, flags: int) -> None:
        request = gofer.Rename(self.file(), name, target.file(), new_name, flags, child.host.dev, child.host.ino)
        await self._ask(request, target, child)


_TYPES: Final[dict[int, type[HostInode]]] = {S_IFREG: HostRegular, S_IFDIR: HostDirectory, S_IFLNK: HostLink}
