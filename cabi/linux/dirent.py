"""Directory records of getdents(2) and getdents64(2)."""

from __future__ import annotations

import struct
from typing import Final

DIRENT64: Final = struct.Struct("<QqHB")
"""struct linux_dirent64 up to its name: ino off reclen type."""

DIRENT: Final = struct.Struct("<QQH")
"""struct linux_dirent up to its name: ino off reclen; the type is the record's last byte."""


def record64(ino: int, offset: int, kind: int, name: bytes) -> bytes:
    """Return one linux_dirent64; ``kind`` is a DT_* (the type bits of a mode, shifted by 12)."""
    length = (19 + len(name) + 8) & ~7
    return DIRENT64.pack(ino, offset, length, kind) + name.ljust(length - 19, b"\0")


def to_legacy(records: bytes) -> bytes:
    """Turn linux_dirent64 records into linux_dirent ones, which are as long or up to 8 bytes longer."""
    out = []
    position = 0
    while position < len(records):
        ino, offset, length, kind = DIRENT64.unpack_from(records, position)
        name = records[position + 19 : position + length].partition(b"\0")[0]
        size = (18 + len(name) + 2 + 7) & ~7
        out.append(DIRENT.pack(ino, offset, size) + name.ljust(size - 19, b"\0") + bytes([kind]))
        position += length
    return b"".join(out)
