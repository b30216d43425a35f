"""Requests that change a file: attributes, size, extended attributes, allocation, fsync."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pysc.cabi import host
from pysc.cabi.linux.errors import E2BIG, EINVAL, EISDIR, ENODATA, EOPNOTSUPP, EPERM
from pysc.gofer.mounts import Mounts
from pysc.urpc.schema.gofer import (
    ATIME_NOW,
    MAX_XATTR,
    MAX_XATTRS,
    MTIME_NOW,
    Allocate,
    Changes,
    GetXattr,
    ListXattrs,
    Made,
    Names,
    RemoveXattr,
    SetAttributes,
    SetOpenAttributes,
    SetXattr,
    Sync,
    Value,
)

XATTR_OVERHEAD: Final = 2
"""Bytes that a name takes on the wire beside itself."""
HAVE_XATTRS: Final = (stat.S_IFREG, stat.S_IFDIR)
"""What has extended attributes here, as with user.* in Linux (xattr(7))."""


class Changing:
    """Handlers; each takes a request and returns its reply."""

    __slots__ = ("_mounts",)

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    def set_attributes(self, request: SetAttributes) -> Made:
        """Change owner, mode, size and times of a file, or of a link itself."""
        changes = request.changes
        with self._mounts.found_writable(request.file) as place:
            owners = place.mount.owners
            _check_size(changes, place.kind)
            if changes.size is not None:
                fd = place.reopen(os.O_WRONLY)
                try:
                    owners.resize(fd, changes.size)
                finally:
                    os.close(fd)
            owners.change(place, changes.uid, changes.gid, changes.mode)
            _set_times(place.fd, changes)
            return Made(place.show())

    def set_open_attributes(self, request: SetOpenAttributes) -> Made:
        """The same by descriptor.

        It must be one of a gofer's of this sandbox: we have capabilities over the inodes of descriptors that the sentry
        got elsewhere, its standard output for example.
        """
        mount = self._mounts.writable(request.mount)
        changes, fd = request.changes, request.file.fileno()
        attributes = host.stat_at(fd)
        if not mount.has(fd, attributes):
            raise EPERM("not opened by a gofer of this tree")
        _check_size(changes, stat.S_IFMT(attributes.mode))
        if changes.size is not None:
            mount.owners.resize(fd, changes.size)  # EINVAL unless it was opened for writing
        mount.owners.change_open(fd, attributes, changes.uid, changes.gid, changes.mode)
        _set_times(fd, changes)
        return Made(mount.owners.show(fd))

    def allocate(self, request: Allocate) -> None:
        """fallocate(2); EBADF unless it was opened for writing."""
        self._mounts.writable(request.mount)
        host.allocate(request.file.fileno(), request.mode, request.offset, request.length)

    def sync(self, request: Sync) -> None:
        """fsync(2)."""
        self._mounts.get(request.mount)
        if request.data_only:
            os.fdatasync(request.file.fileno())
        else:
            os.fsync(request.file.fileno())

    # Extended attributes

    def get_xattr(self, request: GetXattr) -> Value:
        """getxattr(2)."""
        if not _is_served(request.name):
            raise ENODATA if request.name.startswith(b"trusted.") else EOPNOTSUPP
        with self._with_xattrs(request) as fd:
            if fd < 0:
                raise ENODATA
            value = os.getxattr(fd, request.name)
        if len(value) > MAX_XATTR:
            raise E2BIG
        return Value(value)

    def list_xattrs(self, request: ListXattrs) -> Names:
        """listxattr(2)."""
        with self._with_xattrs(request) as fd:
            names = [os.fsencode(name) for name in os.listxattr(fd)] if fd >= 0 else []
        served = [name for name in names if _is_served(name)]
        if len(served) > MAX_XATTRS or sum(map(len, served)) + XATTR_OVERHEAD * len(served) > MAX_XATTR:
            raise E2BIG
        return Names(served)

    def set_xattr(self, request: SetXattr) -> None:
        """setxattr(2)."""
        if request.flags not in (0, os.XATTR_CREATE, os.XATTR_REPLACE):
            raise EINVAL("flags")
        with self._for_setting(request) as fd:
            os.setxattr(fd, request.name, request.value, request.flags)

    def remove_xattr(self, request: RemoveXattr) -> None:
        """removexattr(2)."""
        with self._for_setting(request) as fd:
            os.removexattr(fd, request.name)

    @contextmanager
    def _for_setting(self, request: SetXattr | RemoveXattr) -> Iterator[int]:
        self._mounts.writable(request.file.mount)
        with self._with_xattrs(request) as fd:
            if not _is_served(request.name):
                raise EPERM if request.name.startswith((b"trusted.", b"user.pysc.")) else EOPNOTSUPP
            if fd < 0:
                raise EPERM
            yield fd

    @contextmanager
    def _with_xattrs(self, request: GetXattr | ListXattrs | SetXattr | RemoveXattr) -> Iterator[int]:
        """Open the file of a request for the time of the context; -1: it is of a kind that has no such attributes."""
        if request.open is not None:
            fd = request.open.fileno()
            attributes = host.stat_at(fd)
            if not self._mounts.get(request.file.mount).has(fd, attributes, reading=True):
                raise EPERM("not opened below this tree")
            yield fd if stat.S_IFMT(attributes.mode) in HAVE_XATTRS else -1
            return
        with self._mounts.found(request.file) as place:
            if place.kind not in HAVE_XATTRS:
                yield -1
                return
            fd = place.reopen(os.O_RDONLY)
            try:
                yield fd
            finally:
                os.close(fd)


def _is_served(name: bytes) -> bool:
    if b"\0" in name:
        raise EINVAL("name")
    if name.startswith(b"user."):
        return len(name) > 5 and not name.startswith(b"user.pysc.")
    return name == b"security.capability"


def _check_size(changes: Changes, kind: int) -> None:
    if changes.size is not None and kind != stat.S_IFREG:
        raise EISDIR if kind == stat.S_IFDIR else EINVAL


def _set_times(fd: int, changes: Changes) -> None:
    atime = _time(changes.atime, bool(changes.now & ATIME_NOW))
    mtime = _time(changes.mtime, bool(changes.now & MTIME_NOW))
    if atime[0] != host.OMIT or mtime[0] != host.OMIT:
        host.utimens(fd, b"", atime, mtime)


def _time(value: int | None, now: bool) -> tuple[int, int]:
    if now:
        return host.NOW, 0
    return (host.OMIT, 0) if value is None else (host.SET, value)
