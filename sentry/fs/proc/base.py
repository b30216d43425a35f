"""Inodes of procfs and sysfs: folders that are tables, files that are functions, links."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from pysc.cabi.linux.errors import EACCES, EINVAL, ENOENT, EPERM
from pysc.cabi.linux.fcntl import O_ACCMODE, O_RDONLY
from pysc.cabi.linux.stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from pysc.cabi.objects import memory_is_out
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Attributes, Changes, Entry, Filesystem, Inode, clock

if TYPE_CHECKING:
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task

Reader = Callable[["Task"], bytes]
"""Returns the whole text, for the task that reads.  May raise LinuxErrors."""
Writer = Callable[["Task", bytes], None]
Factory = Callable[["PseudoFs"], "PseudoInode"]
WRITE_MAX: Final = 4096
KEPT_MAX: Final = 1 << 16
"""A text of more bytes is kept only while there is memory enough."""


class PseudoFs(Filesystem):
    """A file system that is made up: numbers and the time of its making."""

    __slots__ = ("_inos", "born")

    def __init__(self) -> None:
        super().__init__()
        self._inos = count(1)
        self.born = clock()

    def new_ino(self) -> int:
        """Return a number for an inode that stays."""
        return next(self._inos)


class PseudoInode(Inode):
    """What all types share."""

    __slots__ = ()

    fs: PseudoFs
    blksize: ClassVar[int] = 1024

    def links(self) -> int:
        """Return st_nlink."""
        return 1

    async def attributes(self) -> Attributes:
        born = self.fs.born
        return Attributes(
            self.fs.dev,
            self.ino,
            self.mode,
            self.links(),
            self.uid,
            self.gid,
            0,
            0,
            self.blksize,
            0,
            born,
            born,
            born,
        )

    async def set_attributes(self, changes: Changes) -> None:
        if changes != Changes(size=changes.size, mtime=changes.mtime):
            raise EPERM


class Folder(PseudoInode):
    """A directory whose names never change; children are made when they are first looked up."""

    __slots__ = ("_children", "_table")

    def __init__(self, fs: PseudoFs, table: Mapping[bytes, Factory], mode: int = 0o555, ino: int = 0) -> None:
        super().__init__(fs, ino or fs.new_ino(), S_IFDIR | mode)
        self._table = table
        self._children: dict[bytes, PseudoInode] = {}

    def links(self) -> int:
        return 2

    async def lookup(self, name: bytes) -> Inode:
        return self.child(name)

    def child(self, name: bytes) -> PseudoInode:
        """Return a child.  ENOENT."""
        inode = self._children.get(name)
        if inode is None:
            factory = self._table.get(name)
            if factory is None:
                raise ENOENT
            inode = self._children[name] = factory(self.fs)
        return inode

    async def entries(self) -> list[Entry]:
        found = []
        for name in self._table:
            inode = self.child(name)
            found.append(Entry(name, inode.ino, inode.mode & S_IFMT))
        return found

    async def create(self, name: bytes, mode: int, owner: object) -> Inode:
        raise ENOENT

    async def mkdir(self, name: bytes, mode: int, owner: object) -> Inode:
        raise ENOENT


class Source:
    """What a text file says, for the task that reads, and what becomes of what is written.

    One in a table also makes the file's inode.
    """

    __slots__ = ("mode", "writable")

    def __init__(self, mode: int = 0, *, writable: bool = False) -> None:
        self.mode = mode or (0o644 if writable else 0o444)
        self.writable = writable

    def __call__(self, fs: PseudoFs) -> TextFile:
        return TextFile(fs, self)

    def text(self, reader: Task) -> bytes | Coroutine[Any, Any, bytes]:
        """Return the whole text, or what will, where that takes a while.  May raise LinuxErrors."""
        raise NotImplementedError

    def change(self, writer: Task, data: bytes) -> None:
        """Take what was written, if ``writable``."""
        raise EINVAL


class TextFile(PseudoInode):
    """A file whose contents are made when they are read."""

    __slots__ = ("source",)

    def __init__(self, fs: PseudoFs, source: Source, ino: int = 0) -> None:
        super().__init__(fs, ino or fs.new_ino(), S_IFREG | source.mode)
        self.source = source

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription:
        if not self.source.writable and flags & O_ACCMODE != O_RDONLY:
            raise EACCES
        return TextDescription(self, task, flags, path)


class TextDescription(FileDescription):
    """An open :class:`TextFile`: the text is made anew by each read at its start."""

    __slots__ = ("_inode", "_task", "_text")

    def __init__(self, inode: TextFile, task: Task, flags: int, path: Path) -> None:
        super().__init__(flags, path)
        self._inode = inode
        self._task = task
        self._text: bytes | None = None

    async def attributes(self) -> Attributes:
        return await self._inode.attributes()

    async def read(self, size: int) -> bytes:
        data = await self.pread(size, self.offset)
        self.offset += len(data)
        return data

    async def pread(self, size: int, offset: int) -> bytes:
        text = self._text
        if text is None or offset == 0:
            made = self._inode.source.text(self._task)
            text = made if isinstance(made, bytes) else await made
            self._text = None if len(text) > KEPT_MAX and memory_is_out() else text
        return text[offset : offset + size]

    async def write(self, data: bytes) -> int:
        if len(data) > WRITE_MAX:
            raise EINVAL
        self._inode.source.change(self._task, data)
        self.offset += len(data)
        return len(data)

    async def pwrite(self, data: bytes, offset: int) -> int:
        return await self.write(data)

    async def seek(self, offset: int, whence: int) -> int:
        return self.move(offset, whence)


class TextLink(PseudoInode):
    """A symbolic link whose text is what a function returns."""

    __slots__ = ("_link",)

    def __init__(self, fs: PseudoFs, declared: _Link) -> None:
        super().__init__(fs, fs.new_ino(), S_IFLNK | 0o777)
        self._link = declared

    async def readlink(self, task: Task) -> bytes:
        return self._link.read(task)


class _Function(Source):
    __slots__ = ("_read", "_write")

    def __init__(self, read: Reader, write: Writer | None, mode: int) -> None:
        super().__init__(mode, writable=write is not None)
        self._read = read
        self._write = write

    def text(self, reader: Task) -> bytes:
        return self._read(reader)

    def change(self, writer: Task, data: bytes) -> None:
        assert self._write is not None
        self._write(writer, data)


class _Constant(Source):
    __slots__ = ("_data",)

    def __init__(self, data: bytes, mode: int) -> None:
        super().__init__(mode)
        self._data = data

    def text(self, reader: Task) -> bytes:
        return self._data


class _Table(msgspec.Struct, frozen=True):
    names: Mapping[bytes, Factory]
    mode: int

    def __call__(self, fs: PseudoFs) -> Folder:
        return Folder(fs, self.names, self.mode)


class _Link(msgspec.Struct, frozen=True):
    read: Reader

    def __call__(self, fs: PseudoFs) -> TextLink:
        return TextLink(fs, self)


def text(read: Reader, write: Writer | None = None, mode: int = 0) -> Factory:
    """Declare a file."""
    return _Function(read, write, mode)


def constant(data: bytes, mode: int = 0) -> Factory:
    """Declare a file that always says the same."""
    return _Constant(data, mode)


def folder(table: Mapping[bytes, Factory], mode: int = 0o555) -> Factory:
    """Declare a directory."""
    return _Table(table, mode)


def link(read: Reader) -> Factory:
    """Declare a symbolic link."""
    return _Link(read)


def number(data: bytes, low: int = 0, high: int = (1 << 63) - 1) -> int:
    """Return the decimal number that was written.  EINVAL."""
    digits = data.strip(b" \t\n\0")
    if len(digits) > 20 or not digits.lstrip(b"-").isdigit():
        raise EINVAL
    value = int(digits)
    if not low <= value <= high:
        raise EINVAL
    return value
