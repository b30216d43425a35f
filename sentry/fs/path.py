"""Dentries, mounts, mount namespaces, and the pair that names a place: (mount, dentry).

A dentry is one name in the tree of a file system, shared by all mounts of it.  Cached dentries form the tree under
``children``; what is in use stays valid even where the cache dropped it, since children point to their parents.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakValueDictionary, ref

from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EIO, ENAMETOOLONG, ENOENT, ENOSPC
from pysc.cabi.linux.limits import PATH_MAX
from pysc.cabi.linux.mount import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_RELATIME,
)
from pysc.cabi.linux.poll import POLLERR, POLLPRI
from pysc.cabi.objects import OBJECTS, hide_dentry, memory_is_short
from pysc.sentry.fs.file import referenced
from pysc.sentry.kernel.scheduler import WaitQueue

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Filesystem, Inode

_mount_ids: Final = count(20)
"""Never used again, so that one names a mount for good: a checkpoint saves how far it is, as of all such numbers."""
MOUNTS_MAX: Final = 8192
"""Of one namespace (fs.mount-max)."""
CACHED_MAX: Final = 50_000
"""Dentries that are kept though nobody uses them."""
UNUSED: Final = 3
"""References of a dentry that only the cache has: its parent's, a local variable, the argument."""
NEGATIVE_MAX: Final = 4096
"""Absent names that one directory remembers."""


class _Changing:
    """A context (a generator would cost as much as the change)."""

    __slots__ = ("_directory", "_name")

    def __init__(self, directory: Dentry, name: bytes) -> None:
        self._directory = directory
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, EIO):
            self._directory.doubt(self._name)


class Dentry:
    """A name in a file system's tree.

    Invariant: ``parent.children[name] is self`` while it is cached and not ``deleted``; the root is its own parent.
    What is shown to fast paths is cached, and its parent shown, too.
    """

    __slots__ = ("__weakref__", "absent", "children", "deleted", "index", "inode", "mounts", "name", "parent")

    def __init__(self, name: bytes, parent: Dentry | None, inode: Inode) -> None:
        self.name = name
        self.parent: Dentry = self if parent is None else parent
        self.inode = inode
        self.children: dict[bytes, Dentry] = {}
        self.absent: set[bytes] | None = None
        """Names known not to exist, where the file system allows to remember that."""
        self.mounts = 0
        """How many mounts, of all namespaces, stand on it."""
        self.deleted = False
        self.index = -1
        """That of the struct pysc_dentry that shows it to fast paths (dcache.py); negative: none does."""

    def __del__(self, hide: Callable[[int], None] = hide_dentry) -> None:
        if self.index >= 0:
            hide(self.index)

    def hide(self) -> None:
        """Do not show it, and what is below it, to fast paths any more.

        What they opened by it becomes objects of ours first, which still find it.
        """
        shown = [self] if self.index >= 0 else []
        for dentry in shown:
            shown.extend(child for child in dentry.children.values() if child.index >= 0)
        for dentry in reversed(shown):
            if dentry.used_by_fast_paths:
                referenced.see_at(dentry.index)
            index, dentry.index = dentry.index, -1
            hide_dentry(index)

    @property
    def used_by_fast_paths(self) -> bool:
        """Whether they have opened it, or start paths there."""
        return self.index >= 0 and lib.pysc_dentry_uses(OBJECTS, self.index) > 1

    def add(self, name: bytes, inode: Inode) -> Dentry:
        """Return the child ``name``, which is now ``inode``."""
        there = self.children.get(name)
        if there is not None and there.inode is inode:
            return there
        child = Dentry(name, self, inode)
        self._appears(name)
        if inode.cacheable:
            self.children[name] = child
            _cached.append(ref(child))
            if len(_cached) > CACHED_MAX:
                prune()
        return child

    def forget(self, name: bytes) -> None:
        """Drop a cached child: the next walk looks it up again."""
        child = self.children.get(name)
        if child is not None:
            child.hide()
            del self.children[name]

    def remember_absent(self, name: bytes) -> None:
        """Note that ``name`` does not exist, if there is memory for that."""
        if memory_is_short():
            if self.absent is not None:
                self.absent.clear()  # still a set: what fast paths were shown is hidden when it appears
            return
        if self.absent is None or len(self.absent) >= NEGATIVE_MAX:
            self.absent = set()
        self.absent.add(name)
        if self.index >= 0:
            lib.pysc_dentry_show_absent(OBJECTS, self.index, name, len(name))

    def _appears(self, name: bytes) -> None:
        if self.absent is not None:
            self.absent.discard(name)
            if self.index >= 0:
                lib.pysc_dentry_hide_absent(OBJECTS, self.index, name, len(name))

    def changing(self, name: bytes) -> _Changing:
        """Return what a name in it is changed in; after EIO nobody knows whether it was, and it is looked up again."""
        return _Changing(self, name)

    def doubt(self, name: bytes) -> None:
        """Have a name looked up again."""
        self._appears(name)
        child = self.children.get(name)
        if child is not None and not child.children and not child.mounts:
            self.forget(name)

    def detach(self) -> None:
        """The name was removed: the dentry lives on for those who have it open."""
        self.deleted = True
        self._leave_name()

    def move(self, parent: Dentry, name: bytes) -> None:
        """The name was changed (rename(2))."""
        self._leave_name()
        self.parent = parent
        self.name = name
        parent._appears(name)
        parent.children[name] = self

    def _leave_name(self) -> None:
        self.hide()
        if self.parent.children.get(self.name) is self:
            del self.parent.children[self.name]
            if self.parent.inode.fs.remembers_absent:
                self.parent.remember_absent(self.name)

    def cover(self) -> None:
        """One more mount stands on it."""
        self.mounts += 1
        self.inode.withdraw()
        if self.index >= 0:
            lib.pysc_dentry_cover(OBJECTS, self.index)
        lib.pysc_crossings_forget(OBJECTS)

    def uncover(self) -> None:
        """One less."""
        self.mounts -= 1
        lib.pysc_crossings_forget(OBJECTS)

    def below(self, ancestor: Dentry) -> bool:
        """Whether it is ``ancestor`` or somewhere below."""
        dentry = self
        while dentry is not ancestor:
            if dentry.parent is dentry:
                return False
            dentry = dentry.parent
        return True


_cached: Final[deque[ref[Dentry]]] = deque()
"""Dentries of all file systems in the order in which they were looked up last.

Of the process, since it is its memory that they take; no more than an order, since the references are weak.
"""


def prune(count: int = 64) -> None:
    """Give up to ``count`` cached dentries up, those looked up longest ago first, that nothing else refers to.

    Whatever has state behind its name stays: mount points, bound sockets, FIFOs, locked files.
    """
    for _ in range(min(count, len(_cached))):
        reference = _cached.popleft()
        dentry = reference()
        if dentry is None or dentry.parent.children.get(dentry.name) is not dentry:
            continue
        inode = dentry.inode
        in_use = (
            dentry.children
            or dentry.mounts
            or inode.special is not None
            or inode.locks is not None
            or dentry.used_by_fast_paths
            or sys.getrefcount(dentry) > UNUSED
        )
        if in_use:
            _cached.append(reference)
        else:
            dentry.hide()
            del dentry.parent.children[dentry.name]


class Mount:
    """A file system, or a part of one, at a place in a namespace.

    Invariant: ``parent.children[point] is self``; the root of a namespace has no parent.
    """

    __slots__ = ("__weakref__", "_flags", "children", "fs", "id", "namespace", "parent", "point", "root", "source")

    def __init__(self, fs: Filesystem, root: Dentry, flags: int = 0, source: bytes = b"none") -> None:
        self.fs = fs
        self.root = root
        self.source = source
        self.id = next(_mount_ids)
        self.flags = flags
        self.parent: Mount | None = None
        self.point: Dentry | None = None
        self.children: dict[Dentry, Mount] = {}
        self.namespace: MountNamespace | None = None
        mounts[self.id] = self

    @property
    def flags(self) -> int:
        """The MS_* that it has for itself."""
        return self._flags

    @flags.setter
    def flags(self, flags: int) -> None:
        self._flags = flags
        lib.pysc_mount_note(OBJECTS, self.id, not flags & MS_NOEXEC)
        if flags & MS_NOSYMFOLLOW:
            lib.pysc_links_leave(OBJECTS)

    def rebuild(self) -> None:
        """Let fast paths know what another process has made of this (pysc.sentry.state)."""
        self.flags = self._flags

    @property
    def readonly(self) -> bool:
        """Whether nothing may be changed through it."""
        return bool(self.flags & MS_RDONLY) or self.fs.readonly

    def options(self) -> bytes:
        """Return its options as /proc/self/mountinfo has them."""
        words = [b"ro" if self.readonly else b"rw"]
        for flag, word in _WORDS:
            if self.flags & flag:
                words.append(word)
        return b",".join(words)


mounts: Final[WeakValueDictionary[int, Mount]] = WeakValueDictionary()
"""By id, which is what fast paths know of them (cabi/objects.py)."""

_WORDS: Final = (
    (MS_NOSUID, b"nosuid"),
    (MS_NODEV, b"nodev"),
    (MS_NOEXEC, b"noexec"),
    (MS_NOSYMFOLLOW, b"nosymfollow"),
    (MS_NOATIME, b"noatime"),
    (MS_NODIRATIME, b"nodiratime"),
    (MS_RELATIME, b"relatime"),
)


class Path(NamedTuple):
    """A place: a dentry as seen through a mount.  Where something is mounted on, it is the mounted root."""

    mount: Mount
    dentry: Dentry

    @property
    def inode(self) -> Inode:
        """The inode there."""
        return self.dentry.inode


class MountNamespace:
    """All mounts that a set of tasks can see (mount_namespaces(7)).  ``mounts`` are in the order of mounting.

    Invariant: ``users`` counts the contexts whose root is in it; without any it has no mounts.
    """

    __slots__ = ("changed", "changes", "mounts", "number", "root", "users")

    def __init__(self, root: Mount, number: int = 0) -> None:
        self.number = number
        """Tells it from others (/proc/PID/ns/mnt); 0 is the first."""
        self.root = root
        root.namespace = self
        self.mounts: dict[int, Mount] = {root.id: root}
        self.users = 0
        self.changes = 0
        """How often anything was mounted, moved or taken away."""
        self.changed = WaitQueue()

    @classmethod
    def of(cls, fs: Filesystem, flags: int = 0, source: bytes = b"none") -> MountNamespace:
        """Return a new one with a file system for its root."""
        return cls(Mount(fs, Dentry(b"/", None, fs.root), flags, source))

    def enter(self) -> None:
        """One context more."""
        self.users += 1

    def leave(self) -> None:
        """One less: what nobody can see any more does not stay mounted."""
        self.users -= 1
        if not self.users:
            self.detach(self.root)

    def change(self) -> None:
        """Something looks different: tell who waits for that."""
        self.changes += 1
        self.changed.wake_all(POLLERR | POLLPRI)

    def covers(self, dentry: Dentry) -> bool:
        """Whether anything is mounted on it here."""
        return bool(dentry.mounts) and any(mount.point is dentry for mount in self.mounts.values())

    @property
    def root_path(self) -> Path:
        """The topmost place of the namespace."""
        return top(Path(self.root, self.root.root))

    def new_mount(self, fs: Filesystem, root: Dentry | None, flags: int, source: bytes) -> Mount:
        """Return a mount to be attached; ``root`` None is the top of the file system.  ENOSPC: too many."""
        self.have_room(1)
        return Mount(fs, root or fs.root_dentry() or Dentry(b"/", None, fs.root), flags, source)

    def have_room(self, count: int) -> None:
        """ENOSPC: with ``count`` more there would be too many mounts."""
        if len(self.mounts) + count > MOUNTS_MAX or memory_is_short():
            raise ENOSPC

    def attach(self, mount: Mount, place: Path) -> None:
        """Mount at ``place``, which must be in this namespace; over what is mounted there already.

        ENOENT: its name is looked up anew each time (/proc/PID/fd/N), so nothing stays there.
        """
        place = top(place)
        if not place.dentry.inode.cacheable:
            raise ENOENT
        mount.parent, mount.point, mount.namespace = place.mount, place.dentry, self
        place.mount.children[place.dentry] = mount
        place.dentry.cover()
        self.mounts[mount.id] = mount
        self.change()

    def detach(self, mount: Mount) -> None:
        """Take a mount, and those below it, out of the tree; whoever is inside stays there."""
        for gone in reversed(subtree(mount)):
            if gone.parent is not None and gone.point is not None:
                del gone.parent.children[gone.point]
                gone.point.uncover()
            gone.parent = gone.point = gone.namespace = None
            self.mounts.pop(gone.id, None)
        self.change()

    def copy(self) -> tuple[MountNamespace, dict[Mount, Mount]]:
        """Return a namespace with the same mounts (CLONE_NEWNS), and which mount became which."""
        copies: dict[Mount, Mount] = {}
        for mount in self.mounts.values():
            copies[mount] = Mount(mount.fs, mount.root, mount.flags, mount.source)
        other = MountNamespace(copies[self.root], copies[self.root].id)
        other.mounts = {twin.id: twin for twin in copies.values()}
        for mount, twin in copies.items():
            twin.namespace = other
            if mount.parent is not None and mount.point is not None:
                twin.parent, twin.point = copies[mount.parent], mount.point
                twin.parent.children[mount.point] = twin
                mount.point.cover()
        return other, copies

    def move(self, mount: Mount, place: Path) -> None:
        """Move a mount with all below it to ``place`` (MS_MOVE)."""
        assert mount.parent is not None
        assert mount.point is not None
        del mount.parent.children[mount.point]
        mount.point.uncover()
        self.attach(mount, place)


def unmount_everywhere(dentry: Dentry) -> None:
    """The name is no more: so is what other namespaces have mounted there."""
    if dentry.mounts:
        for mount in list(mounts.values()):
            if mount.point is dentry and mount.namespace is not None:
                mount.namespace.detach(mount)


def subtree(mount: Mount) -> list[Mount]:
    """Return a mount and all below it, each after what it stands on."""
    found = [mount]
    for above in found:
        found.extend(above.children.values())
    return found


def top(place: Path) -> Path:
    """Return what is visible at ``place``: the root of the topmost mount on it."""
    mount, dentry = place
    while dentry.mounts:
        above = mount.children.get(dentry)
        if above is None:
            break
        mount, dentry = above, above.root
    return Path(mount, dentry)


def parent(place: Path, root: Path) -> Path:
    """Return ``..`` of a place, for somebody whose root is ``root``."""
    mount, dentry = place
    while True:
        if dentry is root.dentry and mount is root.mount:
            return place
        if dentry is not mount.root:
            return top(Path(mount, dentry.parent))
        above, point = mount.parent, mount.point
        if above is None or point is None:
            return place
        mount, dentry = above, point


def name_of(place: Path, root: Path) -> tuple[bytes, bool]:
    """Return the absolute path of a place below ``root``, and whether it is reachable from there (d_path).

    ENAMETOOLONG: it is so deep down.
    """
    mount, dentry = place
    names: list[bytes] = []
    left = PATH_MAX
    reachable = True
    while not (dentry is root.dentry and mount is root.mount):
        if dentry is mount.root:
            above, point = mount.parent, mount.point
            if above is None or point is None:
                reachable = False
                break
            mount, dentry = above, point
            continue
        names.append(dentry.name)
        left -= len(dentry.name) + 1
        if left <= 0:
            raise ENAMETOOLONG
        dentry = dentry.parent
    return b"/" + b"/".join(reversed(names)), reachable


def is_deleted(place: Path) -> bool:
    """Whether the name, or a directory above it, was removed."""
    dentry = place.dentry
    while dentry.parent is not dentry:
        if dentry.deleted:
            return True
        dentry = dentry.parent
    return False


def show(place: Path, root: Path) -> bytes:
    """The same for a list, where none can be left out."""
    try:
        return display(place, root)
    except ENAMETOOLONG:
        return b"(too long)"


def display(place: Path, root: Path) -> bytes:
    """Return a path as /proc shows it: with ``(deleted)`` where that holds.  ENAMETOOLONG."""
    name, _reachable = name_of(place, root)
    return name + b" (deleted)" if place.dentry.deleted else name
