"""Flags of open(2), fcntl(2), the *at calls, rename(2), fallocate(2), lseek(2), openat2(2)."""

from __future__ import annotations

import struct
from typing import Final

FLOCK: Final = struct.Struct("<hh4xqqi4x")
"""struct flock: type, whence, start, len, pid."""
F_RDLCK: Final = 0
F_WRLCK: Final = 1
F_UNLCK: Final = 2

O_ACCMODE: Final = 0o3
O_RDONLY: Final = 0o0
O_WRONLY: Final = 0o1
O_RDWR: Final = 0o2
O_CREAT: Final = 0o100
O_EXCL: Final = 0o200
O_NOCTTY: Final = 0o400
O_TRUNC: Final = 0o1000
O_APPEND: Final = 0o2000
O_NONBLOCK: Final = 0o4000
O_DSYNC: Final = 0o10000
O_ASYNC: Final = 0o20000
O_DIRECT: Final = 0o40000
O_LARGEFILE: Final = 0o100000
O_DIRECTORY: Final = 0o200000
O_NOFOLLOW: Final = 0o400000
O_NOATIME: Final = 0o1000000
O_CLOEXEC: Final = 0o2000000
O_SYNC: Final = 0o4010000
O_PATH: Final = 0o10000000
O_TMPFILE: Final = 0o20200000
O_TMPFILE_BIT: Final = 0o20000000

OPEN_FLAGS: Final = (
    O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_ASYNC | O_DIRECT
    | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE
)  # fmt: skip
"""Everything that open(2) knows; it ignores the rest, and openat2(2) refuses it."""

SETFL_FLAGS: Final = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME
"""What F_SETFL can change."""

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_REMOVEDIR: Final = 0x200
AT_EACCESS: Final = 0x200
AT_SYMLINK_FOLLOW: Final = 0x400
AT_NO_AUTOMOUNT: Final = 0x800
AT_EMPTY_PATH: Final = 0x1000
AT_STATX_SYNC_TYPE: Final = 0x6000

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10
RESOLVE_CACHED: Final = 0x20
RESOLVE_FLAGS: Final = 0x3F

OPEN_HOW: Final = struct.Struct("<QQQ")
"""struct open_how: flags mode resolve."""

RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2
RENAME_WHITEOUT: Final = 4

FALLOC_FL_KEEP_SIZE: Final = 0x01
FALLOC_FL_PUNCH_HOLE: Final = 0x02
FALLOC_FL_COLLAPSE_RANGE: Final = 0x08
FALLOC_FL_ZERO_RANGE: Final = 0x10
FALLOC_FL_INSERT_RANGE: Final = 0x20
FALLOC_FL_UNSHARE_RANGE: Final = 0x40

SEEK_SET: Final = 0
SEEK_CUR: Final = 1
SEEK_END: Final = 2
SEEK_DATA: Final = 3
SEEK_HOLE: Final = 4

F_DUPFD: Final = 0
F_GETFD: Final = 1
F_SETFD: Final = 2
F_GETFL: Final = 3
F_SETFL: Final = 4
F_GETLK: Final = 5
F_SETLK: Final = 6
F_SETLKW: Final = 7
F_SETOWN: Final = 8
F_GETOWN: Final = 9
F_SETSIG: Final = 10
F_GETSIG: Final = 11
F_SETOWN_EX: Final = 15
F_GETOWN_EX: Final = 16
F_OFD_GETLK: Final = 36
F_OFD_SETLK: Final = 37
F_OFD_SETLKW: Final = 38
F_SETLEASE: Final = 1024
F_GETLEASE: Final = 1025
F_NOTIFY: Final = 1026
F_DUPFD_QUERY: Final = 1027
F_CREATED_QUERY: Final = 1028
F_DUPFD_CLOEXEC: Final = 1030
F_SETPIPE_SZ: Final = 1031
F_GETPIPE_SZ: Final = 1032
F_ADD_SEALS: Final = 1033
F_GET_SEALS: Final = 1034
FD_CLOEXEC: Final = 1

F_SEAL_SEAL: Final = 0x01
F_SEAL_SHRINK: Final = 0x02
F_SEAL_GROW: Final = 0x04
F_SEAL_WRITE: Final = 0x08
F_SEAL_FUTURE_WRITE: Final = 0x10
F_SEAL_EXEC: Final = 0x20
F_ALL_SEALS: Final = 0x3F

MFD_CLOEXEC: Final = 0x01
MFD_ALLOW_SEALING: Final = 0x02
MFD_HUGETLB: Final = 0x04
MFD_HUGE_MASK: Final = 0x3F << 26
MFD_NOEXEC_SEAL: Final = 0x08
MFD_EXEC: Final = 0x10
