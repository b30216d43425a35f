"""tmpfs (tmpfs(5)): files in the sentry's memory."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, ClassVar, Final

from pysc.cabi import objects
from pysc.cabi.linux.errors import EEXIST, EINVAL, EMLINK, ENODATA, ENOENT, ENOSPC, ENOTEMPTY, answered_by_host
from pysc.cabi.linux.fcntl import F_SEAL_SEAL
from pysc.cabi.linux.mount import TMPFS_MAGIC
from pysc.cabi.linux.stat import (
    PERMISSIONS,
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_ISGID,
    S_ISUID,
    XATTR_CREATE,
    XATTR_REPLACE,
)
from pysc.sentry.fs.data import Data
from pysc.sentry.fs.inode import (
    BLOCK,
    Attributes,
    Changes,
    Entry,
    Filesystem,
    FsStatistics,
    Inode,
    Owner,
    clock,
    take_changes,
)
from pysc.sentry.fs.memory_file import Budget, Contents
from pysc.sentry.kernel.scheduler import yield_now

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

LINK_MAX: Final = 32000
UNLIMITED: Final = 1 << 40
ENTRIES_AT_ONCE: Final = 2048
"""Of a directory, that are listed between two yields."""
_SUFFIXES: Final = {b"k": 10, b"m": 20, b"g": 30}


def parse_size(text: bytes, total: int) -> int:
    """Return the bytes that a ``size=`` option means; ``total`` is what % is of.  EINVAL."""
    number, shift = text, 0
    if text[-1:] == b"%":
        number = text[:-1]
    elif text[-1:].lower() in _SUFFIXES:
        number, shift = text[:-1], _SUFFIXES[text[-1:].lower()]
    if not number.isdigit() or len(number) > 18:
        raise EINVAL(f"bad size {text.decode('ascii', 'backslashreplace')}")
    return total * int(number) // 100 if text[-1:] == b"%" else int(number) << shift


class Tmpfs(Filesystem):
    """One tmpfs.  ``limit`` and ``inodes`` bound it, beside the budget above that all share."""

    __slots__ = ("_inos", "budget", "inode_limit", "inodes", "shown")

    name = b"tmpfs"
    magic = TMPFS_MAGIC
    showable = True
    root: TmpfsDirectory

    def __init__(
        self,
        parent: Budget | None = None,
        *,
        size: int = 0,
        inodes: int = 0,
        mode: int = 0o1777,
        owner: Owner = Owner(0, 0),  # noqa: B008  # frozen
    ) -> None:
        super().__init__()
        self.budget = Budget(-(-size // BLOCK) if size else UNLIMITED, parent)
        self.inode_limit = inodes or UNLIMITED
        self.inodes = 0
        self.remembers_absent = True
        self._inos = count(1)
        self.shown = b",size=%dk" % (size >> 10) if size else b""
        self.root = TmpfsDirectory(self, S_IFDIR | mode, owner)

    @classmethod
    def with_options(cls, options: Mapping[bytes, bytes], parent: Budget | None, total: int) -> Tmpfs:
        """Make one from mount options (size, nr_blocks, nr_inodes, mode, uid, gid); others are EINVAL."""
        size, inodes, mode, uid, gid = total // 2, 0, 0o1777, 0, 0
        for key, value in options.items():
            if key == b"size":
                size = parse_size(value, total)
            elif key == b"nr_blocks":
                size = parse_size(value, total) * BLOCK
            elif key == b"nr_inodes":
                inodes = parse_size(value, 0)
            elif key == b"mode":
                mode = _number(value, 8) & PERMISSIONS
            elif key == b"uid":
                uid = _number(value, 10)
            elif key == b"gid":
                gid = _number(value, 10)
            elif key not in (b"huge", b"mpol", b"inode32", b"inode64", b"seclabel", b"noswap"):
                raise EINVAL(f"unknown option {key.decode('ascii', 'backslashreplace')}")
        return cls(parent, size=size, inodes=inodes, mode=mode, owner=Owner(uid, gid))

    def new_ino(self) -> int:
        """Return the number for a new inode.  ENOSPC."""
        if self.inodes >= self.inode_limit or objects.memory_is_short():
            raise ENOSPC
        self.inodes += 1
        return next(self._inos)

    async def statistics(self) -> FsStatistics:
        """Return what the budgets leave."""
        budget = self.budget
        free = budget.free
        total = budget.limit if budget.parent is None else min(budget.limit, budget.used + free)
        files = 0 if self.inode_limit == UNLIMITED else self.inode_limit
        return FsStatistics(self.magic, total, free, free, files, max(0, files - self.inodes))

    def options(self) -> bytes:
        """Return the size."""
        return self.shown


def _number(text: bytes, base: int) -> int:
    try:
        value = int(text[:12], base)
    except ValueError:
        raise EINVAL(f"not a number: {text.decode('ascii', 'backslashreplace')}") from None
    if not 0 <= value < 0xFFFF_FFFF:
        raise EINVAL
    return value


class TmpfsInode(Inode):
    """What all types share.

    Invariants: ``nlink`` counts the names, for a directory as Linux does; when anything changes that stat(2) shows,
    ``ctime`` does, too, before anybody can look.
    """

    __slots__ = ("_ctime", "atime", "btime", "mtime", "nlink", "xattrs")

    fs: Tmpfs
    rdev: ClassVar[int] = 0

    def __init__(self, fs: Tmpfs, mode: int, owner: Owner) -> None:
        super().__init__(fs, fs.new_ino(), mode, owner.uid, owner.gid)
        self.nlink = 1
        self.atime = self.mtime = self._ctime = self.btime = clock()
        self.xattrs: dict[bytes, bytes] | None = None

    def __del__(self) -> None:
        if hasattr(self, "fs"):  # not if there was no number left
            self.fs.inodes -= 1

    @property
    def ctime(self) -> int:
        """When something of it changed last, ns."""
        return self._ctime

    @ctime.setter
    def ctime(self, time: int) -> None:
        self._ctime = time
        self.touch()

    def touch(self) -> None:
        """Fast paths do not know any more what stat(2) shows."""

    def extent(self) -> tuple[int, int]:
        """Return size and 512-byte blocks."""
        return 0, 0

    async def attributes(self) -> Attributes:
        size, blocks = self.extent()
        return Attributes(
            self.fs.dev,
            self.ino,
            self.mode,
            self.nlink,
            self.uid,
            self.gid,
            self.rdev,
            size,
            BLOCK,
            blocks,
            self.atime,
            self.mtime,
            self.ctime,
            self.btime,
        )

    async def set_attributes(self, changes: Changes) -> None:
        if changes.size is not None:
            self.resize(changes.size)
        take_changes(self, changes)
        if self.shown is not None:
            self.shown.update(self)

    def resize(self, size: int) -> None:
        """Set the size of a regular file."""
        raise EINVAL

    async def get_xattr(self, name: bytes) -> bytes:
        if self.xattrs is None or name not in self.xattrs:
            raise ENODATA
        return self.xattrs[name]

    async def set_xattr(self, name: bytes, value: bytes, flags: int) -> None:
        if objects.memory_is_short():
            raise ENOSPC
        here = self.xattrs if self.xattrs is not None else {}
        if flags & XATTR_CREATE and name in here:
            raise EEXIST
        if flags & XATTR_REPLACE and name not in here:
            raise ENODATA
        if sum(len(key) + len(text) for key, text in here.items()) + len(name) + len(value) > 1 << 17:
            raise ENOSPC
        here[name] = value
        self.xattrs = here
        self.ctime = clock()

    async def list_xattrs(self) -> list[bytes]:
        return list(self.xattrs or ())

    async def remove_xattr(self, name: bytes) -> None:
        if self.xattrs is None or name not in self.xattrs:
            raise ENODATA
        del self.xattrs[name]
        self.ctime = clock()


async def entries_of(children: Mapping[bytes, Inode]) -> list[Entry]:
    """Return the entries of a directory that is in memory, and let others have their turn meanwhile."""
    left = list(children.items())
    found = []
    for start in range(0, len(left), ENTRIES_AT_ONCE):
        if start:
            await yield_now()
        part = left[start : start + ENTRIES_AT_ONCE]
        found += [Entry(name, child.ino, child.mode & S_IFMT) for name, child in part]
    return found


class TmpfsDirectory(TmpfsInode):
    """Invariant: no key of ``children`` is empty, ``.``, ``..`` or holds a slash; the walk saw to it."""

    __slots__ = ("_data", "children")

    def __init__(self, fs: Tmpfs, mode: int, owner: Owner) -> None:
        super().__init__(fs, mode, owner)
        self._data: Data | None = None
        self.children: dict[bytes, TmpfsInode] = {}
        self.nlink = 2

    def touch(self) -> None:
        if self._data is not None:
            self._data.touch()

    def data(self) -> Data:
        if self._data is None:
            self._data = Data()
        return self._data

    def extent(self) -> tuple[int, int]:
        return 40 + 20 * len(self.children), 0

    async def lookup(self, name: bytes) -> Inode:
        try:
            return self.children[name]
        except KeyError:
            raise ENOENT from None

    async def entries(self) -> list[Entry]:
        return await entries_of(self.children)

    def insert(self, name: bytes, child: TmpfsInode) -> TmpfsInode:
        """Add a name for a new inode."""
        if name in self.children:
            raise EEXIST
        self.children[name] = child
        self.nlink += child.mode & S_IFMT == S_IFDIR
        self.mtime = self.ctime = clock()
        return child

    async def create(self, name: bytes, mode: int, owner: Owner) -> TmpfsInode:
        return self.insert(name, TmpfsFile(self.fs, S_IFREG | mode, owner))

    async def mkdir(self, name: bytes, mode: int, owner: Owner) -> TmpfsInode:
        return self.insert(name, TmpfsDirectory(self.fs, S_IFDIR | mode, owner))

    async def mknod(self, name: bytes, mode: int, rdev: int, owner: Owner) -> TmpfsInode:
        return self.insert(name, TmpfsNode(self.fs, mode, rdev, owner))

    async def symlink(self, name: bytes, target: bytes, owner: Owner) -> TmpfsInode:
        return self.insert(name, TmpfsSymlink(self.fs, target, owner))

    async def tmpfile(self, mode: int, owner: Owner) -> TmpfsInode:
        file = TmpfsFile(self.fs, S_IFREG | mode, owner)
        file.nlink = 0
        return file

    async def link(self, name: bytes, target: Inode) -> Inode:
        assert isinstance(target, TmpfsInode)
        if target.nlink >= LINK_MAX:
            raise EMLINK
        self.insert(name, target)
        target.nlink += 1
        target.ctime = clock()
        return target

    async def unlink(self, name: bytes, child: Inode) -> None:
        self.remove(name)

    async def rmdir(self, name: bytes, child: Inode) -> None:
        assert isinstance(child, TmpfsDirectory)
        if child.children:
            raise ENOTEMPTY
        self.remove(name)

    def remove(self, name: bytes) -> TmpfsInode:
        """Drop a name, whatever it is."""
        child = self.children.pop(name)
        self.mtime = self.ctime = child.ctime = clock()
        if child.mode & S_IFMT == S_IFDIR:
            self.nlink -= 1
            child.nlink = 0
        else:
            child.nlink -= 1
        return child

    async def rename(
        self, name: bytes, child: Inode, target: Inode, new_name: bytes, replaced: Inode | None, *, replaces: bool
    ) -> None:
        assert isinstance(target, TmpfsDirectory)
        if replaced is not None:
            if isinstance(replaced, TmpfsDirectory) and replaced.children:
                raise ENOTEMPTY
            target.remove(new_name)
        moved = self.children.pop(name)
        self.nlink -= moved.mode & S_IFMT == S_IFDIR
        target.insert(new_name, moved)
        self.mtime = self.ctime = moved.ctime = clock()

    async def exchange(self, name: bytes, child: Inode, target: Inode, new_name: bytes, other: Inode) -> None:
        assert isinstance(target, TmpfsDirectory)
        assert isinstance(child, TmpfsInode)
        assert isinstance(other, TmpfsInode)
        self.children[name], target.children[new_name] = other, child
        shift = (other.mode & S_IFMT == S_IFDIR) - (child.mode & S_IFMT == S_IFDIR)
        self.nlink += shift
        target.nlink -= shift
        self.mtime = self.ctime = target.mtime = target.ctime = child.ctime = other.ctime = clock()


class TmpfsFile(TmpfsInode):
    """A regular file."""

    __slots__ = ("contents",)

    def __init__(self, fs: Tmpfs, mode: int, owner: Owner, seals: int = F_SEAL_SEAL) -> None:
        super().__init__(fs, mode, owner)
        self.contents = Contents(fs.budget, seals)
        self._let_write()

    def _let_write(self) -> None:
        """Fast paths write, unless that would clear setuid or setgid bits."""
        self.contents.let_write(not self.mode & (S_ISUID | S_ISGID))

    def touch(self) -> None:
        self.contents.data.touch()

    def data(self) -> Data:
        return self.contents.data

    def _settle(self) -> None:
        """Take over when a fast path wrote last."""
        when = self.contents.take_modified()
        if when:
            self.mtime = self.ctime = when

    async def attributes(self) -> Attributes:
        self._settle()
        return await super().attributes()

    async def set_attributes(self, changes: Changes) -> None:
        self._settle()
        await super().set_attributes(changes)
        self._let_write()

    def extent(self) -> tuple[int, int]:
        return self.contents.length, self.contents.charged * (BLOCK // 512)

    def resize(self, size: int) -> None:
        with answered_by_host():
            self.contents.truncate(size)

    async def size(self) -> int:
        return self.contents.length

    async def read_at(self, size: int, offset: int) -> bytes:
        return self.contents.read(size, offset)

    async def write_at(self, data: bytes, offset: int | None) -> tuple[int, int]:
        if offset is None:
            offset = self.contents.length
        with answered_by_host():
            written = self.contents.write(data, offset)
        self.contents.take_modified()
        self.mtime = self.ctime = clock()
        return written, offset + written

    async def seek_data(self, offset: int, hole: bool) -> int:
        with answered_by_host():
            return self.contents.seek_data(offset, hole)

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        with answered_by_host():
            self.contents.allocate(mode, offset, length)
        self.contents.take_modified()
        self.mtime = self.ctime = clock()

    async def mapping_fd(self, write: bool) -> int:
        with answered_by_host():
            return self.contents.memfd() if write else self.contents.read_only_fd()


class TmpfsSymlink(TmpfsInode):
    """A symbolic link."""

    __slots__ = ("target",)

    def __init__(self, fs: Tmpfs, target: bytes, owner: Owner) -> None:
        super().__init__(fs, S_IFLNK | 0o777, owner)
        self.target = target

    def extent(self) -> tuple[int, int]:
        return len(self.target), 0

    async def readlink(self, task: Task) -> bytes:
        return self.target


class TmpfsNode(TmpfsInode):
    """A FIFO, a socket or a device."""

    __slots__ = ("rdev",)

    def __init__(self, fs: Tmpfs, mode: int, rdev: int, owner: Owner) -> None:
        super().__init__(fs, mode, owner)
        self.rdev = rdev  # type: ignore[misc]  # a slot here, a constant for the other types
