"""Inodes and file systems: what every type of file is, with Linux's answers for what it does not support.

A file system type overrides what it supports.  Paths, permissions, mounts and the dentry cache are the VFS's
(walk.py, namei.py): an inode is asked only for what is allowed, by names that are no ``.``, ``..`` and hold no slash.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import msgspec

from pysc.cabi.linux.errors import EINVAL, EISDIR, ENODEV, ENOTDIR, EOPNOTSUPP, EPERM
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT, S_IFREG, makedev
from pysc.sentry.fs.mutex import Mutex
from pysc.sentry.fs.shown import ShownInode

if TYPE_CHECKING:
    from pysc.sentry.fs.data import Data
    from pysc.sentry.fs.dcache import Dcache
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.notify import Watcher
    from pysc.sentry.fs.path import Dentry, Path
    from pysc.sentry.fs.pipe import Pipe
    from pysc.sentry.kernel.locks import FileLocks
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.net.unix import UnixSocket

BLOCK: Final = 4096

clock: Callable[[], int] = time.time_ns
"""The time that files are stamped with: nanoseconds since the epoch."""

_minors: Final = count(1)


def anonymous_device() -> int:
    """Return a device number for a file system without a device."""
    return makedev(0, next(_minors))


class Attributes(msgspec.Struct, gc=False):
    """What stat(2) shows; times are nanoseconds since the epoch."""

    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int = 0
    size: int = 0
    blksize: int = BLOCK
    blocks: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    btime: int = 0


class Changes(msgspec.Struct, frozen=True, gc=False):
    """What setattr changes: None leaves it.  The VFS has checked who may, and has cleared what must be cleared."""

    mode: int | None = None
    """Permission bits only."""
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


class Kept(Protocol):
    """What has its attributes in memory."""

    mode: int
    uid: int
    gid: int
    atime: int
    mtime: int
    ctime: int


def take_changes(inode: Kept, changes: Changes) -> None:
    """Make all changes but that of the size, and note when."""
    if changes.mode is not None:
        inode.mode = inode.mode & S_IFMT | changes.mode
    if changes.uid is not None:
        inode.uid = changes.uid
    if changes.gid is not None:
        inode.gid = changes.gid
    if changes.atime is not None:
        inode.atime = changes.atime
    if changes.mtime is not None:
        inode.mtime = changes.mtime
    inode.ctime = clock()


class Owner(msgspec.Struct, frozen=True, gc=False):
    """Whose a new inode is."""

    uid: int
    gid: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One name in a directory."""

    name: bytes
    ino: int
    kind: int
    """The file type bits of the mode, S_IF*; 0 if unknown."""


class FsStatistics(msgspec.Struct, frozen=True):
    """What statfs(2) shows, mount flags apart; blocks are of ``bsize`` bytes."""

    magic: int
    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    bsize: int = BLOCK
    namelen: int = 255


class Filesystem:
    """A mounted superblock.  ``root`` is its top inode."""

    __slots__ = (
        "_cookie",
        "dcache",
        "dev",
        "readonly",
        "remembers_absent",
        "rename_mutex",
        "revalidates",
        "root",
        "watchers",
    )

    name: ClassVar[bytes] = b"none"
    """The type, as /proc/mounts has it."""
    showable: ClassVar[bool] = False
    """Its names and permissions change through the VFS alone, and inodes say when (:meth:`Inode.show`)."""
    magic: ClassVar[int] = 0

    root: Inode

    def __init__(self) -> None:
        self.dev = anonymous_device()
        self.readonly = False
        self.revalidates = False
        """Names may change behind the VFS, so each cached one is asked about with :meth:`Inode.revalidate`."""
        self.remembers_absent = False
        """Nobody else can make names appear, and asking costs something."""
        self.dcache: Dcache | None = None
        """What fast paths may answer from; made when it is first needed, if ``showable``."""
        self.rename_mutex = Mutex()
        """Held by who moves a name from one directory to another, so that none gets below itself."""
        self.watchers: dict[Watcher, None] = {}
        """Who is told of all that changes (notify.py)."""
        self._cookie = self.dev << 20
        """The last one; file systems begin at different ones, since one watcher may hear of several."""

    def next_cookie(self) -> int:
        """Return what joins the two events of a move (inotify(7))."""
        self._cookie = self._cookie + 1 & 0xFFFF_FFFF
        return self._cookie

    @property
    def tree_cache(self) -> Dcache | None:
        """The cache, if fast paths look at a tree of the host's by themselves."""
        return self.dcache if self.dcache is not None and self.dcache.has_tree else None

    async def statistics(self) -> FsStatistics:
        """statfs(2)."""
        return FsStatistics(self.magic)

    async def sync(self) -> None:
        """syncfs(2)."""

    def root_dentry(self) -> Dentry | None:
        """Return what all mounts have as their root; None: each makes its own."""
        return None

    def options(self) -> bytes:
        """Return what /proc/mounts shows behind ``rw``: b"" or b",size=64k"."""
        return b""


class Inode:
    """A file of any type.

    Invariant: ``mode``, ``uid`` and ``gid`` are what permissions are checked by; ``mode`` has the type bits, which
    never change.  ``ino`` is unique in ``fs``.
    """

    __slots__ = ("__weakref__", "_mutex", "fs", "gid", "ino", "locks", "mode", "shown", "special", "uid", "writecount")

    cacheable: ClassVar[bool] = True
    """Whether a name that is this inode may be kept as a dentry."""

    def __init__(self, fs: Filesystem, ino: int, mode: int, uid: int = 0, gid: int = 0) -> None:
        self.fs = fs
        self.ino = ino
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.special: Pipe | UnixSocket | None = None
        """What a FIFO's or a socket's inode stands for: its pipe, the bound socket (special.py)."""
        self.locks: FileLocks | None = None
        """flock(2) and fcntl(2) locks, if there ever were any."""
        self.writecount = 0
        """How many descriptions may write; negative: how many keep others from it, since they execute it."""
        self._mutex: Mutex | None = None
        self.shown: ShownInode | None = None
        """What fast paths see of it, if they do."""

    @property
    def mutex(self) -> Mutex:
        """What guards the names in this directory while they change or are looked up."""
        if self._mutex is None:
            self._mutex = Mutex()
        return self._mutex

    def withdraw(self) -> None:
        """Something is known of it here alone from now on: fast paths do not answer for its names any more."""
        if self.shown is not None:
            self.shown.withdraw()

    def show(self) -> ShownInode:
        """Let fast paths see it; who changes mode, uid or gid updates what they see."""
        if self.shown is None:
            self.shown = ShownInode(self)
        return self.shown

    # Metadata
    async def attributes(self) -> Attributes:
        """What stat(2) shows."""
        return Attributes(
            self.fs.dev, self.ino, self.mode, 2 if self.mode & S_IFMT == S_IFDIR else 1, self.uid, self.gid
        )

    async def set_attributes(self, changes: Changes) -> None:
        """chmod(2), chown(2), utimensat(2), truncate(2)."""
        raise EPERM

    async def revalidate(self, parent: Inode, name: bytes) -> bool:
        """Whether ``name`` in ``parent`` is still this inode; refreshes it (Filesystem.revalidates only)."""
        return True

    # Directories
    async def lookup(self, name: bytes) -> Inode:
        """Return what ``name`` is.  ENOENT, ENOTDIR."""
        raise ENOTDIR

    async def entries(self) -> list[Entry]:
        """Return all names but ``.`` and ``..``, in the order in which getdents64(2) shows them."""
        raise ENOTDIR

    async def create(self, name: bytes, mode: int, owner: Owner) -> Inode:
        """Make a regular file.  EEXIST if a peer was faster, ENOSPC …"""
        raise EPERM

    async def mkdir(self, name: bytes, mode: int, owner: Owner) -> Inode:
        """Make a directory."""
        raise EPERM

    async def mknod(self, name: bytes, mode: int, rdev: int, owner: Owner) -> Inode:
        """Make a FIFO, socket or device."""
        raise EPERM

    async def symlink(self, name: bytes, target: bytes, owner: Owner) -> Inode:
        """Make a symbolic link."""
        raise EPERM

    async def link(self, name: bytes, target: Inode) -> Inode:
        """Make ``name`` a hard link to ``target``, an inode of the same file system; return what it leads to."""
        raise EPERM

    async def unlink(self, name: bytes, child: Inode) -> None:
        """Remove ``name``, which is ``child`` and no directory."""
        raise EPERM

    async def rmdir(self, name: bytes, child: Inode) -> None:
        """Remove the directory ``child``.  ENOTEMPTY."""
        raise EPERM

    async def rename(
        self, name: bytes, child: Inode, target: Inode, new_name: bytes, replaced: Inode | None, *, replaces: bool
    ) -> None:
        """Make ``child`` appear as ``new_name`` in the directory ``target`` instead; ``replaced`` goes.  ENOTEMPTY.

        ``replaces``: what others have made there meanwhile goes as well; else EEXIST.
        """
        raise EPERM

    async def exchange(self, name: bytes, child: Inode, target: Inode, new_name: bytes, other: Inode) -> None:
        """Swap two names (RENAME_EXCHANGE)."""
        raise EINVAL

    async def tmpfile(self, mode: int, owner: Owner) -> Inode:
        """Make a file without a name in this file system (O_TMPFILE)."""
        raise EOPNOTSUPP

    # Symbolic links
    async def readlink(self, task: Task) -> bytes:
        """Return the text of a symbolic link.  EINVAL for what is none."""
        raise EINVAL

    async def follow(self, task: Task) -> Path | None:
        """Return where a magic link of /proc leads; None for an ordinary one, whose text is walked."""
        return None

    # Files
    def data(self) -> Data | None:
        """Return where fast paths find the bytes of a regular file, and what stat(2) shows of a directory, too.

        None: they leave it alone.  Always the same.
        """
        return None

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription | None:
        """Return a new description; None: the VFS opens it by its type (open.py).  Permissions are checked already."""
        return None

    async def open_data(self, write: bool) -> None:
        """Prepare read_at (and write_at); paired with :meth:`close_data`."""

    def adopt_reader(self, fd: int) -> None:
        """Do as ``open_data(False)`` does, with a descriptor of the host file that is open already; takes it over."""
        raise NotImplementedError

    def close_data(self, write: bool) -> None:
        """Undo one :meth:`open_data`."""

    async def read_at(self, size: int, offset: int) -> bytes:
        """Read up to ``size`` bytes at ``offset``; b"" at or behind the end."""
        raise EISDIR if self.mode & S_IFMT == S_IFDIR else EINVAL

    def read_nowait(self, size: int, offset: int) -> bytes | None:
        """As :meth:`read_at`, if the bytes are at hand; None: that may wait."""
        return None

    async def write_at(self, data: bytes, offset: int | None) -> tuple[int, int]:
        """Write at ``offset``, or at the end if that is None: the number of bytes, and the position behind them."""
        raise EINVAL

    async def size(self) -> int:
        """Return how long the file is."""
        return (await self.attributes()).size

    async def seek_data(self, offset: int, hole: bool) -> int:
        """Return the next position of data, or of a hole, from ``offset``, which is below the size (SEEK_DATA)."""
        return await self.size() if hole else offset

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2)."""
        raise ENODEV if self.mode & S_IFMT != S_IFREG else EOPNOTSUPP

    async def sync(self, data_only: bool) -> None:
        """fsync(2), fdatasync(2)."""

    async def mapping_fd(self, write: bool) -> int:
        """Return a host descriptor (borrowed) to be mapped; open for writing only if ``write``."""
        raise ENODEV

    # Extended attributes
    async def get_xattr(self, name: bytes) -> bytes:
        """Return the value.  ENODATA, EOPNOTSUPP."""
        raise EOPNOTSUPP

    async def set_xattr(self, name: bytes, value: bytes, flags: int) -> None:
        """Set it (XATTR_CREATE, XATTR_REPLACE).  EEXIST, ENODATA, EOPNOTSUPP."""
        raise EOPNOTSUPP

    async def list_xattrs(self) -> list[bytes]:
        """Return the names."""
        return []

    async def remove_xattr(self, name: bytes) -> None:
        """Remove it.  ENODATA, EOPNOTSUPP."""
        raise EOPNOTSUPP
