"""Mounting (mount(2), umount(2), pivot_root(2)): by guests, and what a container starts with.

A file system type registers itself in :data:`types` by a maker, called with the kernel, the source and the options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EBUSY, EINVAL, ENODEV, ENOTDIR
from pysc.cabi.linux.mount import MS_PER_MOUNT, MS_RDONLY
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT
from pysc.sentry.fs.devfs import Devtmpfs
from pysc.sentry.fs.inode import Filesystem
from pysc.sentry.fs.path import Mount, MountNamespace, Path, subtree
from pysc.sentry.fs.proc.filesystem import make_proc
from pysc.sentry.fs.sysfs import Sysfs
from pysc.sentry.fs.tmpfs import Tmpfs

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel

Options = Mapping[bytes, bytes]
Maker = Callable[["Kernel", bytes, Options], Filesystem]


def parse_options(data: bytes) -> dict[bytes, bytes]:
    """Split what mount(2) gets as data: ``size=64m,mode=755``.  EINVAL: an empty name."""
    options: dict[bytes, bytes] = {}
    for word in data.split(b","):
        if word:
            key, _equals, value = word.partition(b"=")
            if not key:
                raise EINVAL
            options[key] = value
    return options


def _tmpfs(kernel: Kernel, source: bytes, options: Options) -> Filesystem:
    return Tmpfs.with_options(options, kernel.machine.budget, kernel.machine.memory)


def _devtmpfs(kernel: Kernel, source: bytes, options: Options) -> Filesystem:
    return Devtmpfs(kernel.machine.budget)


def _mqueue(kernel: Kernel, source: bytes, options: Options) -> Filesystem:
    if options:
        raise EINVAL("mqueue has no options")
    return kernel.ipc.mqueue


def _proc(kernel: Kernel, source: bytes, options: Options) -> Filesystem:
    return make_proc(kernel)


def _sysfs(kernel: Kernel, source: bytes, options: Options) -> Filesystem:
    return Sysfs(kernel.machine.cpus)


types: Final[dict[bytes, Maker]] = {
    b"devtmpfs": _devtmpfs,
    b"mqueue": _mqueue,
    b"proc": _proc,
    b"ramfs": _tmpfs,
    b"sysfs": _sysfs,
    b"tmpfs": _tmpfs,
}
"""By name.  Modules with other types (devpts …) add theirs."""


def make(kernel: Kernel, kind: bytes, source: bytes = b"", options: Options | None = None) -> Filesystem:
    """Return a new file system of a type.  ENODEV: unknown; EINVAL: an option."""
    maker = types.get(kind)
    if maker is None:
        raise ENODEV
    return maker(kernel, source, options or {})


def is_directory(place: Path) -> bool:
    """Whether there is a directory."""
    return place.dentry.inode.mode & S_IFMT == S_IFDIR


def namespace_of(place: Path) -> MountNamespace:
    """Return the namespace a place is in.  EINVAL: in none any more."""
    namespace = place.mount.namespace
    if namespace is None:
        raise EINVAL
    return namespace


def mount_at(fs: Filesystem, place: Path, flags: int, source: bytes) -> Mount:
    """Mount a file system.  ENOTDIR: only one of the two is a directory; ENOSPC."""
    namespace = namespace_of(place)
    mount = namespace.new_mount(fs, None, flags & MS_PER_MOUNT, source)
    if (mount.root.inode.mode & S_IFMT == S_IFDIR) != is_directory(place):
        raise ENOTDIR
    namespace.attach(mount, place)
    return mount


def bind_at(what: Path, place: Path, *, recursive: bool) -> Mount:
    """Mount a place a second time (MS_BIND); with what is mounted below it if ``recursive``.  ENOTDIR, ENOSPC."""
    namespace = namespace_of(place)
    namespace.have_room(len(subtree(what.mount)) if recursive else 1)
    if is_directory(what) != is_directory(place):
        raise ENOTDIR
    mount = _clone(what, recursive=recursive)
    namespace.attach(mount, place)
    for inner in subtree(mount)[1:]:
        inner.namespace = namespace
        namespace.mounts[inner.id] = inner
    return mount


def _clone(what: Path, *, recursive: bool) -> Mount:
    """Return a mount of the same place, with copies of the mounts below it if ``recursive``."""
    twin = Mount(what.mount.fs, what.dentry, what.mount.flags, what.mount.source)
    pairs = [(what.mount, twin)] if recursive else []
    for mount, copy in pairs:
        for point, child in mount.children.items():
            if point.below(copy.root):
                inner = Mount(child.fs, child.root, child.flags, child.source)
                inner.parent, inner.point = copy, point
                copy.children[point] = inner
                point.cover()
                pairs.append((child, inner))
    return twin


def remount(place: Path, flags: int, *, bind: bool) -> None:
    """Change the flags of a mount, or, unless ``bind``, of its file system, too (MS_REMOUNT)."""
    mount = place.mount
    if place.dentry is not mount.root:
        raise EINVAL
    mount.flags = mount.flags & ~MS_PER_MOUNT | flags & MS_PER_MOUNT
    if not bind and not flags & MS_RDONLY and mount.fs.readonly:
        raise EBUSY
    namespace_of(place).change()


def unmount(place: Path, *, lazy: bool, busy: Callable[[Mount], bool]) -> None:
    """umount2(2).  EINVAL: no mount point; EBUSY: in use, unless ``lazy``."""
    mount = place.mount
    if place.dentry is not mount.root or mount.parent is None:
        raise EINVAL
    if not lazy and (mount.children or busy(mount)):
        raise EBUSY
    namespace_of(place).detach(mount)
