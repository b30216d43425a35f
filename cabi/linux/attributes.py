"""The attributes of a host file as they are packed by cabi/shim (``struct pysc_attributes``) and travel in uRPC.

One layout serves statx of a single file, the records of a listing, and the gofer's answers.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

_LAYOUT: Final = struct.Struct("<5Q4q6IQ")
ATTRIBUTES_SIZE: Final = _LAYOUT.size


class HostAttributes(msgspec.Struct, frozen=True, gc=False):
    """What statx(2) says of a file; times are nanoseconds since the epoch, clamped to 64 bits."""

    dev: int
    """As makedev(3) packs it; with ``ino`` it identifies the file on the host."""
    ino: int
    rdev: int
    size: int
    blocks: int
    atime: int
    mtime: int
    ctime: int
    btime: int
    """0 where the file system has none."""
    mode: int
    nlink: int
    uid: int
    gid: int
    blksize: int
    flags: int
    """The low half of stx_attributes (STATX_ATTR_IMMUTABLE …)."""
    mnt_id: int
    """The host's mount: tells a submount; never shown to guests."""

    @classmethod
    def unpack_from(cls, buffer: bytes | bytearray | memoryview, offset: int = 0) -> HostAttributes:
        """Read one packed record."""
        return cls(*_LAYOUT.unpack_from(buffer, offset))

    def pack(self) -> bytes:
        """Return the packed record."""
        return _LAYOUT.pack(*msgspec.structs.astuple(self))
