"""Entries of /proc/PID and /proc/PID/task/TID (proc(5)), in alphabetical order, and the directory that has them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from pysc.cabi.linux.capability import CAP_SYS_RESOURCE
from pysc.cabi.linux.errors import EACCES, EINVAL, ENOENT, ESRCH
from pysc.cabi.linux.resource import RLIM_INFINITY
from pysc.cabi.linux.stat import S_IFDIR, S_IFLNK, S_IFREG
from pysc.sentry.fs.inode import Entry, Inode
from pysc.sentry.fs.path import Path, display
from pysc.sentry.fs.proc import descriptors, memory, mounts, namespaces, network, status
from pysc.sentry.fs.proc.base import Folder, PseudoFs, PseudoInode, Source, TextFile, number
from pysc.sentry.kernel.ptrace import may_read

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

INODES_PER_TASK: Final = 1 << 16
"""Numbers of inodes are made from the tid: the same entry has the same one as long as the task lives."""


class ProcFs(PseudoFs):
    """A procfs.  All of them show the same kernel."""

    __slots__ = ("kernel",)

    name = b"proc"
    magic = 0x9FA0

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel


def find(fs: ProcFs, tid: int) -> Task:
    """Return the task, of a zombie the last one.  ESRCH."""
    task = fs.kernel.task(tid)
    if task is None:
        raise ESRCH
    return task


class ProcessEntry(NamedTuple):
    """One name in /proc/PID: a text, made for (reader, task)."""

    read: Callable[[Task, Task], bytes | Coroutine[Any, Any, bytes]]
    mode: int = 0o444
    write: Callable[[Task, Task, bytes], None] | None = None
    private: bool = False
    """Only for who may look into the process: EACCES."""
    told: bool = False
    """poll(2) tells when the mounts change."""


class LinkEntry(NamedTuple):
    """One magic link in /proc/PID: where it leads, and how that is shown."""

    follow: Callable[[Task], Path]


def _set_comm(reader: Task, task: Task, data: bytes) -> None:
    if reader.group is not task.group:
        raise EINVAL
    task.comm = data[:15].partition(b"\0")[0]


def _set_oom_score_adj(reader: Task, task: Task, data: bytes) -> None:
    value = number(data, -1000, 1000)
    if value < task.group.oom_score_adj and not reader.creds.has_capability(CAP_SYS_RESOURCE):
        raise EACCES
    task.group.oom_score_adj = value


def _limits(reader: Task, task: Task) -> bytes:
    lines = [b"Limit                     Soft Limit           Hard Limit           Units     \n"]
    for resource, (name, unit) in enumerate(_LIMIT_NAMES):
        soft, hard = (
            b"unlimited" if value == RLIM_INFINITY else b"%d" % value for value in task.group.limits[resource]
        )
        lines.append(name.ljust(26) + soft.ljust(21) + hard.ljust(21) + unit.ljust(10) + b"\n")
    return b"".join(lines)


_LIMIT_NAMES: Final = (
    (b"Max cpu time", b"seconds"),
    (b"Max file size", b"bytes"),
    (b"Max data size", b"bytes"),
    (b"Max stack size", b"bytes"),
    (b"Max core file size", b"bytes"),
    (b"Max resident set", b"bytes"),
    (b"Max processes", b"processes"),
    (b"Max open files", b"files"),
    (b"Max locked memory", b"bytes"),
    (b"Max address space", b"bytes"),
    (b"Max file locks", b"locks"),
    (b"Max pending signals", b"signals"),
    (b"Max msgqueue size", b"bytes"),
    (b"Max nice priority", b""),
    (b"Max realtime priority", b""),
    (b"Max realtime timeout", b"us"),
)

_ID_MAP: Final = b"         0          0 4294967295\n"
_IO: Final = b"rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"


def _exe(task: Task) -> Path:
    file = task.memory.exe
    if file is None or file.path is None:
        raise ENOENT
    return file.path


ENTRIES: Final[dict[bytes, ProcessEntry | LinkEntry]] = {
    b"auxv": ProcessEntry(lambda reader, task: task.memory.auxv, 0o400, private=True),
    b"cgroup": ProcessEntry(lambda reader, task: b"0::/\n"),
    b"cmdline": ProcessEntry(lambda reader, task: memory.command_line(task)),
    b"comm": ProcessEntry(lambda reader, task: task.comm + b"\n", 0o644, _set_comm),
    b"cwd": LinkEntry(lambda task: task.fs.cwd),
    b"environ": ProcessEntry(lambda reader, task: memory.environment(task), 0o400, private=True),
    b"exe": LinkEntry(_exe),
    b"gid_map": ProcessEntry(lambda reader, task: _ID_MAP),
    b"io": ProcessEntry(lambda reader, task: _IO, 0o400),
    b"limits": ProcessEntry(_limits),
    b"loginuid": ProcessEntry(lambda reader, task: b"4294967295"),
    b"maps": ProcessEntry(lambda reader, task: memory.maps(task), private=True),
    b"mountinfo": ProcessEntry(lambda reader, task: mounts.mountinfo(task), told=True),
    b"mounts": ProcessEntry(lambda reader, task: mounts.mounts(task), told=True),
    b"mountstats": ProcessEntry(lambda reader, task: mounts.mountstats(task), told=True),
    b"oom_adj": ProcessEntry(lambda reader, task: b"0\n"),
    b"oom_score": ProcessEntry(lambda reader, task: b"0\n"),
    b"oom_score_adj": ProcessEntry(lambda reader, task: b"%d\n" % task.group.oom_score_adj, 0o644, _set_oom_score_adj),
    b"personality": ProcessEntry(lambda reader, task: b"%08x\n" % task.personality, 0o400),
    b"projid_map": ProcessEntry(lambda reader, task: _ID_MAP),
    b"root": LinkEntry(lambda task: task.fs.root),
    b"schedstat": ProcessEntry(lambda reader, task: b"0 0 0\n"),
    b"setgroups": ProcessEntry(lambda reader, task: b"allow\n"),
    b"smaps": ProcessEntry(lambda reader, task: memory.smaps(task), private=True),
    b"smaps_rollup": ProcessEntry(lambda reader, task: memory.smaps_rollup(task), private=True),
    b"stat": ProcessEntry(lambda reader, task: status.stat(reader, task, whole=True)),
    b"statm": ProcessEntry(lambda reader, task: status.statm(task)),
    b"status": ProcessEntry(lambda reader, task: status.status(task)),
    b"timerslack_ns": ProcessEntry(lambda reader, task: b"%d\n" % task.timer_slack),
    b"uid_map": ProcessEntry(lambda reader, task: _ID_MAP),
    b"wchan": ProcessEntry(lambda reader, task: b"0"),
}

_THREAD_ENTRIES: Final = {b"stat": ProcessEntry(lambda reader, task: status.stat(reader, task, whole=False))}

DIRECTORIES: Final = (b"fd", b"fdinfo", b"net", b"ns", b"task")
_INDEX: Final = {name: index for index, name in enumerate(sorted([*ENTRIES, *DIRECTORIES]), 1)}


class ProcessDirectory(PseudoInode):
    """/proc/PID, or /proc/PID/task/TID without a ``task`` of its own.  Owned by whom the process runs as."""

    __slots__ = ("_start_time", "tid", "whole")

    fs: ProcFs
    cacheable: ClassVar[bool] = False

    def __init__(self, fs: ProcFs, tid: int, *, whole: bool) -> None:
        self.tid = tid
        self.whole = whole
        super().__init__(fs, tid * INODES_PER_TASK + (0 if whole else 0x4000), S_IFDIR | 0o555)
        self._own(self)
        self._start_time = find(fs, tid).start_time

    @property
    def process(self) -> ThreadGroup | None:
        """The process that it was opened for; None when it has been waited for."""
        task = self.fs.kernel.tasks.get(self.tid)
        group = self.fs.kernel.groups.get(self.tid) if task is None else task.group
        if group is None or (task or group.leader).start_time != self._start_time:
            return None
        return group

    def links(self) -> int:
        return 2

    def _own(self, inode: PseudoInode) -> PseudoInode:
        task = find(self.fs, self.tid)
        if task.memory.dumpable:
            inode.uid, inode.gid = task.creds.euid, task.creds.egid
        return inode

    def _ino(self, name: bytes) -> int:
        return self.ino + _INDEX[name]

    async def lookup(self, name: bytes) -> Inode:
        task = find(self.fs, self.tid)
        await task.memory.space.begun()  # what is read of it may be the host's
        entry = ENTRIES.get(name) if self.whole else _THREAD_ENTRIES.get(name) or ENTRIES.get(name)
        if isinstance(entry, ProcessEntry):
            source = ProcessText(self.fs, self.tid, entry)
            if entry.told:
                return self._own(mounts.MountsFile(self.fs, source, task.fs.namespace, self._ino(name)))
            return self._own(TextFile(self.fs, source, self._ino(name)))
        if isinstance(entry, LinkEntry):
            return self._own(MagicLink(self.fs, self.tid, entry, self._ino(name)))
        ino = self._ino(name) if name in DIRECTORIES else 0
        if name == b"task" and self.whole:
            return self._own(TaskDirectory(self.fs, self.tid, ino))
        if name == b"fd":
            return self._own(descriptors.FdDirectory(self.fs, task, ino))
        if name == b"fdinfo":
            return self._own(descriptors.FdInfoDirectory(self.fs, task, ino))
        if name == b"net":
            return Folder(self.fs, network.NET, ino=ino)
        if name == b"ns":
            return self._own(namespaces.NamespaceDirectory(self.fs, task, ino))
        raise ENOENT

    async def entries(self) -> list[Entry]:
        find(self.fs, self.tid)
        found = []
        for name in sorted([*ENTRIES, *DIRECTORIES]):
            if name == b"task" and not self.whole:
                continue
            kind = S_IFREG
            if name in DIRECTORIES:
                kind = S_IFDIR
            elif isinstance(ENTRIES[name], LinkEntry):
                kind = S_IFLNK
            found.append(Entry(name, self._ino(name), kind))
        return found


class ProcessText(Source):
    """What an entry says of a task."""

    __slots__ = ("_entry", "_fs", "_tid")

    def __init__(self, fs: ProcFs, tid: int, entry: ProcessEntry) -> None:
        super().__init__(entry.mode, writable=entry.write is not None)
        self._fs = fs
        self._tid = tid
        self._entry = entry

    def text(self, reader: Task) -> bytes | Coroutine[Any, Any, bytes]:
        task = find(self._fs, self._tid)
        if self._entry.private and not may_read(reader, task):
            raise EACCES
        return self._entry.read(reader, task)

    def change(self, writer: Task, data: bytes) -> None:
        assert self._entry.write is not None
        self._entry.write(writer, find(self._fs, self._tid), data)


class MagicLink(PseudoInode):
    """exe, cwd, root: shows a path, leads to the place itself."""

    __slots__ = ("_entry", "_tid")

    fs: ProcFs

    def __init__(self, fs: ProcFs, tid: int, entry: LinkEntry, ino: int) -> None:
        super().__init__(fs, ino, S_IFLNK | 0o777)
        self._tid = tid
        self._entry = entry

    def _place(self, reader: Task) -> Path:
        task = find(self.fs, self._tid)
        if not may_read(reader, task):
            raise EACCES
        if task.group.exited:
            raise ENOENT
        return self._entry.follow(task)

    async def readlink(self, task: Task) -> bytes:
        return display(self._place(task), task.fs.root)

    async def follow(self, task: Task) -> Path | None:
        return self._place(task)


class TaskDirectory(PseudoInode):
    """/proc/PID/task."""

    __slots__ = ("_tgid",)

    fs: ProcFs

    def __init__(self, fs: ProcFs, tgid: int, ino: int) -> None:
        super().__init__(fs, ino, S_IFDIR | 0o555)
        self._tgid = tgid

    def links(self) -> int:
        return 2

    async def lookup(self, name: bytes) -> Inode:
        group = find(self.fs, self._tgid).group
        if not name.isdigit() or len(name) > 10 or int(name) not in _tids(group):
            raise ENOENT
        return ProcessDirectory(self.fs, int(name), whole=False)

    async def entries(self) -> list[Entry]:
        group = find(self.fs, self._tgid).group
        return [Entry(b"%d" % tid, tid * INODES_PER_TASK + 0x4000, S_IFDIR) for tid in sorted(_tids(group))]


def _tids(group: ThreadGroup) -> set[int]:
    """Return the threads of a process; the first is there to its end."""
    return {group.tgid, *group.tasks}
