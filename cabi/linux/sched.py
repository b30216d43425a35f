"""clone(2), wait(2), sched(7): flags and layouts."""

from __future__ import annotations

import struct
from typing import Final

CSIGNAL: Final = 0xFF
CLONE_VM: Final = 0x100
CLONE_FS: Final = 0x200
CLONE_FILES: Final = 0x400
CLONE_SIGHAND: Final = 0x800
CLONE_PIDFD: Final = 0x1000
CLONE_PTRACE: Final = 0x2000
CLONE_VFORK: Final = 0x4000
CLONE_PARENT: Final = 0x8000
CLONE_THREAD: Final = 0x1_0000
CLONE_NEWNS: Final = 0x2_0000
CLONE_SYSVSEM: Final = 0x4_0000
CLONE_SETTLS: Final = 0x8_0000
CLONE_PARENT_SETTID: Final = 0x10_0000
CLONE_CHILD_CLEARTID: Final = 0x20_0000
CLONE_DETACHED: Final = 0x40_0000
CLONE_UNTRACED: Final = 0x80_0000
CLONE_CHILD_SETTID: Final = 0x100_0000
CLONE_NEWCGROUP: Final = 0x200_0000
CLONE_NEWUTS: Final = 0x400_0000
CLONE_NEWIPC: Final = 0x800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000
CLONE_IO: Final = 0x8000_0000
CLONE_NEWTIME: Final = 0x80
CLONE_CLEAR_SIGHAND: Final = 0x1_0000_0000
CLONE_INTO_CGROUP: Final = 0x2_0000_0000
NEW_NAMESPACES: Final = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
)

CLONE_ARGS: Final = struct.Struct("<11Q")
"""flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup."""
CLONE_ARGS_SIZE_VER0: Final = 64

WNOHANG: Final = 1
WUNTRACED: Final = 2
WSTOPPED: Final = 2
WEXITED: Final = 4
WCONTINUED: Final = 8
WNOWAIT: Final = 0x0100_0000
WNOTHREAD: Final = 0x2000_0000
WALL: Final = 0x4000_0000
WCLONE: Final = 0x8000_0000

P_ALL: Final = 0
P_PID: Final = 1
P_PGID: Final = 2
P_PIDFD: Final = 3

SCHED_OTHER: Final = 0
SCHED_FIFO: Final = 1
SCHED_RR: Final = 2
SCHED_BATCH: Final = 3
SCHED_IDLE: Final = 5
SCHED_RESET_ON_FORK: Final = 0x4000_0000
