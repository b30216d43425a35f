"""Whose files are, and what modes they have: as the host's inodes say, or, for a caller without root, beside them.

A caller without root has one id.  With ``--map-owners`` the owner, group and mode that a guest gives to a regular file
or directory of the caller's are kept in the extended attribute ``user.pysc.owner`` (cabi/shim/owner.cdef.h says when it
counts); the inode itself gets a mode with which we can always reach it, nobody else on the host can write to it, and
nothing is ever setuid.  What the inode can say by itself has no attribute.

Symbolic links, FIFOs and sockets cannot have such attributes (xattr(7)): that their owner changes is accepted, and
forgotten here.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EACCES, EINVAL, ENODATA, ENOSYS, EOPNOTSUPP, EPERM

if TYPE_CHECKING:
    from pysc.gofer.mounts import Place

CALLER: Final = 0
"""A caller without root, in its own user namespace."""
SPECIAL_BITS: Final = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


class Owners:
    """As the host's inodes have it."""

    maps = False

    def show(self, fd: int) -> bytes:
        """Return the packed attributes of an open file (not O_PATH)."""
        return host.stat_packed_at(fd, b"")

    def show_at(self, packed: bytes, dirfd: int, path: bytes) -> bytes:
        """Return packed attributes as guests see them; the file is at ``path``.  ESTALE: another one is."""
        return packed

    def list(self, fd: int, cookie: int, size: int) -> tuple[bytes, int, bool]:
        """List a directory (:func:`pysc.cabi.host.list_packed`)."""
        return host.list_packed(fd, cookie, size, attributes=True)

    def give(self, fd: int, uid: int, gid: int, mode: int) -> None:
        """Give a new file or directory, open and closed to others, to its owner."""
        own(fd, b"", uid, gid)
        os.fchmod(fd, mode)

    def give_name(self, dirfd: int, name: bytes, uid: int, gid: int) -> None:
        """Give a new link, FIFO or socket to its owner."""
        own(dirfd, name, uid, gid)

    def node_mode(self, mode: int) -> int:
        """Return the mode that a new FIFO or socket is made with."""
        return mode

    def change(self, place: Place, uid: int | None, gid: int | None, mode: int | None) -> None:
        """chown(2), then chmod(2); None leaves as it is."""
        _set_owner(place.fd, uid, gid)
        if mode is not None:
            _set_mode(place, mode)

    def change_open(
        self, fd: int, attributes: HostAttributes, uid: int | None, gid: int | None, mode: int | None
    ) -> None:
        """The same by descriptor, whose file the host says has these ``attributes``."""
        _set_owner(fd, uid, gid)
        if mode is not None:
            os.fchmod(fd, mode)

    def resize(self, fd: int, size: int) -> None:
        """ftruncate(2) that leaves setuid and setgid bits: whether they are cleared is for the sentry to say.

        The host clears them for everybody who has not CAP_FSETID in its first user namespace (fs/attr.c).
        """
        mode = stat.S_IMODE(host.stat_at(fd).mode)
        os.ftruncate(fd, size)
        if mode & (stat.S_ISUID | stat.S_ISGID) and stat.S_IMODE(host.stat_at(fd).mode) != mode:
            os.fchmod(fd, mode)


class MappedOwners(Owners):
    """Beside the inodes.  What others on the host own is theirs: it is shown, and refused, as without."""

    maps = True

    def show(self, fd: int) -> bytes:
        return host.show_owner(fd)

    def show_at(self, packed: bytes, dirfd: int, path: bytes) -> bytes:
        return host.show_owner_at(packed, dirfd, path)

    def list(self, fd: int, cookie: int, size: int) -> tuple[bytes, int, bool]:
        # Without attributes: to know whose a file is costs an open.
        return host.list_packed(fd, cookie, size, attributes=False)

    def give(self, fd: int, uid: int, gid: int, mode: int) -> None:
        _keep(fd, uid, gid, mode)

    def give_name(self, dirfd: int, name: bytes, uid: int, gid: int) -> None:
        """It stays the caller's."""

    def node_mode(self, mode: int) -> int:
        return mode & ~SPECIAL_BITS

    def change(self, place: Place, uid: int | None, gid: int | None, mode: int | None) -> None:
        if place.attributes.uid != CALLER:
            super().change(place, uid, gid, mode)
        elif place.kind in (stat.S_IFREG, stat.S_IFDIR):
            fd = place.reopen(os.O_RDONLY)
            try:
                _keep(fd, uid, gid, mode)
            finally:
                os.close(fd)
        elif mode is not None:
            _set_mode(place, self.node_mode(mode))

    def change_open(
        self, fd: int, attributes: HostAttributes, uid: int | None, gid: int | None, mode: int | None
    ) -> None:
        if attributes.uid == CALLER and stat.S_IFMT(attributes.mode) in (stat.S_IFREG, stat.S_IFDIR):
            _keep(fd, uid, gid, mode)
        else:
            super().change_open(fd, attributes, uid, gid, mode)

    def resize(self, fd: int, size: int) -> None:
        """ftruncate(2): what an inode of the host's has of setuid bits it may lose, and does not get back."""
        os.ftruncate(fd, size)


HOST: Final = Owners()
MAPPED: Final = MappedOwners()


def inode_mode(mode: int, *, is_directory: bool) -> int:
    """Return the mode that the host's inode gets for one that is kept beside it."""
    return mode & 0o755 | (0o700 if is_directory else 0o600)


def _keep(fd: int, uid: int | None, gid: int | None, mode: int | None) -> None:
    """Keep an owner and a mode with an open file of the caller's; None leaves as it is.

    The inode's mode first: once nobody else can write the attribute, what is there is ours.  EPERM: there is no place
    for one in this file system.
    """
    if uid is None and gid is None and mode is None:
        return
    inode, shown = host.stat_at(fd), HostAttributes.unpack_from(host.show_owner(fd))
    wanted = host.Owner(
        shown.uid if uid is None else uid,
        shown.gid if gid is None else gid,
        stat.S_IMODE(shown.mode) if mode is None else mode,
    )
    before, after = stat.S_IMODE(inode.mode), inode_mode(wanted.mode, is_directory=stat.S_ISDIR(inode.mode))
    if after != before:
        os.fchmod(fd, after)
    try:
        if wanted == host.Owner(inode.uid, inode.gid, after):
            _forget(fd)
        else:
            os.setxattr(fd, host.OWNER, wanted.text())
    except OSError as error:
        if after != before:
            os.fchmod(fd, before & ~(stat.S_ISUID | stat.S_ISGID))
        if error.errno == EOPNOTSUPP.errno:
            raise EPERM("no extended attributes") from None
        raise


def _forget(fd: int) -> None:
    try:
        os.removexattr(fd, host.OWNER)
    except OSError as error:
        if error.errno not in (ENODATA.errno, EOPNOTSUPP.errno):
            raise


def own(fd: int, name: bytes, uid: int, gid: int) -> None:
    """Give a file to its owner.  EPERM: an id that the host's user namespace does not map."""
    try:
        host.chown(fd, name, uid, gid)
    except OSError as error:
        if error.errno == EINVAL.errno:
            raise EPERM("an id that is not mapped") from None
        raise


def _set_owner(fd: int, uid: int | None, gid: int | None) -> None:
    if uid is not None or gid is not None:
        own(fd, b"", host.UNCHANGED if uid is None else uid, host.UNCHANGED if gid is None else gid)


def _set_mode(place: Place, mode: int) -> None:
    # fchmodat2 (Linux 6.6) takes an O_PATH descriptor; before it, what can be opened without effect is.
    if place.kind == stat.S_IFLNK:
        raise EOPNOTSUPP
    try:
        host.chmod(place.fd, b"", mode)
    except OSError as error:
        # EACCES: a filter that was compiled by a libseccomp without fchmodat2.
        if error.errno not in (ENOSYS.errno, EACCES.errno) or place.kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise
        fd = place.reopen(os.O_RDONLY)
        try:
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
