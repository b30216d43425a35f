"""mounts, mountinfo and mountstats of a process (proc(5))."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import EACCES, ENAMETOOLONG
from pysc.cabi.linux.fcntl import O_ACCMODE, O_RDONLY
from pysc.cabi.linux.poll import IN, POLLERR, POLLPRI
from pysc.cabi.linux.stat import major, minor
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.path import Mount, MountNamespace, Path, name_of
from pysc.sentry.fs.proc.base import Factory, PseudoFs, Source, TextDescription, TextFile, link

if TYPE_CHECKING:
    from pysc.sentry.kernel.scheduler import WaitQueue
    from pysc.sentry.kernel.task import Task


def escape(name: bytes) -> bytes:
    """Return a name as these files have it: blanks, tabs, newlines and backslashes in octal."""
    for character in (b"\\", b" ", b"\t", b"\n", b"#"):
        name = name.replace(character, b"\\%03o" % character[0])
    return name


def _visible(task: Task) -> Iterator[tuple[Mount, bytes]]:
    root = task.fs.root
    for mount in list(task.fs.namespace.mounts.values()):
        place = Path(mount, mount.root)
        try:
            name, reachable = name_of(place, root)
        except ENAMETOOLONG:
            continue
        if reachable:
            yield mount, name


def mounts(task: Task) -> bytes:
    """Return /proc/PID/mounts, in the form of fstab(5)."""
    return b"".join(
        b"%s %s %s %s%s 0 0\n"
        % (escape(mount.source), escape(name), mount.fs.name, mount.options(), mount.fs.options())
        for mount, name in _visible(task)
    )


def mountinfo(task: Task) -> bytes:
    """Return /proc/PID/mountinfo."""
    lines = []
    for mount, name in _visible(task):
        inner = _inner(mount)
        parent = mount.parent.id if mount.parent is not None else mount.id
        device = mount.fs.dev
        super_options = (b"ro" if mount.fs.readonly else b"rw") + mount.fs.options()
        lines.append(
            b"%d %d %d:%d %s %s %s - %s %s %s\n"
            % (
                mount.id,
                parent,
                major(device),
                minor(device),
                escape(inner),
                escape(name),
                mount.options(),
                mount.fs.name,
                escape(mount.source),
                super_options,
            )
        )
    return b"".join(lines)


def _inner(mount: Mount) -> bytes:
    names: list[bytes] = []
    dentry = mount.root
    while dentry.parent is not dentry:
        names.append(dentry.name)
        dentry = dentry.parent
    return b"/" + b"/".join(reversed(names))


def mountstats(task: Task) -> bytes:
    """Return /proc/PID/mountstats."""
    return b"".join(
        b"device %s mounted on %s with fstype %s\n" % (escape(mount.source), escape(name), mount.fs.name)
        for mount, name in _visible(task)
    )


class MountsFile(TextFile):
    """A file that tells by poll(2) when the mounts of its namespace change."""

    __slots__ = ("_namespace",)

    def __init__(self, fs: PseudoFs, source: Source, namespace: MountNamespace, ino: int) -> None:
        super().__init__(fs, source, ino)
        self._namespace = namespace

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription:
        if flags & O_ACCMODE != O_RDONLY:
            raise EACCES
        return MountsDescription(self, self._namespace, task, flags, path)


class MountsDescription(TextDescription):
    """An open :class:`MountsFile`: POLLERR and POLLPRI are seen once after changes."""

    __slots__ = ("_namespace", "_seen")

    def __init__(self, inode: MountsFile, namespace: MountNamespace, task: Task, flags: int, path: Path) -> None:
        super().__init__(inode, task, flags, path)
        self._namespace = namespace
        self._seen = namespace.changes

    def poll(self) -> int:
        if self._seen == self._namespace.changes:
            return IN
        self._seen = self._namespace.changes
        return IN | POLLERR | POLLPRI

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self._namespace.changed,)


mounts_link: Factory = link(lambda _task: b"self/mounts")
