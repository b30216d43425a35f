"""Files of the host, below a directory descriptor: thin typed faces over ``cabi/shim/host.c``.

Everything raises OSError (``error.errno``), knows nothing of guests, and may be called on any thread.  Paths are bytes
and relative: names with one slash between, b"" for the directory itself; anything else is EINVAL.
"""

from __future__ import annotations

import os
import struct
from enum import IntEnum
from typing import Final

import msgspec

from pysc.cabi._shim import ffi, lib
from pysc.cabi.linux.attributes import ATTRIBUTES_SIZE, HostAttributes

RWF_NOWAIT: Final = 0x8
MAX_WALK: Final = 128

_ENTRY: Final = struct.Struct("<QQHBBB3x")


def _check(result: int, name: bytes | None = None) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), name)
    return int(result)


# --- Looking ---------------------------------------------------------------------------------------------------


def stat_packed_at(dirfd: int, path: bytes) -> bytes:
    """statx(2) of ``path``, links not followed, packed as :class:`HostAttributes`."""
    attributes = ffi.new("struct pysc_attributes *")
    _check(lib.pysc_statx(dirfd, path, len(path), attributes), path)
    return bytes(ffi.buffer(attributes))


def stat_at(dirfd: int, path: bytes = b"") -> HostAttributes:
    """statx(2) of ``path``, links not followed; of the open file itself if that is empty."""
    attributes = ffi.new("struct pysc_attributes *")
    _check(lib.pysc_statx(dirfd, path, len(path), attributes), path)
    return HostAttributes.unpack_from(ffi.buffer(attributes))


def identity(fd: int) -> tuple[int, int]:
    """Return device and inode number of an open file; no server of it is asked."""
    return identity_and_kind(fd)[:2]


def identity_and_kind(fd: int) -> tuple[int, int, int]:
    """As :func:`identity`, and S_IF* of its mode."""
    out = ffi.new("uint64_t[3]")
    _check(lib.pysc_identity(fd, out))
    return out[0], out[1], out[2]


def walk_packed_at(dirfd: int, path: bytes, skip: int = 0) -> tuple[list[bytes], int]:
    """Return the packed attributes of each component after the first ``skip`` bytes, and the errno that ended it or 0.

    The walk ends, without an error, after a link.  More than 128 components are ENAMETOOLONG after that many.
    """
    count = min(path.count(b"/", skip) + 1, MAX_WALK)
    attributes = ffi.new("struct pysc_attributes[]", count)
    error = ffi.new("int32_t *")
    found = lib.pysc_walk(dirfd, path, len(path), skip, attributes, count, error)
    packed = bytes(ffi.buffer(attributes, found * ATTRIBUTES_SIZE))
    return [packed[at : at + ATTRIBUTES_SIZE] for at in range(0, len(packed), ATTRIBUTES_SIZE)], error[0]


def walk_at(dirfd: int, path: bytes, skip: int = 0) -> tuple[list[HostAttributes], int]:
    """As :func:`walk_packed_at`, unpacked: ``walk_at(tree, b"usr/lib/x", 4)`` looks at usr/lib and usr/lib/x."""
    packed, error = walk_packed_at(dirfd, path, skip)
    return [HostAttributes.unpack_from(record) for record in packed], error


def open_read_at(dirfd: int, path: bytes, flags: int = 0) -> int:
    """openat(2) for reading, O_NOFOLLOW and O_CLOEXEC added; the caller owns the descriptor.

    Pass O_NONBLOCK, and open only what statx says is a regular file or a directory.
    """
    return _check(lib.pysc_open_read(dirfd, path, len(path), flags), path)


def open_beneath(dirfd: int, path: bytes, flags: int, mode: int = 0) -> int:
    """openat2(2) that follows no link anywhere and never leaves ``dirfd`` (O_CLOEXEC added).  ELOOP, EXDEV."""
    return _check(lib.pysc_open_beneath(dirfd, path, len(path), flags, mode), path)


def read_link_at(dirfd: int, path: bytes) -> bytes:
    """readlinkat(2); of an O_PATH descriptor of a link itself if ``path`` is empty."""
    target = ffi.new("char[]", 4096)
    return bytes(ffi.buffer(target, _check(lib.pysc_readlink(dirfd, path, len(path), target, 4096), path)))


class FileType(IntEnum):
    """DT_* of readdir(3)."""

    UNKNOWN = 0
    FIFO = 1
    CHARACTER = 2
    DIRECTORY = 4
    BLOCK = 6
    REGULAR = 8
    LINK = 10
    SOCKET = 12


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of a directory."""

    name: bytes
    ino: int
    type: int
    """A :class:`FileType`; UNKNOWN if the file system does not tell."""
    cookie: int
    """Where to go on after this entry."""
    attributes: HostAttributes | None


def list_packed(fd: int, cookie: int, size: int, *, attributes: bool) -> tuple[bytes, int, bool]:
    """List an open directory from ``cookie`` on: packed records of at most ``size`` bytes, next cookie, whether all.

    Neither ``.`` nor ``..``; the descriptor's offset moves.  EINVAL: not even one record fits.
    """
    out = ffi.new("unsigned char[]", size)
    cookie_next = ffi.new("uint64_t *")
    end = ffi.new("int32_t *")
    used = _check(lib.pysc_list(fd, cookie, attributes, out, size, cookie_next, end))
    return bytes(ffi.buffer(out, used)), cookie_next[0], bool(end[0])


def list_directory(
    fd: int, cookie: int = 0, size: int = 32768, *, attributes: bool = False
) -> tuple[list[Entry], int, bool]:
    """As :func:`list_packed`, unpacked."""
    records, cookie, end = list_packed(fd, cookie, size, attributes=attributes)
    return parse_listing_untrusted(records), cookie, end


def parse_listing_untrusted(records: bytes) -> list[Entry]:
    """Unpack records that a peer has sent.

    Raises:
        OSError: EBADMSG: they are malformed, or hold a name that no directory can.
    """
    entries = []
    at = 0
    for _ in range(_check(lib.pysc_check_listing(records, len(records)))):
        ino, cookie, size, kind, name_length, has_attributes = _ENTRY.unpack_from(records, at)
        name_at = at + _ENTRY.size
        attributes = None
        if has_attributes:
            attributes = HostAttributes.unpack_from(records, name_at)
            name_at += ATTRIBUTES_SIZE
        entries.append(Entry(records[name_at : name_at + name_length], ino, kind, cookie, attributes))
        at += size
    return entries


def statfs(fd: int) -> tuple[int, int, int, int, int, int, int, int, int, int]:
    """fstatfs(2): type, bsize, blocks, bfree, bavail, files, ffree, namelen, frsize, flags."""
    out = ffi.new("uint64_t[10]")
    _check(lib.pysc_statfs(fd, out))
    return tuple(out)


# --- Owners ----------------------------------------------------------------------------------------------------

OWNER: Final = b"user.pysc.owner"
"""The extended attribute in which a caller without root keeps owner and mode of a file (cabi/shim/owner.cdef.h)."""


class Owner(msgspec.Struct, frozen=True, gc=False):
    """What it says; the mode is without the type."""

    uid: int
    gid: int
    mode: int

    def text(self) -> bytes:
        """Return the attribute's value."""
        return b"%d:%d:%04o" % (self.uid, self.gid, self.mode)


def parse_owner_untrusted(text: bytes) -> Owner | None:
    """Parse the value of :data:`OWNER`, as the functions below do; None: it is malformed."""
    owner = ffi.new("struct pysc_owner *")
    if lib.pysc_parse_owner(text, len(text), owner) < 0:
        return None
    return Owner(owner.uid, owner.gid, owner.mode)


def show_owner(fd: int) -> bytes:
    """Return the packed attributes of an open file, not O_PATH, with the owner and mode that are kept with it."""
    attributes = ffi.new("struct pysc_attributes *")
    _check(lib.pysc_statx(fd, b"", 0, attributes))
    _check(lib.pysc_show_owner(fd, attributes))
    return bytes(ffi.buffer(attributes))


def show_owner_at(packed: bytes, dirfd: int, path: bytes) -> bytes:
    """Return packed attributes with the owner and mode that are kept with their file, which is found at ``path``.

    ESTALE: another one is.
    """
    attributes = ffi.new("struct pysc_attributes *")
    ffi.memmove(attributes, packed, ATTRIBUTES_SIZE)
    _check(lib.pysc_show_owner_at(dirfd, path, len(path), attributes), path)
    return bytes(ffi.buffer(attributes))


# --- Data ------------------------------------------------------------------------------------------------------


def pread(fd: int, size: int, offset: int, flags: int = 0) -> bytes:
    """preadv2(2) of up to ``size`` bytes; offset -1 is the descriptor's own.  EAGAIN with RWF_NOWAIT."""
    buffer = ffi.new("unsigned char[]", size)
    return bytes(ffi.buffer(buffer, _check(lib.pysc_pread(fd, buffer, size, offset, flags))))


def pwrite(fd: int, data: bytes | bytearray | memoryview, offset: int, flags: int = 0) -> int:
    """pwritev2(2); offset -1 is the descriptor's own.  EAGAIN with RWF_NOWAIT."""
    return _check(lib.pysc_pwrite(fd, ffi.from_buffer(data), len(data), offset, flags))


def allocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    _check(lib.pysc_allocate(fd, mode, offset, length))


# --- Changing --------------------------------------------------------------------------------------------------

UNCHANGED: Final = 0xFFFF_FFFF
"""As a uid or gid: leave it."""
OMIT: Final = 0
SET: Final = 1
NOW: Final = 2


def chown(fd: int, name: bytes, uid: int, gid: int) -> None:
    """fchownat(2) of a name, not followed, or of the descriptor itself (also O_PATH) if that is empty."""
    _check(lib.pysc_chown(fd, name, uid, gid), name)


def chmod(fd: int, name: bytes, mode: int) -> None:
    """fchmodat2(2), as :func:`chown`.  ENOSYS before Linux 6.6; EOPNOTSUPP for links."""
    _check(lib.pysc_chmod(fd, name, mode), name)


def utimens(fd: int, name: bytes, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    """utimensat(2), as :func:`chown`.  Each time is (OMIT, 0), (SET, nanoseconds) or (NOW, 0)."""
    _check(lib.pysc_utimens(fd, name, atime[1], atime[0], mtime[1], mtime[0]), name)


def rename(old_dirfd: int, old_name: bytes, new_dirfd: int, new_name: bytes, flags: int = 0) -> None:
    """renameat2(2)."""
    _check(lib.pysc_rename(old_dirfd, old_name, new_dirfd, new_name, flags), old_name)
