"""File modes, struct stat, struct statx, struct statfs (stat(2), statx(2), statfs(2), inode(7))."""

from __future__ import annotations

import struct
from typing import Final

S_IFMT: Final = 0o170000
S_IFSOCK: Final = 0o140000
S_IFLNK: Final = 0o120000
S_IFREG: Final = 0o100000
S_IFBLK: Final = 0o060000
S_IFDIR: Final = 0o040000
S_IFCHR: Final = 0o020000
S_IFIFO: Final = 0o010000
S_ISUID: Final = 0o4000
S_ISGID: Final = 0o2000
S_ISVTX: Final = 0o1000
S_IXGRP: Final = 0o010
PERMISSIONS: Final = 0o7777
"""What chmod(2) can change."""

STAT: Final = struct.Struct("<QQQIII4xQqqqqqqqqq24x")
"""struct stat of x86-64: dev ino nlink mode uid gid rdev size blksize blocks, then atime mtime ctime as (s, ns)."""

STATX: Final = struct.Struct("<IIQIIIHxxQQQQqI4xqI4xqI4xqI4xIIIIQ104x")
"""struct statx: mask blksize attributes nlink uid gid mode ino size blocks attributes_mask, times, devices, mount."""

STATFS: Final = struct.Struct("<qqQQQQQiiqqq32x")
"""struct statfs: type bsize blocks bfree bavail files ffree fsid[2] namelen frsize flags."""

STATX_BASIC_STATS: Final = 0x7FF
STATX_BTIME: Final = 0x800
STATX_MNT_ID: Final = 0x1000
STATX__RESERVED: Final = 0x8000_0000
STATX_ATTR_MOUNT_ROOT: Final = 0x2000

UTIME_NOW: Final = 0x3FFF_FFFF
UTIME_OMIT: Final = 0x3FFF_FFFE

R_OK: Final = 4
W_OK: Final = 2
X_OK: Final = 1

XATTR_CREATE: Final = 1
XATTR_REPLACE: Final = 2
XATTR_NAME_MAX: Final = 255
XATTR_SIZE_MAX: Final = 65536
XATTR_LIST_MAX: Final = 65536


def makedev(major: int, minor: int) -> int:
    """Return a device number as user space sees it (makedev(3))."""
    return (major & 0xFFF) << 8 | (minor & 0xFF) | (minor & ~0xFF) << 12 | (major & ~0xFFF) << 32


def major(device: int) -> int:
    """Return the major number (makedev(3))."""
    return (device >> 8) & 0xFFF | (device >> 32) & ~0xFFF


def minor(device: int) -> int:
    """Return the minor number (makedev(3))."""
    return device & 0xFF | (device >> 12) & 0xFFFF_FF00
