"""Files of the host, behind the gofer (kernel.md 1-3): what the root and the bind mounts are.

Exclusive mounts are cached: a directory that was listed whole is *complete*, so absent names need no call.  On shared
ones the host may change anything: each name is checked again when it is walked, and attributes are always fresh.

An inode knows its places (directory and name): the path of a file is made from them when it is needed, so a rename of
a directory costs nothing.  A file without a place was unlinked; what is open stays usable by its descriptors.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from msgspec.structs import replace

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EACCES, ENOENT, EOPNOTSUPP, EPERM, LinuxError, answered_by_host
from pysc.cabi.linux.fcntl import RENAME_EXCHANGE, RENAME_NOREPLACE
from pysc.cabi.linux.stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
from pysc.sentry.fs import dcache
from pysc.sentry.fs.data import Data
from pysc.sentry.fs.dcache import Dcache, Lower
from pysc.sentry.fs.inode import (
    Attributes,
    Changes,
    Entry,
    Filesystem,
    FsStatistics,
    Inode,
    Owner,
    anonymous_device,
)
from pysc.sentry.fs.superblock import DATA, NAMES, Superblock
from pysc.sentry.fs.tree import Tree
from pysc.urpc.fds import FileFd
from pysc.urpc.schema import gofer

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.workers import WorkerClient

T = TypeVar("T")
IDLE_MAX: Final = 512
"""Descriptors of files that nobody has open, kept for the next open."""


class HostFilesystem(Filesystem):
    """One mount.  ``inodes`` are those in use, by the host's identity; ``superblocks`` what it shows, by device."""

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
        self.inodes: WeakValueDictionary[tuple[int, int], HostInode] = WeakValueDictionary()
        self.idle: OrderedDict[HostRegular, None] = OrderedDict()
        self.superblocks: dict[int, Superblock] = {}
        self._devices: dict[int, int] = {}

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
        key = (attributes.dev, attributes.ino)
        inode = self.inodes.get(key)
        if inode is not None and (inode.mode ^ attributes.mode) & S_IFMT == 0:
            inode.update(attributes)
        else:
            inode = _TYPES.get(attributes.mode & S_IFMT, HostInode)(self, attributes)
            self.inodes[key] = inode
        if place is not None and place not in inode.places:
            if inode.mode & S_IFMT == S_IFDIR:
                inode.places.clear()
            inode.places.append(place)
        return inode

    def keep_idle(self, inode: HostRegular) -> None:
        """Remember that nobody has ``inode`` open any more; the longest idle loses its descriptor."""
        self.idle[inode] = None
        if len(self.idle) > IDLE_MAX:
            self.idle.popitem(last=False)[0].close_idle()

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


class Place(NamedTuple):
    """A name in a directory."""

    directory: HostDirectory
    name: bytes


class HostInode(Inode):
    """What all types share.  ``host`` is what was last heard; ``stale`` that something was changed since.

    ``given`` is the owner that a guest gave to a link, FIFO or socket with which the gofer cannot keep one: it is
    remembered as long as this inode is.
    """

    __slots__ = ("given", "host", "places", "stale", "superblock")

    fs: HostFilesystem

    def __init__(self, fs: HostFilesystem, attributes: HostAttributes) -> None:
        super().__init__(fs, attributes.ino, attributes.mode, attributes.uid, attributes.gid)
        self.host = attributes
        self.superblock = fs.superblock(attributes.dev)
        self.places: list[Place] = []
        self.stale = False
        self.given: Owner | None = None

    def path(self) -> bytes:
        """Return the path below the mount's root.  ENOENT: it has no name any more."""
        names: list[bytes] = []
        inode: HostInode = self
        root = self.fs.root
        while inode is not root:
            if not inode.places:
                raise ENOENT
            inode, name = inode.places[-1]
            names.append(name)
        return b"/".join(reversed(names)) or self.fs.tree.base

    def file(self) -> gofer.File:
        """Name it to the gofer."""
        return self.fs.tree.file(self.path(), self.host)

    def update(self, attributes: HostAttributes) -> None:
        """Take what was heard."""
        if self.given is not None:
            attributes = replace(attributes, uid=self.given.uid, gid=self.given.gid)
        self.host = attributes
        self.mode = attributes.mode
        self.uid = attributes.uid
        self.gid = attributes.gid
        self.stale = False
        if self.shown is not None:
            self.shown.update(self)

    def made(self, reply: gofer.Made) -> None:
        """Take the attributes that a request answered with."""
        self.update(HostAttributes.unpack_from(reply.attributes))

    def give(self, owner: Owner) -> None:
        """A guest has made it this owner's."""
        if self.fs.tree.maps_owners and self.mode & S_IFMT not in (S_IFREG, S_IFDIR):
            self.given = owner
            self.update(self.host)

    async def refresh(self) -> None:
        """Ask for the attributes again."""
        if self.places or self is self.fs.root:
            self.update(await self.fs.tree.stat(self.path(), self.superblock))

    async def revalidate(self, parent: Inode, name: bytes) -> bool:
        assert isinstance(parent, HostDirectory)
        try:
            attributes = await self.fs.tree.stat(parent.below(name), self.superblock)
        except LinuxError:
            attributes = None
        same = (
            attributes is not None
            and (attributes.dev, attributes.ino) == (self.host.dev, self.host.ino)
            and (attributes.mode ^ self.mode) & S_IFMT == 0
        )
        if same and attributes is not None:
            self.update(attributes)
            return True
        self.lose(Place(parent, name))
        return False

    def withdraw(self) -> None:
        super().withdraw()
        cache = self.fs.tree_cache
        if cache is None:
            return
        if self is self.fs.root:
            cache.disable()
        for directory, name in self.places:
            parent = directory.entered(cache)
            if parent >= 0:
                dcache.withdraw(parent, name, dcache.INODE)
                dcache.leave(parent)

    def lose(self, place: Place) -> None:
        """It is no longer found at ``place``."""
        if place in self.places:
            self.places.remove(place)

    async def attributes(self) -> Attributes:
        if self.stale or self.fs.revalidates:
            try:
                await self.refresh()
            except ENOENT:
                if not self.fs.revalidates:
                    raise
        a = self.host
        nlink = a.nlink if self.places or self is self.fs.root else 0
        dev = self.fs.device(a.dev)
        return Attributes(
            dev,
            a.ino,
            a.mode,
            nlink,
            a.uid,
            a.gid,
            a.rdev,
            a.size,
            a.blksize,
            a.blocks,
            a.atime,
            a.mtime,
            a.ctime,
            a.btime,
        )

    async def set_attributes(self, changes: Changes) -> None:
        wanted = gofer.Changes(
            uid=changes.uid,
            gid=changes.gid,
            mode=changes.mode,
            size=changes.size,
            atime=changes.atime,
            mtime=changes.mtime,
        )
        self.made(await self.fs.tree.call(gofer.SetAttributes(self.file(), wanted)))
        if changes.uid is not None or changes.gid is not None:
            uid, gid = changes.uid, changes.gid
            self.give(Owner(self.uid if uid is None else uid, self.gid if gid is None else gid))

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription | None:
        if self.mode & S_IFMT in (S_IFCHR, S_IFBLK):
            raise EACCES("a device of the host")
        return None

    # Extended attributes
    async def get_xattr(self, name: bytes) -> bytes:
        return (await self.fs.tree.call(gofer.GetXattr(self.file(), name))).value

    async def set_xattr(self, name: bytes, value: bytes, flags: int) -> None:
        await self.fs.tree.call(gofer.SetXattr(self.file(), name, value, flags))
        self.stale = True

    async def list_xattrs(self) -> list[bytes]:
        return (await self.fs.tree.call(gofer.ListXattrs(self.file()))).names

    async def remove_xattr(self, name: bytes) -> None:
        await self.fs.tree.call(gofer.RemoveXattr(self.file(), name))
        self.stale = True


class HostLink(HostInode):
    """A symbolic link; its text never changes."""

    __slots__ = ("_target",)

    def __init__(self, fs: HostFilesystem, attributes: HostAttributes) -> None:
        super().__init__(fs, attributes)
        self._target: bytes | None = None

    async def readlink(self, task: Task) -> bytes:
        if self._target is None:
            self._target = await self.fs.tree.read_link(self.path(), self.host, self.superblock)
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
        if not self.fs.revalidates and changes == self._changes:
            self.listing = {entry.name: entry for entry in entries}
        return entries

    def _added(self, name: bytes, packed: bytes) -> HostInode:
        inode = self.fs.inode(HostAttributes.unpack_from(packed), Place(self, name))
        self._note(name, inode)
        return inode

    def _note(self, name: bytes, inode: Inode) -> None:
        self._changes += 1
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
        opened = await self.fs.tree.call(gofer.Create(self.file(), name, os.O_RDWR, mode, owner.uid, owner.gid))
        inode = self._added(name, opened.attributes)
        if isinstance(inode, HostRegular):
            inode.adopt(opened.file.take())
        return inode

    async def mkdir(self, name: bytes, mode: int, owner: Owner) -> Inode:
        request = gofer.MakeDirectory(self.file(), name, mode, owner.uid, owner.gid)
        inode = self._added(name, (await self.fs.tree.call(request)).attributes)
        if isinstance(inode, HostDirectory) and not self.fs.revalidates:
            inode.listing = {}
        return inode

    async def mknod(self, name: bytes, mode: int, rdev: int, owner: Owner) -> Inode:
        kind = mode & S_IFMT
        if kind not in (S_IFIFO, S_IFSOCK):
            raise EPERM
        request = gofer.MakeNode(self.file(), name, kind, mode & 0o7777, owner.uid, owner.gid)
        inode = self._added(name, (await self.fs.tree.call(request)).attributes)
        inode.give(owner)
        return inode

    async def symlink(self, name: bytes, target: bytes, owner: Owner) -> Inode:
        request = gofer.MakeSymlink(self.file(), name, target, owner.uid, owner.gid)
        inode = self._added(name, (await self.fs.tree.call(request)).attributes)
        inode.give(owner)
        return inode

    async def link(self, name: bytes, target: Inode) -> None:
        assert isinstance(target, HostInode)
        reply = await self.fs.tree.call(gofer.Link(target.file(), self.file(), name))
        self._added(name, reply.attributes)

    async def unlink(self, name: bytes, child: Inode) -> None:
        await self._remove(name, child, is_directory=False)

    async def rmdir(self, name: bytes, child: Inode) -> None:
        await self._remove(name, child, is_directory=True)

    async def _remove(self, name: bytes, child: Inode, *, is_directory: bool) -> None:
        assert isinstance(child, HostInode)
        host_file = child.host
        await self.fs.tree.call(gofer.Unlink(self.file(), name, is_directory, host_file.dev, host_file.ino))
        self._removed(name, child)

    async def rename(self, name: bytes, child: Inode, target: Inode, new_name: bytes, replaced: Inode | None) -> None:
        assert isinstance(target, HostDirectory)
        assert isinstance(child, HostInode)
        flags = 0 if replaced is not None else RENAME_NOREPLACE
        await self._rename(name, child, target, new_name, flags if not self.fs.revalidates else 0)
        self._removed(name, child)
        if isinstance(replaced, HostInode):
            target._removed(new_name, replaced)
        child.places.append(Place(target, new_name))
        target._note(new_name, child)

    async def exchange(self, name: bytes, child: Inode, target: Inode, new_name: bytes, other: Inode) -> None:
        assert isinstance(target, HostDirectory)
        assert isinstance(child, HostInode)
        assert isinstance(other, HostInode)
        await self._rename(name, child, target, new_name, RENAME_EXCHANGE)
        self._removed(name, child)
        target._removed(new_name, other)
        child.places.append(Place(target, new_name))
        other.places.append(Place(self, name))
        target._note(new_name, child)
        self._note(name, other)

    async def _rename(self, name: bytes, child: HostInode, target: HostDirectory, new_name: bytes, flags: int) -> None:
        await self.fs.tree.call(
            gofer.Rename(self.file(), name, target.file(), new_name, flags, child.host.dev, child.host.ino)
        )


class HostRegular(HostInode):
    """A regular file.

    Invariant: ``users`` descriptions have it open, ``writers`` of them for writing.  While ``write_fd`` is open it
    serves reads, too: on overlayfs a descriptor from before the first open for writing shows the old file.
    """

    __slots__ = ("_busy", "_data", "_refuses", "_replaced", "read_fd", "users", "write_fd", "writers")

    def __init__(self, fs: HostFilesystem, attributes: HostAttributes) -> None:
        super().__init__(fs, attributes)
        self._data = Data()
        self._data.c.super = self.superblock.number
        if fs.revalidates:
            self._data.distrust()
        self._refuses = False  # RWF_NOWAIT, as does all that has no disk, and overlayfs
        self.read_fd = -1
        self.write_fd = -1
        self.users = 0
        self.writers = 0
        self._busy = 0
        self._replaced: list[int] = []
        """Descriptors that nobody uses any more but ``_busy`` calls of workers, maybe."""

    def __del__(self) -> None:
        self.close_idle()

    def close_idle(self) -> None:
        """Close the descriptors if nobody uses them."""
        if not self.users:
            for fd in (self.read_fd, self.write_fd):
                if fd >= 0:
                    self.fs.tree.close(fd, self.superblock, last=not self.places)
            self.read_fd = self.write_fd = -1
            self._data.set_host(-1)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in ("host", "stale") and (data := getattr(self, "_data", None)) is not None:
            data.touch()

    def data(self) -> Data:
        return self._data

    def adopt(self, fd: int) -> None:
        """Take over the descriptor that came with its creation."""
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
            if write and self.write_fd < 0:
                fd = await self.fs.tree.open_write(self.path(), self.host)
                self._set_write_fd(fd)
            elif self.write_fd < 0 and self.read_fd < 0:
                await self._open_reader()
        except BaseException:
            self.close_data(write)
            raise

    def adopt_reader(self, fd: int) -> None:
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
        self._set_read_fd(await self.fs.tree.open_read(self.path(), self.host, self.superblock))

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

    def _replace(self, fd: int) -> None:
        if self._busy:
            self._replaced.append(fd)
        else:
            self.fs.tree.close(fd, self.superblock)

    def _set_write_fd(self, fd: int) -> None:
        if self.write_fd >= 0:
            self.fs.tree.close(fd, self.superblock)
            return
        self.write_fd = fd
        self._data.set_host(fd)
        if self.read_fd >= 0:
            self._replace(self.read_fd)
            self.read_fd = -1

    def _set_read_fd(self, fd: int) -> None:
        if self.read_fd >= 0:
            self.fs.tree.close(fd, self.superblock)
        else:
            self.read_fd = fd
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
    def fd(self) -> int:
        """The descriptor to read by."""
        return self.write_fd if self.write_fd >= 0 else self.read_fd

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

    async def set_attributes(self, changes: Changes) -> None:
        if self.places or self.write_fd < 0:
            await super().set_attributes(changes)
            return
        wanted = gofer.Changes(
            uid=changes.uid,
            gid=changes.gid,
            mode=changes.mode,
            size=changes.size,
            atime=changes.atime,
            mtime=changes.mtime,
        )
        request = gofer.SetOpenAttributes(self.fs.tree.mount, FileFd.lend(self.write_fd), wanted)
        self.made(await self.fs.tree.call(request))

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

    async def mapping_fd(self, write: bool) -> int:
        if write:
            self.stale = True
            return self.write_fd
        if self.read_fd < 0:
            await self._open_reader()
        return self.read_fd


_TYPES: Final[dict[int, type[HostInode]]] = {S_IFREG: HostRegular, S_IFDIR: HostDirectory, S_IFLNK: HostLink}
