"""/proc/PID/ns (namespaces(7)): magic links to files that tell namespaces apart.  Only of mounts there are several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EACCES, ENOENT, ENOTTY, EPERM
from pysc.cabi.linux.fcntl import O_ACCMODE, O_RDONLY
from pysc.cabi.linux.mount import NSFS_MAGIC
from pysc.cabi.linux.sched import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from pysc.cabi.linux.stat import S_IFDIR, S_IFLNK, S_IFREG
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.fs.inode import Attributes, Entry, Inode, anonymous_device
from pysc.sentry.fs.path import Dentry, Mount, Path
from pysc.sentry.fs.proc.base import PseudoFs, PseudoInode
from pysc.sentry.kernel.ptrace import may_read

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task

_DEVICE: Final = anonymous_device()
_MNT: Final = b"mnt"
NAMESPACES: Final = {
    b"cgroup": 4026531835,
    b"ipc": 4026531839,
    _MNT: 4026531841,
    b"net": 4026531840,
    b"pid": 4026531836,
    b"pid_for_children": 4026531836,
    b"user": 4026531837,
    b"uts": 4026531838,
}
"""Numbers of the first of each kind, as they are on most machines."""
MORE: Final = 4026532000
"""Where those of further mount namespaces begin."""
NS_GET_USERNS: Final = 0xB701
NS_GET_PARENT: Final = 0xB702
NS_GET_NSTYPE: Final = 0xB703
TYPES: Final = {
    b"cgroup": CLONE_NEWCGROUP,
    b"ipc": CLONE_NEWIPC,
    _MNT: CLONE_NEWNS,
    b"net": CLONE_NEWNET,
    b"pid": CLONE_NEWPID,
    b"user": CLONE_NEWUSER,
    b"uts": CLONE_NEWUTS,
}


class NamespaceDirectory(PseudoInode):
    """The directory."""

    __slots__ = ("_task",)

    def __init__(self, fs: PseudoFs, task: Task, ino: int) -> None:
        super().__init__(fs, ino, S_IFDIR | 0o511)
        self._task = task

    def links(self) -> int:
        return 2

    async def lookup(self, name: bytes) -> Inode:
        if name not in NAMESPACES:
            raise ENOENT
        return NamespaceLink(self.fs, self._task, name, self._ino(name))

    def _ino(self, name: bytes) -> int:
        return self.ino + 0x1000 + list(NAMESPACES).index(name)

    async def entries(self) -> list[Entry]:
        return [Entry(name, self._ino(name), S_IFLNK) for name in NAMESPACES]


class NamespaceLink(PseudoInode):
    """A link to the namespace that a task is in: who may look into the process may follow it."""

    __slots__ = ("_name", "_task")

    def __init__(self, fs: PseudoFs, task: Task, name: bytes, ino: int) -> None:
        super().__init__(fs, ino, S_IFLNK | 0o777)
        self._task = task
        self._name = name

    def _file(self, reader: Task) -> NamespaceInode:
        task = self._task
        if not may_read(reader, task):
            raise EACCES
        number = NAMESPACES[self._name]
        if self._name == _MNT:
            if task.group.exited:
                raise ENOENT
            number = MORE + task.fs.namespace.number if task.fs.namespace.number else number
        return NamespaceInode(self.fs, self._name.removesuffix(b"_for_children"), number)

    async def readlink(self, task: Task) -> bytes:
        return self._file(task).title

    async def follow(self, task: Task) -> Path | None:
        inode = self._file(task)
        return Path(Mount(self.fs, Dentry(b"/", None, inode)), Dentry(inode.title, None, inode))


class NamespaceInode(PseudoInode):
    """A namespace as a file."""

    __slots__ = ("title",)

    def __init__(self, fs: PseudoFs, kind: bytes, number: int) -> None:
        super().__init__(fs, number, S_IFREG | 0o444)
        self.title = b"%s:[%d]" % (kind, number)

    async def attributes(self) -> Attributes:
        return await NamespaceFile(self).attributes()

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription:
        if flags & O_ACCMODE != O_RDONLY:
            raise EPERM
        return NamespaceFile(self)


class NamespaceFile(AnonymousFile):
    """An open one."""

    __slots__ = ("_title",)

    mode = S_IFREG | 0o444
    magic = NSFS_MAGIC

    def __init__(self, inode: NamespaceInode) -> None:
        super().__init__(O_RDONLY, ino=inode.ino)
        self._title = inode.title

    @property
    def link(self) -> bytes:
        return self._title

    async def attributes(self) -> Attributes:
        found = await super().attributes()
        found.dev = _DEVICE
        return found

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        if request in (NS_GET_USERNS, NS_GET_PARENT):
            raise EPERM  # all are the first, whose parents nobody inside sees
        if request != NS_GET_NSTYPE:
            raise ENOTTY
        return TYPES[self._title.partition(b":")[0]]
