"""What a gofer may still ask of the host kernel once it serves.

All that names a file is relative to a directory descriptor, and the process's own root is empty: openat2 can reach what
the served trees hold and nothing else.  It never executes, connects, maps files or makes devices.
"""

from __future__ import annotations

import stat
from typing import Final

from pysc.cabi import filters
from pysc.cabi.filters import EQ, MASKED_EQ, Arg
from pysc.cabi.linux.fcntl import F_DUPFD_CLOEXEC

ALLOWED: Final = (
    # Finding, looking, listing
    "openat2", "statx", "newfstatat", "readlinkat", "getdents64", "fstatfs", "dup",
    # Making and removing
    "mkdirat", "symlinkat", "linkat", "unlinkat", "renameat2",
    # Changing
    "fchown", "fchownat", "fchmod", "fchmodat2", "utimensat", "ftruncate", "fallocate", "fsync", "fdatasync",
    "fgetxattr", "fsetxattr", "flistxattr", "fremovexattr",
    # Talking
    "recvmsg", "sendmsg", "sendto", "shutdown",
)  # fmt: skip


RULES: Final[tuple[filters.Rule, ...]] = (
    ("mknodat", (Arg(2, MASKED_EQ, stat.S_IFMT(0o777777), stat.S_IFIFO),)),
    ("mknodat", (Arg(2, MASKED_EQ, stat.S_IFMT(0o777777), stat.S_IFSOCK),)),
    ("fcntl", (Arg(1, EQ, F_DUPFD_CLOEXEC),)),  # os.dup
)

_PROGRAM: Final = filters.load("gofer", ALLOWED, RULES)


def lock_down() -> None:
    """Install the filter; there is no way back."""
    filters.install(_PROGRAM)
