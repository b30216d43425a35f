"""/proc/PID/fd and fdinfo (proc_pid_fd(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pysc.cabi.linux.errors import EACCES, ENOENT
from pysc.cabi.linux.fcntl import O_CLOEXEC
from pysc.cabi.linux.stat import S_IFDIR, S_IFLNK, S_IFREG
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Attributes, Entry, Inode
from pysc.sentry.fs.path import Dentry, Mount, Path, display
from pysc.sentry.fs.proc.base import PseudoFs, PseudoInode, Source, TextFile
from pysc.sentry.fs.proc.locks import locks_held

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task


def _file(task: Task, name: bytes) -> tuple[int, FileDescription]:
    if not name.isdigit() or len(name) > 10 or (name[0] == 48 and len(name) > 1):
        raise ENOENT
    fd = int(name)
    if task.group.exited or fd not in task.fds:
        raise ENOENT
    return fd, task.fds.get_raw(fd)


class FdDirectory(PseudoInode):
    """/proc/PID/fd."""

    __slots__ = ("_task",)

    cacheable: ClassVar[bool] = False

    def __init__(self, fs: PseudoFs, task: Task, ino: int) -> None:
        super().__init__(fs, ino, S_IFDIR | 0o500)
        self._task = task

    def links(self) -> int:
        return 2

    async def lookup(self, name: bytes) -> Inode:
        fd, file = _file(self._task, name)
        inode = FdLink(self.fs, self._task, fd, file, self.ino + 0x8000 + fd)
        inode.uid, inode.gid = self.uid, self.gid
        return inode

    async def entries(self) -> list[Entry]:
        if self._task.group.exited:
            return []
        return [Entry(b"%d" % fd, self.ino + 0x8000 + fd, S_IFLNK) for fd in self._task.fds]


class FdLink(PseudoInode):
    """A magic link to what a descriptor refers to."""

    __slots__ = ("_fd", "_task")

    cacheable: ClassVar[bool] = False

    def __init__(self, fs: PseudoFs, task: Task, fd: int, file: FileDescription, ino: int) -> None:
        mode = 0o500 * file.readable | 0o300 * file.writable
        super().__init__(fs, ino, S_IFLNK | mode)
        self._task = task
        self._fd = fd

    def _file(self) -> FileDescription:
        if self._task.group.exited or self._fd not in self._task.fds:
            raise ENOENT
        return self._task.fds.get_raw(self._fd)

    async def readlink(self, task: Task) -> bytes:
        file = self._file()
        shown: bytes | None = getattr(file, "link", None)
        if shown is not None and file.path is None:
            return shown
        if file.path is None:
            return b"anon_inode:[unknown]"
        if file.path.mount.parent is None and file.path.mount.namespace is None:  # no path leads there
            dentry = file.path.dentry
            return b"/" + dentry.name + (b" (deleted)" if dentry.deleted else b"")
        return display(file.path, task.fs.root)

    async def follow(self, task: Task) -> Path | None:
        file = self._file()
        if file.path is not None:
            return file.path
        inode = OpenedInode(self.fs, file, (await file.attributes()).mode)
        return Path(Mount(self.fs, Dentry(b"/", None, inode)), Dentry(b"fd", None, inode))


class OpenedInode(PseudoInode):
    """What has no place in any tree, as a place: opening it again gives another description of the same object."""

    __slots__ = ("_opened",)

    def __init__(self, fs: PseudoFs, file: FileDescription, mode: int) -> None:
        super().__init__(fs, fs.new_ino(), mode)
        self._opened = file

    async def attributes(self) -> Attributes:
        return await self._opened.attributes()

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription:
        return await self._opened.reopen(flags)


class FdInfoDirectory(PseudoInode):
    """/proc/PID/fdinfo."""

    __slots__ = ("_task",)

    cacheable: ClassVar[bool] = False

    def __init__(self, fs: PseudoFs, task: Task, ino: int) -> None:
        super().__init__(fs, ino, S_IFDIR | 0o500)
        self._task = task

    async def lookup(self, name: bytes) -> Inode:
        task = self._task
        fd, _opened = _file(task, name)
        inode = UncachedText(self.fs, FdInfo(task, fd), self.ino + 0x8000 + fd)
        inode.uid, inode.gid = self.uid, self.gid
        return inode

    async def entries(self) -> list[Entry]:
        if self._task.group.exited:
            return []
        return [Entry(b"%d" % fd, self.ino + 0x8000 + fd, S_IFREG) for fd in self._task.fds]


class FdInfo(Source):
    """What is said of a descriptor."""

    __slots__ = ("_fd", "_task")

    def __init__(self, task: Task, fd: int) -> None:
        super().__init__(0o400)
        self._task = task
        self._fd = fd

    def text(self, reader: Task) -> bytes:
        task, fd = self._task, self._fd
        if task.group.exited or fd not in task.fds:
            raise EACCES
        file = task.fds.get_raw(fd)
        flags = file.flags | (O_CLOEXEC if task.fds.cloexec(fd) else 0)
        mount = file.path.mount.id if file.path is not None else 15
        more: bytes = getattr(file, "info", b"")
        held = b"".join(b"lock:\t%s" % line for line in locks_held(task, file))
        ino, _device = file.identity()
        return b"pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n%s%s" % (file.offset, flags, mount, ino, held, more)


class UncachedText(TextFile):
    """A text whose name may stand for something else at any time."""

    __slots__ = ()

    cacheable: ClassVar[bool] = False
