"""The sentry's filter: no socket, no program, nothing opened for writing, no privilege; and why each call is there.

Called once, after the platform has started what needs execve(2) and before anything of the container is looked at.
Identity, capabilities and the empty root are the supervisor's work and done by then.
"""

from __future__ import annotations

import os
from typing import Final

from pysc.cabi import confine, filters
from pysc.cabi.filters import EQ, MASKED_EQ, Arg
from pysc.cabi.linux.prctl import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS
from pysc.cabi.linux.resource import RLIMIT_AS
from pysc.cabi.linux.socket import AF_UNIX, SOL_SOCKET

AT_FDCWD: Final = 0xFFFF_FF9C
NEGATIVE: Final = 0x8000_0000
"""The sign bit of a 32-bit descriptor: the filter sees the whole register."""

_READ_ONLY: Final = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | 0o20000000 | os.O_NOFOLLOW | os.O_PATH
"""Bits of openat's flags that are looked at; 0o20000000 is __O_TMPFILE."""

OWN_DESCRIPTORS: Final = 0x7FFF_FFF0
"""Stands for a descriptor in the compiled filter; no process has one of this number."""

CLONE_THREAD_FLAGS: Final = 0x10900  # CLONE_THREAD | CLONE_SIGHAND | CLONE_VM

ALLOWED: Final = (
    # The loop: epoll, timers, waiting for guests.
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "signalfd4", "pselect6", "select", "wait4", "waitid", "pidfd_open",
    "pidfd_send_signal", "sched_setaffinity", "sched_getaffinity", "getcpu", "membarrier", "rt_sigtimedwait",
    "clock_getres", "times", "getrusage", "sched_setscheduler", "sched_getscheduler", "setpriority", "getpriority",
    # Guests: end them, look at their memory.  They share the sentry's pid namespace and nobody else is in it.
    "kill", "tgkill", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp",
    # Files that it was given: any I/O, but no name.
    "pread64", "pwrite64", "preadv", "preadv2", "pwritev", "pwritev2", "sendfile", "copy_file_range", "splice",
    "ftruncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "fadvise64", "readahead", "flock",
    "fstatfs", "fchmod", "dup", "dup2", "dup3", "close_range", "memfd_create", "pipe2",
    "getdents64", "fgetxattr", "flistxattr", "msync", "mincore",
    # Sockets that exist: uRPC, and the channels of guests.
    "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg", "shutdown", "getpeername", "getsockname",
)  # fmt: skip

_NOT_NEGATIVE = Arg(0, MASKED_EQ, NEGATIVE, 0)

_FCNTL: Final = (
    0, 1030,  # F_DUPFD, F_DUPFD_CLOEXEC
    1, 2, 3, 4,  # F_GETFD, F_SETFD, F_GETFL, F_SETFL
    36, 37, 38,  # F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW: locks on shared mounts
    1031, 1032, 1033, 1034,  # F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS
)  # fmt: skip

_IOCTL: Final = (
    0x5401, 0x5402, 0x5403, 0x5404,  # TCGETS, TCSETS, TCSETSW, TCSETSF
    0x5405, 0x5406, 0x540B,  # TCGETA, TCSETA, TCFLSH
    0x5413, 0x5414,  # TIOCGWINSZ, TIOCSWINSZ
    0x541B, 0x5411,  # FIONREAD, TIOCOUTQ
    0x5421,  # FIONBIO: Python's setblocking()
    0xC050_2100, 0xC018_2101, 0x4008_2102, 0x4018_2103, 0x4008_2104,  # SECCOMP_IOCTL_NOTIF_*
)  # fmt: skip

RULES: Final[tuple[filters.Rule, ...]] = (
    # Below a donated read-only tree, or in its own procfs: for reading, no link followed, never from "here".
    ("openat", (_NOT_NEGATIVE, Arg(2, MASKED_EQ, _READ_ONLY, os.O_NOFOLLOW))),
    ("openat", (_NOT_NEGATIVE, Arg(2, MASKED_EQ, _READ_ONLY, os.O_NOFOLLOW | os.O_PATH))),
    # Below /proc/self/fd of its own alone links are followed: lock_down() puts in which descriptor that is.
    ("openat", (Arg(0, EQ, OWN_DESCRIPTORS), Arg(2, MASKED_EQ, _READ_ONLY, 0))),
    ("newfstatat", (_NOT_NEGATIVE,)),
    ("statx", (_NOT_NEGATIVE,)),
    ("readlinkat", (_NOT_NEGATIVE,)),
    *(("fcntl", (Arg(1, EQ, command),)) for command in _FCNTL),
    *(("ioctl", (Arg(1, EQ, request),)) for request in _IOCTL),
    ("socketpair", (Arg(0, EQ, AF_UNIX),)),
    *(("setsockopt", (Arg(1, EQ, SOL_SOCKET), Arg(2, EQ, option))) for option in (7, 8, 16, 17, 20, 21)),
    *(("getsockopt", (Arg(1, EQ, SOL_SOCKET), Arg(2, EQ, option))) for option in (3, 4, 7, 8, 17)),
    # A thread of its own, as glibc makes one; never a process.
    ("clone", (Arg(0, MASKED_EQ, CLONE_THREAD_FLAGS, CLONE_THREAD_FLAGS),)),
    ("prctl", (Arg(0, EQ, 15),)),  # PR_SET_NAME
    ("prctl", (Arg(0, EQ, 29),)),  # PR_SET_TIMERSLACK
    ("prlimit64", (Arg(0, EQ, 0), Arg(2, EQ, 0))),  # ask for its own limits
    ("prlimit64", (Arg(1, EQ, RLIMIT_AS),)),  # of its guests
)


_PROGRAM: Final = filters.load("sentry", ALLOWED, RULES)


def lock_down(descriptors: int = -1) -> None:
    """Install the filter; there is no way back.  Capabilities must be gone already.

    ``descriptors`` is the directory /proc/self/fd, if it is needed: below it alone links are followed, so that a file
    in memory can be opened a second time, for reading only, and be mapped by who may not write to it.
    """
    confine.prctl(PR_SET_DUMPABLE, 0)  # no other process of this id may look into its memory
    confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
    filters.install(filters.with_value(_PROGRAM, OWN_DESCRIPTORS, descriptors) if descriptors >= 0 else _PROGRAM)
