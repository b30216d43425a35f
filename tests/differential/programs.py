"""Programs for the guest ``machine.c``: written by hypothesis, encoded, read again when they disagree."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hypothesis import strategies as st

END = struct.pack("<4BI", 255, 0, 0, 0, 0)

READING = {
    0: "read",
    1: "pread",
    2: "readv",
    3: "preadv",
    4: "recv",
    5: "preadv2",
    6: "read over the edge",
    7: "write over the edge",
}
WRITING = {
    8: "write", 9: "pwrite", 10: "writev", 11: "pwritev", 12: "write of a count", 13: "send", 14: "pwritev2",
}  # fmt: skip
MAKING = {
    16: "open", 18: "pipe2", 19: "eventfd", 20: "socketpair", 21: "epoll_create1",
    22: "dup", 23: "dup2", 24: "fcntl F_DUPFD", 25: "openat", 26: "close", 27: "dup3", 28: "close_range",
    29: "memfd_create", 30: "seals",
}  # fmt: skip
LOOKING = {
    32: "lseek", 33: "fstat", 34: "F_GETFD", 35: "F_GETFL", 36: "F_SETFD", 37: "F_SETFL", 38: "poll", 39: "FIONREAD",
    40: "fcntl lock", 41: "flock", 42: "ftruncate", 43: "poll of several", 44: "ppoll", 45: "select", 46: "pselect",
}  # fmt: skip
NAMING = {
    48: "mkdir", 49: "rmdir", 50: "unlink", 51: "rename", 52: "link", 53: "symlink", 54: "readlink", 55: "stat",
    56: "access", 57: "truncate", 58: "chmod", 59: "list", 60: "fstatat", 61: "statx",
}  # fmt: skip
MOVING = {
    64: "sendfile", 65: "splice", 66: "copy_file_range", 67: "tee", 68: "epoll_ctl", 69: "epoll_wait",
    70: "shutdown", 71: "pipe size", 72: "fsync", 73: "fallocate", 74: "F_GETLK", 75: "epoll_wait of few or many",
    76: "FIOCLEX and its like", 77: "getsockopt", 78: "sendmsg of descriptors", 79: "recvmsg",
}  # fmt: skip
PLACING = {
    80: "chdir", 81: "fchdir", 82: "chdir up", 83: "list in pieces", 84: "fork", 85: "setfsuid", 86: "faccessat2",
    87: "readlinkat", 88: "fchownat", 89: "fchmod", 90: "unlinkat", 91: "mkdirat", 92: "symlinkat",
    93: "linkat", 94: "renameat2", 95: "utimensat", 96: "getcwd", 97: "mmap",
}  # fmt: skip
NAMES = {**READING, **WRITING, **MAKING, **LOOKING, **NAMING, **MOVING, **PLACING}


@dataclass(frozen=True)
class Instruction:
    """One call; ``a``, ``b`` and ``c`` mean what the opcode says."""

    opcode: int
    a: int
    b: int
    c: int
    number: int

    def encode(self) -> bytes:
        """Return the eight bytes that the guest reads."""
        return struct.pack("<4BI", self.opcode, self.a, self.b, self.c, self.number)

    def __str__(self) -> str:
        return f"{NAMES[self.opcode]} a={self.a} b={self.b} c={self.c} number={self.number}"


Program = tuple[Instruction, ...]

# Few descriptors and names, so that instructions meet: most programs open less than six.
operands = st.one_of(st.integers(0, 5), st.integers(0, 5), st.integers(0, 24), st.integers(0, 255))
numbers = st.one_of(st.integers(0, 63), st.integers(0, 300000), st.integers(0, 2**32 - 1))


def instructions(opcodes: dict[int, str]) -> st.SearchStrategy[Instruction]:
    """Write an instruction of one kind."""
    return st.builds(Instruction, st.sampled_from(sorted(opcodes)), operands, operands, operands, numbers)


makers = instructions({code: name for code, name in MAKING.items() if code <= 20})
anything = st.one_of(*(instructions(kind) for kind in (READING, WRITING, MAKING, LOOKING, NAMING, MOVING, PLACING)))
programs: st.SearchStrategy[Program] = st.builds(
    lambda first, rest: (*first, *rest),
    st.lists(makers, min_size=1, max_size=5),
    st.lists(anything, min_size=1, max_size=25),
)


def encode(batch: list[Program]) -> bytes:
    """Return the standard input of the guest for a batch of programs."""
    return b"".join(b"".join(step.encode() for step in program) + END for program in batch)


def split(output: str) -> list[str]:
    """Return what each program printed, its line numbers taken off."""
    sections = output.split("----\n")[:-1]
    return ["\n".join(strip(line) for line in section.splitlines()) for section in sections]


def strip(line: str) -> str:
    """Take the running number off: it counts through all programs of a batch."""
    return line if line.startswith("size ") else line.partition(" ")[2]


def without_each(program: Program) -> list[Program]:
    """Return the programs that are one instruction shorter."""
    return [program[:at] + program[at + 1 :] for at in range(len(program)) if len(program) > 1]
