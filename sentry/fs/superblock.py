"""File systems of the host's, as the sentry calls them: whether the loop may, the face of a struct pysc_super.

Those that are served over a network, or by a process, the loop never calls: workers do.  Of the others the watchdog
(cabi/dispatch/watchdog.c) finds out when a call takes long, and workers make those of the next seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.sentry.kernel.workers import Lane

P = ParamSpec("P")
R = TypeVar("R")

NAMES: Final = lib.PYSC_SUPER_NAMES
"""Looking, opening, listing and closing."""
DATA: Final = lib.PYSC_SUPER_DATA

REMOTE: Final = frozenset(
    {
        0x65735546,  # FUSE, virtiofs
        0x6969,  # NFS
        0x01021997,  # 9p
        0xFF534D42, 0xFE534D42, 0x517B,  # CIFS, SMB2, SMB
        0x00C36400,  # Ceph
        0x5346414F, 0x6B414653,  # AFS
        0x0BD00BD0,  # Lustre
        0x47504653,  # GPFS
        0x19830326,  # BeeGFS
        0x20030528,  # OrangeFS
        0xAAD7AAEA,  # PanFS
        0x7461636F, 0x01161970,  # OCFS2, GFS2
        0x73757245, 0x564C,  # Coda, NCP
        0x786F4256, 0xBACBACBC,  # shared folders of VirtualBox and VMware
        0x0187,  # autofs
    }
)  # fmt: skip
"""Magic numbers (statfs(2)) of file systems that wait for somebody else."""


class Superblock:
    """One mount of ours and one device of the host's."""

    __slots__ = ("_pulse", "c", "index", "lane", "number")

    def __init__(self, magic: int = 0) -> None:
        """ENFILE."""
        self.index = objects.new(objects.SUPER)
        self.number = self.index + 1
        """As other structures name it."""
        self.c: Any = lib.pysc_super_at(objects.OBJECTS, self.index)
        self.lane = Lane()
        self._pulse: Any = lib.pysc_objects_pulse(objects.OBJECTS)
        self.found(magic)

    def __del__(self, free: Callable[[int], None] = objects.free_super) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    def found(self, magic: int) -> None:
        """It is of the kind that statfs(2) says."""
        self.c.remote = magic in REMOTE

    @property
    def remote(self) -> bool:
        """Whether the loop must make no call that may wait, however quick they have been."""
        return bool(self.c.remote)

    def is_slow(self, what: int) -> bool:
        """Whether workers shall make calls of that kind (NAMES, DATA) now."""
        return bool(lib.pysc_super_is_slow(objects.OBJECTS, self.number, what))

    def inline(self, what: int, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make a host call here and now, seen by the watchdog."""
        self._pulse.at = self.number << 1 | what
        try:
            return call(*args, **kwargs)
        finally:
            self._pulse.at = 0
