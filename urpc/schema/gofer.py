"""Sentry and gofer: the files of one container.  The gofer is the server and keeps no handles.

A file is named by mount, path below the mount's root, and the dev:ino that the sentry expects there: what it finds
instead is ESTALE.  The path's components are names (not empty, ``.`` or ``..``) with one slash between; no link is ever
followed.  Attributes are packed (:class:`pysc.cabi.linux.attributes.HostAttributes`).

Errors of all requests: ENOENT, ENOTDIR, EACCES, ELOOP (a link inside of a path), ESTALE, EINVAL (a malformed name, an
unknown mount), ENFILE, EIO; of all that mutates: EROFS on a read-only mount.  Permissions are the sentry's affair.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from pysc.cabi.linux.attributes import ATTRIBUTES_SIZE
from pysc.urpc.fds import FileFd, SocketFd
from pysc.urpc.message import I64, U32, U63, U64, Message, Request, Service

MountId = Annotated[int, Meta(ge=0, le=0xFFFF)]
MAX_PATH: Final = 32768
Path = Annotated[bytes, Meta(max_length=MAX_PATH)]
"""Below a mount's root; b"" is the root itself."""
Name = Annotated[bytes, Meta(min_length=1, max_length=255)]
Target = Annotated[bytes, Meta(min_length=1, max_length=4095)]
Mode = Annotated[int, Meta(ge=0, le=0o7777)]
Id = Annotated[int, Meta(ge=0, le=0xFFFF_FFFE)]
XattrName = Annotated[bytes, Meta(min_length=1, max_length=255)]
MAX_XATTR: Final = 61440
"""XATTR_SIZE_MAX and XATTR_LIST_MAX are 64 KiB; what does not fit a frame is E2BIG."""
MAX_XATTRS: Final = 4096
XattrValue = Annotated[bytes, Meta(max_length=MAX_XATTR)]
Packed = Annotated[bytes, Meta(min_length=ATTRIBUTES_SIZE, max_length=ATTRIBUTES_SIZE)]

PACKED_SIZE: Final = ATTRIBUTES_SIZE + 2
"""In a frame."""

MAX_NAMES: Final = 128
MAX_LISTING: Final = 61440


class File(Message):
    """Which file; with ``dev`` and ``ino`` both 0 whatever is there."""

    mount: MountId
    path: Path
    dev: U64 = 0
    ino: U64 = 0


# --- Reading ---------------------------------------------------------------------------------------------------


class Attached(Message):
    """A mount's root."""

    max_frame = PACKED_SIZE + MAX_PATH + 14

    root: Packed
    readonly: bool
    path: Path = b""
    """The root's path, which all others of this mount begin with; b"" but for the bind mount of a single file."""
    maps_owners: bool = False
    """Owners and modes are kept beside the host's inodes: only this peer knows them.

    Of links, FIFOs and sockets they are not kept: a change of owner is accepted, and they stay root's.
    """


class Attach(Request[Attached], tag=1):
    """Ask for a mount's root."""

    mount: MountId


class Walked(Message):
    """What was found along the way."""

    max_frame = MAX_NAMES * PACKED_SIZE + 4113

    attributes: Annotated[list[Packed], Meta(max_length=MAX_NAMES)]
    """Of each name in turn, as far as the walk came."""
    target: Annotated[bytes, Meta(max_length=4095)] = b""
    """If the last one found is a symbolic link: where it points."""
    errno: Annotated[int, Meta(ge=0, le=4095)] = 0
    """Why the walk ended early: ENOENT, ENOTDIR …; 0 if it did not, or ended at a link."""


class Walk(Request[Walked], tag=2):
    """Look names up, one below the other, from a directory on; stop at the first link."""

    directory: File
    names: Annotated[list[Name], Meta(min_length=1, max_length=MAX_NAMES)]

    def max_reply(self) -> int:
        """No more attributes than names."""
        return self.longest_reply - (MAX_NAMES - len(self.names)) * PACKED_SIZE


class Opened(Message):
    """An open file: a regular one, a directory or a FIFO."""

    max_frame = PACKED_SIZE + 10

    attributes: Packed
    file: FileFd


class Open(Request[Opened], tag=3):
    """Open what exists.

    ``flags`` are access mode, O_TRUNC, O_APPEND, O_DIRECTORY, O_DIRECT, O_SYNC, O_DSYNC, O_NOATIME; others are
    EINVAL.  EISDIR: writing to a directory.  EACCES: a device.  ENXIO: a socket.  ETXTBSY.
    """

    file: File
    flags: U32


class LinkTarget(Message):
    """Where a symbolic link points."""

    max_frame = 4107

    target: Target


class ReadLink(Request[LinkTarget], tag=4):
    """readlink(2).  EINVAL: it is no link."""

    file: File


class Listing(Message):
    """Part of a directory, in packed records (:func:`pysc.cabi.host.parse_listing_untrusted`)."""

    max_frame = MAX_LISTING + 22

    records: Annotated[bytes, Meta(max_length=MAX_LISTING)]
    cookie: U63
    """Where to go on."""
    end: bool


class ListDirectory(Request[Listing], tag=5):
    """List a directory from ``cookie`` on (0: the beginning); never ``.`` or ``..``.

    With attributes, but for mounts that map owners.
    """

    directory: File
    cookie: U63 = 0
    max_bytes: Annotated[int, Meta(ge=512, le=MAX_LISTING)] = MAX_LISTING

    def max_reply(self) -> int:
        """No more records than it asks for."""
        return self.longest_reply - (MAX_LISTING - self.max_bytes)


class FileSystem(Message):
    """statfs(2)."""

    max_frame = 99

    magic: U64
    bsize: U63
    blocks: U64
    bfree: U64
    bavail: U64
    files: U64
    ffree: U64
    namelen: U63
    frsize: U63
    flags: U63


class StatFs(Request[FileSystem], tag=6):
    """Ask about the file system that a file is on."""

    file: File


class Value(Message):
    """An extended attribute."""

    max_frame = MAX_XATTR + 12

    value: XattrValue


class GetXattr(Request[Value], tag=7):
    """getxattr(2).  E2BIG, ENODATA, EOPNOTSUPP (POSIX ACLs, trusted.*, unknown classes)."""

    file: File
    name: XattrName
    open: FileFd | None = None
    """Of this file of the mount's, whatever ``file`` leads to by now.  EPERM: not opened below the mount."""


class Names(Message):
    """Names of extended attributes."""

    names: Annotated[list[XattrName], Meta(max_length=MAX_XATTRS)]


class ListXattrs(Request[Names], tag=8):
    """listxattr(2), without those that :class:`GetXattr` refuses."""

    file: File
    open: FileFd | None = None


# --- Making and removing ---------------------------------------------------------------------------------------


class Made(Message):
    """Attributes of what was made or changed."""

    max_frame = PACKED_SIZE + 9

    attributes: Packed


class Create(Request[Opened], tag=16):
    """Make and open a regular file that did not exist: EEXIST else.  ``flags`` as for :class:`Open`."""

    directory: File
    name: Name
    flags: U32
    mode: Mode
    uid: Id
    gid: Id


class MakeDirectory(Request[Made], tag=17):
    """mkdir(2)."""

    directory: File
    name: Name
    mode: Mode
    uid: Id
    gid: Id


class MakeSymlink(Request[Made], tag=18):
    """symlink(2)."""

    directory: File
    name: Name
    target: Target
    uid: Id
    gid: Id


class MakeNode(Request[Made], tag=19):
    """mknod(2): FIFOs and sockets become host nodes that stand for the sentry's own; devices are EPERM, also 0:0."""

    directory: File
    name: Name
    kind: U32
    """S_IFIFO or S_IFSOCK."""
    mode: Mode
    uid: Id
    gid: Id


class Link(Request[Made], tag=20):
    """link(2); a symbolic link itself, not its target.  EXDEV: another mount.  EPERM: a directory.  EMLINK."""

    file: File
    directory: File
    name: Name


class Rename(Request[None], tag=21):
    """renameat2(2) with ``flags`` 0, RENAME_NOREPLACE or RENAME_EXCHANGE; ``dev``, ``ino`` of what is renamed."""

    old_directory: File
    old_name: Name
    new_directory: File
    new_name: Name
    flags: Annotated[int, Meta(ge=0, le=2)] = 0
    dev: U64 = 0
    ino: U64 = 0


class Unlink(Request[None], tag=22):
    """unlinkat(2); ``is_directory`` is AT_REMOVEDIR; ``dev`` and ``ino`` are of what is removed."""

    directory: File
    name: Name
    is_directory: bool = False
    dev: U64 = 0
    ino: U64 = 0


# --- Changing --------------------------------------------------------------------------------------------------

ATIME_NOW: Final = 1
MTIME_NOW: Final = 2


class Changes(Message):
    """What to change; None leaves as it is.  Done in the order size, owner, mode, times."""

    uid: Id | None = None
    gid: Id | None = None
    mode: Mode | None = None
    size: U63 | None = None
    atime: I64 | None = None
    """Nanoseconds since the epoch."""
    mtime: I64 | None = None
    now: Annotated[int, Meta(ge=0, le=3)] = 0
    """ATIME_NOW, MTIME_NOW: the host's present time instead."""


class SetAttributes(Request[Made], tag=32):
    """chown(2), chmod(2), truncate(2), utimensat(2) of a file or of a link itself."""

    file: File
    changes: Changes


class SetOpenAttributes(Request[Made], tag=33):
    """The same for an open file, perhaps unlinked: one that a gofer of this sandbox opened.  EPERM: any other."""

    mount: MountId
    file: FileFd
    changes: Changes


class SetXattr(Request[None], tag=34):
    """setxattr(2) with XATTR_CREATE (1) or XATTR_REPLACE (2).  EPERM: trusted.*.  EOPNOTSUPP: POSIX ACLs."""

    file: File
    name: XattrName
    value: XattrValue
    flags: Annotated[int, Meta(ge=0, le=2)] = 0
    open: FileFd | None = None
    """As with :class:`GetXattr`, but a gofer must have opened it: by others nothing can be changed (EROFS)."""


class RemoveXattr(Request[None], tag=35):
    """removexattr(2)."""

    file: File
    name: XattrName
    open: FileFd | None = None


class Allocate(Request[None], tag=36):
    """fallocate(2) of an open file that this gofer opened for writing."""

    mount: MountId
    file: FileFd
    mode: Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]
    offset: U63
    length: U63


class Sync(Request[None], tag=37):
    """fsync(2) or fdatasync(2) of an open file; its error is the answer."""

    mount: MountId
    file: FileFd
    data_only: bool = False


class Connected(Message):
    """A connected host socket."""

    max_frame = 10

    socket: SocketFd


class Connect(Request[Connected], tag=48):
    """Connect to a host's unix socket.  ECONNREFUSED unless the sandbox runs with host sockets."""

    file: File
    kind: Annotated[int, Meta(ge=1, le=5)]
    """SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET."""


GOFER: Final = Service(
    "gofer",
    (
        Attach, Walk, Open, ReadLink, ListDirectory, StatFs, GetXattr, ListXattrs,
        Create, MakeDirectory, MakeSymlink, MakeNode, Link, Rename, Unlink,
        SetAttributes, SetOpenAttributes, SetXattr, RemoveXattr, Allocate, Sync, Connect,
    ),
    request_fds=1,
    reply_fds=1,
)  # fmt: skip
