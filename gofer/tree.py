"""Set-up of the served trees, while the gofer still may mount: detached clones, and what they must not show.

Each export becomes two detached recursive clones (open_tree(2), mount_setattr(2)): one that the gofer serves, and one,
read-only, below which the sentry reads by itself.  In both no link is followed and no device opened, and in a read-only
mount nothing is written, whoever asks: the kernel sees to it.

Mounts of proc, sysfs, cgroupfs and their kin below an export are covered first: they would show the host.
A file system of that kind is not exported at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

import msgspec

from pysc.cabi import confine, host
from pysc.cabi.linux.errors import EOPNOTSUPP
from pysc.cabi.linux.mount import MNT_DETACH, MS_BIND, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_REC, MS_SLAVE
from pysc.cabi.remedies import explained
from pysc.gofer.mounts import ServedMount, own_descriptors

OF_THE_HOST: Final = frozenset(
    b"proc sysfs cgroup cgroup2 devtmpfs devpts securityfs debugfs tracefs configfs bpf pstore efivarfs fusectl "
    b"binfmt_misc mqueue nsfs rpc_pipefs selinuxfs smackfs".split()
)
"""File systems that show or steer the host's kernel."""

MAGIC: Final = frozenset(
    {
        0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x73636673, 0x64626720, 0x74726163, 0x62656570, 0xCAFE4A11,
        0x6165676C, 0xDE5E81E4, 0x65735543, 0x42494E4D, 0x19800202, 0x6E736673, 0x67596969, 0xF97CFF8C, 0x43415D53,
    }
)  # fmt: skip
"""The same as statfs(2) numbers them, but for devtmpfs, which is a tmpfs there."""

SCRATCH: Final = (b"/sys", b"/proc", b"/mnt", b"/srv", b"/tmp")
"""Where a memory file system may be put for the time of set-up: nothing exported is below it."""
FILE: Final = b"file"
"""The name of an exported single file in the directory that stands for its mount."""


class Export(Protocol):
    """What the supervisor wants served."""

    @property
    def source(self) -> bytes:
        """Absolute path on the host."""

    @property
    def readonly(self) -> bool:
        """Whether nobody may write."""


class Trees(msgspec.Struct):
    """What set-up yields."""

    mounts: list[ServedMount]
    readable: dict[int, int]
    """By mount: the descriptor for the sentry."""


class SetUpError(Exception):
    """The trees cannot be made here; the message is one line with the cause."""


def check_attributes(exports: Iterable[Export]) -> None:
    """Make sure that owners can be kept in extended attributes, at least on each export's own file system.

    Raises:
        SetUpError: they cannot.
    """
    for export in exports:
        try:
            if not export.readonly:
                os.getxattr(export.source, host.OWNER)
        except OSError as error:
            if error.errno == EOPNOTSUPP.errno:
                raise SetUpError(
                    f"--map-owners: the file system of {os.fsdecode(export.source)} has no user attributes (xattr(7)): "
                    "use another one, make it read-only, or leave the flag out"
                ) from None


def plain(exports: Sequence[Export]) -> Trees:
    """Open the sources as they are: for a gofer without a mount namespace of its own, which serves reads, too.

    Nothing can be covered: the gofer itself keeps out of the host's own file systems.  And what is on the same mounts
    without being in the trees is told by its path.

    Raises:
        SetUpError: a source is on one.
    """
    mounts = []
    there, descriptors = _mountinfo(), own_descriptors()
    hidden = frozenset(found.number for found in there if found.kind in OF_THE_HOST)
    for number, export in enumerate(exports):
        above, name = os.path.split(export.source.rstrip(b"/"))
        is_directory = os.path.isdir(export.source)
        root = os.open(export.source if is_directory else above, os.O_PATH | os.O_DIRECTORY)
        mount = ServedMount(number, root, readonly=export.readonly, path=b"" if is_directory else name)
        if mount.host_ids & hidden:
            raise SetUpError(f"cannot serve {os.fsdecode(export.source)}: it is the host kernel's own file system")
        mount.hidden = hidden
        mount.source, mount.descriptors = os.path.realpath(export.source), descriptors
        points = [found.point for found in there if found.kind not in OF_THE_HOST]
        mount.host_ids |= _numbers(root, mount.path, mount.source, points)
        mounts.append(mount)
    return Trees(mounts, {})


def clone(exports: Sequence[Export], *, readable: bool) -> Trees:
    """Make the trees in this mount namespace, which is ours alone and given up right afterwards.

    Raises:
        SetUpError: a source is missing or refused, or the kernel has no detached mounts (Linux 5.14).
    """
    confine.mount(b"none", b"/", flags=MS_REC | MS_SLAVE)  # what we cover stays covered here only
    there = _mountinfo()
    hidden = [found.point for found in there if found.kind in OF_THE_HOST]
    scratch = _Scratch([export.source for export in exports])
    served: dict[int, ServedMount] = {}
    trees: dict[int, int] = {}
    # The deepest first: what one export covers another may have as its source.
    for number in sorted(range(len(exports)), key=lambda number: -exports[number].source.count(b"/")):
        export = exports[number]
        try:
            place, path = _prepared(export.source, hidden, scratch)
            root = _detached(place, confine.MOUNT_ATTR_RDONLY if export.readonly else 0)
            served[number] = ServedMount(number, root, readonly=export.readonly, path=path)
            points = [found.point for found in there]
            served[number].host_ids |= _numbers(root, path, place, points)
            if readable:
                trees[number] = _detached(place, confine.MOUNT_ATTR_RDONLY)
                served[number].readers = frozenset(_numbers(trees[number], path, place, points))
        except OSError as error:
            raise SetUpError(f"cannot serve {os.fsdecode(export.source)}: {explained(error)}") from None
    scratch.close()
    return Trees([served[number] for number in range(len(exports))], dict(sorted(trees.items())))


def _detached(place: bytes, attributes: int) -> int:
    fd = confine.open_tree(place, confine.OPEN_TREE_CLONE | confine.OPEN_TREE_CLOEXEC | confine.AT_RECURSIVE)
    try:
        attributes |= confine.MOUNT_ATTR_NOSYMFOLLOW | confine.MOUNT_ATTR_NODEV | confine.MOUNT_ATTR_NOSUID
        confine.mount_setattr(fd, attributes)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _prepared(source: bytes, hidden: Iterable[bytes], scratch: _Scratch) -> tuple[bytes, bytes]:
    # Returns the directory to clone, and the path of the export's root in it.
    fd = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        if host.statfs(fd)[0] in MAGIC:
            raise SetUpError(f"cannot serve {os.fsdecode(source)}: it is the host kernel's own file system")
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            return scratch.directory_of(source), FILE
    finally:
        os.close(fd)
    source = os.path.realpath(source)
    below = source.rstrip(b"/") + b"/"
    covered: list[bytes] = []
    for point in sorted(hidden):
        if point.startswith(below) and not any(point.startswith(above + b"/") for above in covered):
            scratch.cover(point)
            covered.append(point)
    return source, b""


class _Scratch:
    """A memory file system for mount points and empty files; mounted when it is first needed."""

    __slots__ = ("_count", "_place")

    def __init__(self, sources: Sequence[bytes]) -> None:
        self._count = 0
        self._place = next(
            (
                place
                for place in SCRATCH
                if os.path.isdir(place)
                and not any(source == place or source.startswith(place + b"/") for source in sources)
            ),
            None,
        )

    def directory_of(self, source: bytes) -> bytes:
        """Return a directory in which the file ``source`` is mounted as :data:`FILE`."""
        tree = confine.open_tree(source, confine.OPEN_TREE_CLONE | confine.OPEN_TREE_CLOEXEC)
        try:
            directory = self._new_directory()
            confine.move_mount(tree, directory + b"/" + FILE)
        finally:
            os.close(tree)
        return directory

    def cover(self, point: bytes) -> None:
        """Put something empty on a mount point."""
        if os.path.isdir(point):
            confine.mount(b"none", point, b"tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, b"mode=555")
        elif os.path.lexists(point):  # a single file of such a file system, mounted over one of the tree
            confine.mount(self._new_directory() + b"/" + FILE, point, flags=MS_BIND)

    def _new_directory(self) -> bytes:
        if self._place is None:
            raise SetUpError(
                "no directory is free for set-up: /sys, /proc, /mnt, /srv and /tmp are exported or missing"
            )
        if not self._count:
            confine.mount(b"none", self._place, b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=755")
        self._count += 1
        directory = self._place + b"/%d" % self._count
        os.mkdir(directory, 0o755)
        os.close(os.open(directory + b"/" + FILE, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        return directory

    def close(self) -> None:
        """Give the place back; clones keep what they need."""
        if self._count and self._place is not None:
            confine.umount(self._place, MNT_DETACH)


class _Mounted(NamedTuple):
    number: int
    point: bytes
    kind: bytes


def _mountinfo() -> list[_Mounted]:
    """Return all mounts of this namespace (proc_pid_mountinfo(5))."""
    with open("/proc/self/mountinfo", "rb") as file:
        lines = file.read().splitlines()
    mounted = []
    for line in lines:
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        mounted.append(_Mounted(int(fields[0]), _unescape(fields[4]), after.split(b" ", 1)[0]))
    return mounted


def _numbers(root: int, path: bytes, source: bytes, points: Iterable[bytes]) -> set[int]:
    """Return the numbers of all mounts of a tree, by which descriptors that come from there are known."""
    below = source.rstrip(b"/") + b"/"
    within = [point.removeprefix(below) for point in points if point.startswith(below)]
    numbers = set()
    for place in (path, *within):
        with suppress(OSError):  # others may rename what is above a mount point, and put a link there
            fd = host.open_beneath(root, place, os.O_PATH)
            numbers.add(host.stat_at(fd).mnt_id)
            os.close(fd)
    return numbers


def _unescape(path: bytes) -> bytes:
    for number in (b" ", b"\t", b"\n", b"\\"):
        path = path.replace(b"\\%03o" % number[0], number)
    return path
