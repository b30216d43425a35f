"""Requests that change nothing: walk, open, list, links, statfs (path_resolution(7), open(2), getdents64(2))."""

from __future__ import annotations

import os
import stat
from typing import Final

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EACCES, ECONNREFUSED, EINVAL, EISDIR, ENOTDIR, EROFS, ESTALE
from pysc.gofer.mounts import Mounts, Place, check_name
from pysc.gofer.owners import Owners
from pysc.urpc.fds import FileFd
from pysc.urpc.schema.gofer import (
    Attach,
    Attached,
    Connect,
    Connected,
    FileSystem,
    LinkTarget,
    ListDirectory,
    Listing,
    Open,
    Opened,
    ReadLink,
    StatFs,
    Walk,
    Walked,
)

OPEN_FLAGS: Final = (
    os.O_ACCMODE | os.O_TRUNC | os.O_APPEND | os.O_DIRECTORY | os.O_DIRECT | os.O_SYNC | os.O_DSYNC | os.O_NOATIME
    | os.O_NONBLOCK
)  # fmt: skip

TRIES: Final = 3


class Reading:
    """Handlers; each takes a request and returns its reply."""

    __slots__ = ("_mounts",)

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    def attach(self, request: Attach) -> Attached:
        """Say what a mount's root is."""
        mount = self._mounts.get(request.mount)
        root = mount.owners.show_at(host.stat_packed_at(mount.root, mount.path), mount.root, mount.path)
        return Attached(root, mount.readonly, mount.path, mount.owners.maps)

    def walk(self, request: Walk) -> Walked:
        """Step from name to name, each opened below the one before: a rename meanwhile cannot lead us elsewhere."""
        for name in request.names:
            check_name(name)
        attributes: list[bytes] = []
        with self._mounts.directory(request.directory) as start:
            fd = os.dup(start.fd)
            try:
                for name in request.names:
                    below, packed = _step(start.mount.owners, fd, name)
                    os.close(fd)
                    fd = below
                    attributes.append(packed)
                    seen = HostAttributes.unpack_from(packed)
                    mode = seen.mode
                    if seen.mnt_id in start.mount.hidden and len(attributes) < len(request.names):
                        return Walked(attributes, errno=EACCES.errno)
                    if stat.S_ISLNK(mode):
                        return Walked(attributes, host.read_link_at(fd, b""))
                    if not stat.S_ISDIR(mode) and len(attributes) < len(request.names):
                        return Walked(attributes, errno=ENOTDIR.errno)
            except OSError as error:
                return Walked(attributes, errno=error.errno or 0)
            finally:
                os.close(fd)
        return Walked(attributes)

    def open(self, request: Open) -> Opened:
        """Open what exists; O_TRUNC is carried out only once the file is known to be the right one."""
        flags = check_flags(request.flags)
        writes = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
        with self._mounts.found(request.file) as place:
            if place.kind == stat.S_IFDIR and writes:
                raise EISDIR
            if writes and place.mount.readonly and place.kind != stat.S_IFIFO:
                raise EROFS
            fd = place.reopen(flags & ~os.O_TRUNC)
            file = FileFd(fd)
            if flags & os.O_TRUNC and place.kind == stat.S_IFREG:
                truncate(place, fd, flags)
            return Opened(place.mount.owners.show(fd), file)

    def read_link(self, request: ReadLink) -> LinkTarget:
        """readlink(2)."""
        with self._mounts.found(request.file) as place:
            if place.kind != stat.S_IFLNK:
                raise EINVAL
            return LinkTarget(host.read_link_at(place.fd, b""))

    def list_directory(self, request: ListDirectory) -> Listing:
        """getdents64(2) with attributes; the cookie is the host's, so nothing has to be kept between two calls."""
        with self._mounts.directory(request.directory) as place:
            fd = place.reopen(os.O_RDONLY | os.O_DIRECTORY)
            try:
                return Listing(*place.mount.owners.list(fd, request.cookie, request.max_bytes))
            finally:
                os.close(fd)

    def stat_fs(self, request: StatFs) -> FileSystem:
        """statfs(2)."""
        with self._mounts.found(request.file) as place:
            return FileSystem(*host.statfs(place.fd))

    def connect(self, request: Connect) -> Connected:
        """Host sockets are for sandboxes that were started with them, which none is yet."""
        raise ECONNREFUSED


def _step(owners: Owners, directory: int, name: bytes, tries: int = TRIES) -> tuple[int, bytes]:
    """Open a name in a directory (O_PATH) and look at it, again if the name becomes another file's meanwhile."""
    fd = host.open_beneath(directory, name, os.O_PATH)
    try:
        return fd, owners.show_at(host.stat_packed_at(fd, b""), directory, name)
    except OSError as error:
        os.close(fd)
        if error.errno != ESTALE.errno or tries == 1:
            raise
    return _step(owners, directory, name, tries - 1)


def check_flags(flags: int) -> int:
    """Return the flags of an open.  EINVAL: one that is not for a gofer."""
    if flags & ~OPEN_FLAGS or flags & os.O_ACCMODE == os.O_ACCMODE:
        raise EINVAL("flags")
    return flags


def truncate(place: Place, fd: int, flags: int) -> None:
    """Empty the file; by a descriptor of its own if ``fd`` cannot write."""
    if flags & os.O_ACCMODE != os.O_RDONLY:
        place.mount.owners.resize(fd, 0)
        return
    writer = place.reopen(os.O_WRONLY)
    try:
        place.mount.owners.resize(writer, 0)
    finally:
        os.close(writer)
