"""Requests that make and remove names: create, mkdir, symlink, mknod, link, rename, unlink.

What is made is made exclusively and closed to everybody, then given its owner and mode; if that fails it is removed.
Setgid inheritance, the sticky bit and permissions are the sentry's: owner and mode are done as asked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EINVAL, ENOENT, EPERM, ESTALE, EXDEV, LinuxError
from pysc.cabi.linux.fcntl import RENAME_EXCHANGE, RENAME_NOREPLACE
from pysc.gofer.mounts import Mounts, Place, check_name
from pysc.gofer.reading import check_flags
from pysc.urpc.fds import FileFd
from pysc.urpc.schema.gofer import (
    Create,
    Link,
    Made,
    MakeDirectory,
    MakeNode,
    MakeSymlink,
    Opened,
    Rename,
    Unlink,
)

OF_THE_FILE: Final = ("mode", "nlink", "uid", "gid", "size", "mtime", "ctime", "btime")
"""Attributes that all names of a file share; nobody can set its ctime."""
TRIES: Final = 8
"""How often something is made that others take away at once."""

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


class _Gone(Exception):
    """What has just been made by name is there no more: on the host others remove it."""


def _again_if_gone(handler: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Make it again then: whoever asks has a right to find it, or to hear why it could not be made."""

    @wraps(handler)
    def handle(self: S, /, *args: P.args, **keywords: P.kwargs) -> R:
        for _ in range(TRIES):
            try:
                return handler(self, *args, **keywords)
            except _Gone:
                pass
        raise ENOENT

    return handle


class Making:
    """Handlers; each takes a request and returns its reply."""

    __slots__ = ("_mounts",)

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    @_again_if_gone
    def create(self, request: Create) -> Opened:
        """Make and open a regular file."""
        check_name(request.name)
        flags = check_flags(request.flags) & ~(os.O_TRUNC | os.O_DIRECTORY) | os.O_CREAT | os.O_EXCL | os.O_NONBLOCK
        with self._mounts.writable_directory(request.directory) as parent:
            file = FileFd(host.open_beneath(parent.fd, request.name, flags, 0o600))
            with _removed_on_failure(parent, request.name):
                owners = parent.mount.owners
                owners.give(file.fileno(), request.uid, request.gid, request.mode)
                return Opened(owners.show(file.fileno()), file)

    @_again_if_gone
    def make_directory(self, request: MakeDirectory) -> Made:
        """mkdir(2)."""
        check_name(request.name)
        with self._mounts.writable_directory(request.directory) as parent:
            os.mkdir(request.name, 0o700, dir_fd=parent.fd)
            with _removed_on_failure(parent, request.name, is_directory=True):
                fd = host.open_beneath(parent.fd, request.name, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    owners = parent.mount.owners
                    owners.give(fd, request.uid, request.gid, request.mode)
                    return Made(owners.show(fd))
                finally:
                    os.close(fd)

    @_again_if_gone
    def make_symlink(self, request: MakeSymlink) -> Made:
        """symlink(2)."""
        check_name(request.name)
        if b"\0" in request.target:
            raise EINVAL("target")
        with self._mounts.writable_directory(request.directory) as parent:
            os.symlink(request.target, request.name, dir_fd=parent.fd)
            with _removed_on_failure(parent, request.name):
                parent.mount.owners.give_name(parent.fd, request.name, request.uid, request.gid)
                return Made(host.stat_packed_at(parent.fd, request.name))

    @_again_if_gone
    def make_node(self, request: MakeNode) -> Made:
        """mknod(2): what the guest opens is never this node.  Also a 0:0 device, a whiteout, is refused."""
        check_name(request.name)
        if request.kind not in (stat.S_IFIFO, stat.S_IFSOCK):
            raise EPERM
        with self._mounts.writable_directory(request.directory) as parent:
            owners = parent.mount.owners
            os.mknod(request.name, request.kind | owners.node_mode(request.mode), dir_fd=parent.fd)  # the umask is 0
            with _removed_on_failure(parent, request.name):
                owners.give_name(parent.fd, request.name, request.uid, request.gid)
                return Made(host.stat_packed_at(parent.fd, request.name))

    @_again_if_gone
    def link(self, request: Link) -> Made:
        """link(2) by name: by descriptor it would need a capability in the host's own user namespace."""
        check_name(request.name)
        with (
            self._mounts.found_writable(request.file) as place,
            self._mounts.writable_directory(request.directory) as parent,
        ):
            if place.mount is not parent.mount:
                raise EXDEV
            above, _, name = place.path.rpartition(b"/")
            if not name:
                raise EPERM("the root")
            source = host.open_beneath(place.mount.root, above, os.O_PATH | os.O_DIRECTORY)
            try:
                os.link(name, request.name, src_dir_fd=source, dst_dir_fd=parent.fd, follow_symlinks=False)
            finally:
                os.close(source)
            with _removed_on_failure(parent, request.name):
                attributes = host.stat_at(parent.fd, request.name)
                if not place.is_same(attributes) and not _are_links(host.stat_at(place.fd), attributes):
                    raise ESTALE
                return Made(parent.mount.owners.show_at(attributes.pack(), parent.fd, request.name))

    def rename(self, request: Rename) -> None:
        """renameat2(2)."""
        check_name(request.old_name)
        check_name(request.new_name)
        if request.flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
            raise EINVAL("flags")
        with (
            self._mounts.writable_directory(request.old_directory) as old,
            self._mounts.writable_directory(request.new_directory) as new,
        ):
            if old.mount is not new.mount:
                raise EXDEV
            _expect(old, request.old_name, request.dev, request.ino)
            host.rename(old.fd, request.old_name, new.fd, request.new_name, request.flags)

    def unlink(self, request: Unlink) -> None:
        """unlinkat(2)."""
        check_name(request.name)
        with self._mounts.writable_directory(request.directory) as parent:
            _expect(parent, request.name, request.dev, request.ino)
            if request.is_directory:
                os.rmdir(request.name, dir_fd=parent.fd)
            else:
                os.unlink(request.name, dir_fd=parent.fd)


def _expect(parent: Place, name: bytes, dev: int, ino: int) -> None:
    if dev or ino:
        attributes = host.stat_at(parent.fd, name)
        if (attributes.dev, attributes.ino) != (dev, ino):
            raise ESTALE


def _are_links(one: HostAttributes, other: HostAttributes) -> bool:
    """Whether two names that were just linked lead to one file, though an overlay of the host's numbers them apart."""
    return one.nlink > 1 and all(getattr(one, name) == getattr(other, name) for name in OF_THE_FILE)


@contextmanager
def _removed_on_failure(parent: Place, name: bytes, *, is_directory: bool = False) -> Iterator[None]:
    try:
        yield
    except BaseException as failure:
        if isinstance(failure, OSError | LinuxError) and failure.errno == ENOENT.errno:
            raise _Gone from None
        try:
            if is_directory:
                os.rmdir(name, dir_fd=parent.fd)
            else:
                os.unlink(name, dir_fd=parent.fd)
        except OSError:
            pass  # somebody else was quicker, or the host is failing: the first error is the one to tell
        raise
