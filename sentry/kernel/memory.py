"""What the kernel knows of an address space (struct mm_struct).  The maps themselves are the host's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pysc.sentry.ipc.shm import Attachments

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.platform.interface import Space


class Donated(msgspec.Struct, frozen=True):
    """A file that was mapped: what a host file in the host's maps is to the guest."""

    path: bytes
    """As the guest names it, for /proc/PID/maps."""
    device: int
    inode: int


IMAGE: Final = Donated(b"", 0, 0)
"""Memory that was saved: anonymous to the guest."""


class Memory:
    """One address space: shared by tasks with CLONE_VM, copied by fork, replaced by exec.

    Invariant: ``users`` tasks have it; ``exe`` holds a reference until the last leaves.
    """

    __slots__ = (
        "arg_end",
        "arg_start",
        "attached",
        "auxv",
        "brk_start",
        "donated",
        "dumpable",
        "ended",
        "env_end",
        "env_start",
        "exe",
        "scratch",
        "shares",
        "space",
        "stack_top",
        "users",
    )

    def __init__(self, space: Space, exe: FileDescription | None = None) -> None:
        self.space = space
        self.exe = exe
        """The program (/proc/PID/exe); a reference."""
        if exe is not None:
            exe.get()
        self.brk_start = 0
        self.arg_start = 0
        """Where argv's strings lie (/proc/PID/cmdline); ``env_*`` envp's."""
        self.arg_end = 0
        self.env_start = 0
        self.env_end = 0
        self.auxv = b""
        self.stack_top = 0
        self.scratch = 0
        """A page of the kernel's own in the guest, for the deadlines of native waits; 0: none yet."""
        self.shares = False
        """Something that other spaces may see has been mapped to be written: robust futexes may lie there."""
        self.ended = False
        """The space was killed, or has ended by itself."""
        self.dumpable = True
        self.attached = Attachments(space)
        """Segments of shared memory, and where."""
        self.donated: dict[tuple[int, int], Donated] = {}
        """By (st_dev, st_ino) of the host: the files that maps name."""
        self.users = 1

    def copy(self, space: Space, pid: int) -> Memory:
        """Return what a fork by the process ``pid`` knows of ``space``, its copy of this one."""
        other = Memory(space, self.exe)
        for name in (
            "brk_start", "arg_start", "arg_end", "env_start", "env_end", "auxv", "stack_top",
            "scratch", "shares", "dumpable",
        ):  # fmt: skip
            setattr(other, name, getattr(self, name))
        other.donated = dict(self.donated)
        other.attached = self.attached.copy(space, pid)
        return other

    def leave(self, pid: int) -> bool:
        """One user less, of the process ``pid``; true when it was the last."""
        self.users -= 1
        if self.users:
            return False
        if self.exe is not None:
            self.exe.put()
            self.exe = None
        self.attached.clear(pid)
        return True
