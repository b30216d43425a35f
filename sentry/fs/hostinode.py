"""What all inodes of the host's files have in common (hostfs.py): their places, attributes and permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar, cast

from msgspec.structs import replace

from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import E2BIG, EACCES, EIO, ENOENT, ENOTDIR, ESTALE, LinuxError
from pysc.cabi.linux.stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT, S_IFREG
from pysc.sentry.fs import dcache
from pysc.sentry.fs.inode import (
    Attributes,
    Changes,
    Inode,
    Owner,
)
from pysc.urpc.schema import gofer

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.hostfs import HostDirectory, HostFilesystem
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task
    from pysc.urpc.fds import FileFd
    from pysc.urpc.message import Request

R = TypeVar("R")
AskAttributes: TypeAlias = "Callable[[gofer.File, FileFd | None], Request[R]]"
"""Makes the request, of a name or of an open file."""
GONE: Final = (ENOENT, ENOTDIR, ESTALE)
"""What is heard of a name that the host has taken away, or given to another file."""


class Place(NamedTuple):
    """A name in a directory."""

    directory: HostDirectory
    name: bytes


def as_request(changes: Changes) -> gofer.Changes:
    """Say them to the gofer."""
    return gofer.Changes(
        uid=changes.uid,
        gid=changes.gid,
        mode=changes.mode,
        size=changes.size,
        atime=changes.atime,
        mtime=changes.mtime,
    )


class HostInode(Inode):
    """What all types share.  ``host`` is what was last heard; ``stale`` that something was changed since.

    ``given`` is the owner that a guest gave to a link, FIFO or socket with which the gofer cannot keep one: it is
    remembered as long as this inode is.
    """

    __slots__ = ("given", "host", "is_removed", "places", "stale", "superblock")

    fs: HostFilesystem

    def __init__(self, fs: HostFilesystem, attributes: HostAttributes) -> None:
        super().__init__(fs, attributes.ino, attributes.mode, attributes.uid, attributes.gid)
        self.host = attributes
        self.superblock = fs.superblock(attributes.dev)
        self.places: list[Place] = []
        self.is_removed = False
        """A guest has removed it, or one of its names: others may be left."""
        self.stale = False
        self.given: Owner | None = None

    def path(self) -> bytes:
        """Return the path below the mount's root.

        ENOENT: it has no name any more.  ESTALE: the host has taken it away, or has given it to another file; who walks
        again finds what is there.
        """
        names: list[bytes] = []
        inode: HostInode = self
        root = self.fs.root
        while inode is not root:
            if not inode.places:
                raise ENOENT if inode.is_removed or not self.fs.revalidates else ESTALE
            inode, name = inode.places[-1]
            names.append(name)
        return b"/".join(reversed(names)) or self.fs.tree.base

    @property
    def has_names(self) -> bool:
        """Whether it has some, or the host is asked how many."""
        return bool(self.places) or self is self.fs.root

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
        self.update(self.seen(reply.attributes))

    def seen(self, packed: bytes) -> HostAttributes:
        """Unpack the gofer's word on it, or on a new file in it: the same mount has another number there."""
        return replace(HostAttributes.unpack_from(packed), mnt_id=self.host.mnt_id)

    def doubt(self) -> None:
        """What was heard of it may be wrong by now."""
        self.stale = True

    def give(self, owner: Owner) -> None:
        """A guest has made it this owner's."""
        if self.fs.tree.maps_owners and self.mode & S_IFMT not in (S_IFREG, S_IFDIR):
            self.given = owner
            self.update(self.host)

    async def refresh(self) -> None:
        """Ask for the attributes again.  ESTALE: the name is another file's, where others may give it away."""
        if self.places or self is self.fs.root:
            found = await self.fs.tree.stat(self.path(), self.superblock)
            if self.fs.revalidates and not self.is_same(found):
                raise ESTALE
            self.update(found)

    def is_same(self, found: HostAttributes) -> bool:
        """Whether what was found is this file."""
        there = self.host
        return (found.dev, found.ino) == (there.dev, there.ino) and (found.mode ^ self.mode) & S_IFMT == 0

    async def revalidate(self, parent: Inode, name: bytes) -> bool:
        directory = cast("HostDirectory", parent)
        place = Place(directory, name)
        try:
            attributes = await self.fs.tree.stat(directory.below(name), self.superblock)
        except LinuxError:
            attributes = None
        if attributes is not None and self.is_same(attributes):
            self.update(attributes)
            self.put(place)
            return True
        self.lose(place)
        self.lost()
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

    def put(self, place: Place) -> None:
        """It is found at ``place``, by which its path is told: a file there, too, a directory nowhere else any more.

        Not a directory below itself: of such a place, which only a gofer could make up, no path could be told.
        """
        if self.places and self.places[-1] == place:
            return
        if self.mode & S_IFMT == S_IFDIR:
            if self._is_above(place.directory):
                return
            self.places.clear()
        self.lose(place)
        self.places.append(place)

    def _is_above(self, inode: HostInode) -> bool:
        while inode is not self:
            if not inode.places:
                return False
            inode = inode.places[-1].directory
        return True

    def lose(self, place: Place) -> None:
        """It is no longer found at ``place``."""
        if place in self.places:
            self.places.remove(place)

    async def before_removal(self) -> None:
        """A name of it is about to go, maybe the last one."""

    def removed(self) -> None:
        """A guest has removed a name of it, maybe the last one."""
        self.is_removed = True
        self.lost()

    def lost(self) -> None:
        """A name of it has gone, maybe the last one: what is kept for who opens it next is of no use then."""

    async def attributes(self) -> Attributes:
        if self.stale or self.fs.revalidates:
            try:
                await self.refresh()
            except GONE:
                if not self.fs.revalidates:
                    raise
        a = self.host
        nlink = a.nlink if self.has_names else 0
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
        try:
            reply = await self.fs.tree.call(gofer.SetAttributes(self.file(), as_request(changes)))
        except EIO:
            self.doubt()
            raise
        self.made(reply)
        if changes.uid is not None or changes.gid is not None:
            uid, gid = changes.uid, changes.gid
            self.give(Owner(self.uid if uid is None else uid, self.gid if gid is None else gid))

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription | None:
        if self.mode & S_IFMT in (S_IFCHR, S_IFBLK):
            raise EACCES("a device of the host")
        return None

    # Extended attributes
    async def ask_attributes(self, ask: AskAttributes[R], *, write: bool) -> R:
        """Ask about extended attributes by name; subclasses know what else a file can be asked by."""
        return await self.fs.tree.call(ask(self.file(), None))

    async def get_xattr(self, name: bytes) -> bytes:
        return (await self.ask_attributes(lambda file, fd: gofer.GetXattr(file, name, fd), write=False)).value

    async def set_xattr(self, name: bytes, value: bytes, flags: int) -> None:
        if len(value) > gofer.MAX_XATTR:
            raise E2BIG
        await self.ask_attributes(lambda file, fd: gofer.SetXattr(file, name, value, flags, fd), write=True)
        self.stale = True

    async def list_xattrs(self) -> list[bytes]:
        return (await self.ask_attributes(gofer.ListXattrs, write=False)).names

    async def remove_xattr(self, name: bytes) -> None:
        await self.ask_attributes(lambda file, fd: gofer.RemoveXattr(file, name, fd), write=True)
        self.stale = True
