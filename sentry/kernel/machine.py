"""The machine that a sandbox is shown: its memory and processors, and what is charged to that memory."""

from __future__ import annotations

import os
from typing import Final

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.limits import PAGE
from pysc.sentry.fs.memory_file import Budget
from pysc.sentry.fs.shmem import Shmem

LEAST_FOR_KERNEL: Final = 64 << 20
"""Bytes that the kernel may always have for what guests ask for."""


class Machine:
    """Made before lock-down, by what the sandbox may use; 0 is all that the host has."""

    __slots__ = ("budget", "cpuinfo", "cpus", "memory", "one_owner", "shmem")

    def __init__(self, memory: int = 0, cpus: int = 0, *, one_owner: bool = False) -> None:
        host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self.memory = min(memory, host) if memory else host
        """Bytes."""
        self.cpus = cpus or os.cpu_count() or 1
        self.one_owner = one_owner
        """Whether files of the host are either the caller's, which is root inside, or of somebody unknown: 65534."""
        self.cpuinfo = _cpuinfo()
        """/proc/cpuinfo of the host; b"" if it has none."""
        self.budget = Budget((memory or host) // 2 // PAGE)
        """What all memory file systems are charged to: half of the machine's, or of what may be used."""
        lib.pysc_memory_limit(objects.OBJECTS, max(self.memory // 4, LEAST_FOR_KERNEL))
        self.shmem = Shmem(self.budget)
        """Where memfds live."""

    @property
    def shared(self) -> int:
        """Bytes in memory file systems."""
        return self.budget.used * PAGE


def _cpuinfo() -> bytes:
    try:
        with open("/proc/cpuinfo", "rb") as file:
            return file.read()
    except OSError:
        return b""
