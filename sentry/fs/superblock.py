"""File systems of the host's, as the sentry calls them: whether the loop may, the face of a struct pysc_super.

Those that are served over a network, or by a process, the loop never calls: workers do.  Of the others the watchdog
(cabi/dispatch/watchdog.c) finds out when a call takes long, and workers make those of the next seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.workers import Op
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.kernel.workers import Lane

P = ParamSpec("P")
R = TypeVar("R")

NAMES: Final = lib.PYSC_SUPER_NAMES
"""Looking, opening, listing and closing."""
DATA: Final = lib.PYSC_SUPER_DATA
_OF_NAMES: Final = frozenset({Op.STAT, Op.OPEN_READ, Op.LIST, Op.READ_LINK})
_OF_DATA: Final = frozenset({Op.PREAD, Op.PWRITE, Op.SEEK})

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


QUICK_NS: Final = 200_000
ENOUGH: Final = 4
"""So many quick calls of workers in a row, and the loop makes them again."""
ENOUGH_MOST: Final = 256
SOON_NS: Final = 1_000_000_000


class _Calls:
    """Calls of one kind, NAMES or DATA, that workers make instead of the loop: they find out when that is over.

    Who was quick and is slow again soon has to be quick for twice as long.
    """

    __slots__ = ("_c", "_enough", "_freed", "_quick", "_what")

    def __init__(self, c: Any, what: int) -> None:
        self._c = c
        self._what = what
        self._quick = 0
        self._enough = ENOUGH
        self._freed = 0
        """When the loop was let make them again; 0: it has not, since."""

    def note(self, took: int) -> None:
        """One has taken so many nanoseconds."""
        if took > QUICK_NS:
            self._quick = 0
            return
        if self._freed:
            self._enough = min(2 * self._enough, ENOUGH_MOST) if now() - self._freed < SOON_NS else ENOUGH
            self._freed = self._quick = 0
        self._quick += 1
        if self._quick >= self._enough and self._c.slow_until[self._what]:
            self._c.slow_until[self._what] = 0
            self._freed = now()


class _Lane(Lane):
    __slots__ = ("_data", "_names")

    def __init__(self, c: Any) -> None:
        super().__init__()
        self._names = _Calls(c, NAMES)
        self._data = _Calls(c, DATA)

    def note(self, op: Op, took: int) -> None:
        if op in _OF_NAMES:
            self._names.note(took)
        elif op in _OF_DATA:
            self._data.note(took)


class Superblock:
    """One mount of ours and one device of the host's."""

    __slots__ = ("_pulse", "c", "index", "lane", "number")

    def __init__(self, magic: int = 0) -> None:
        """ENFILE."""
        self.index = objects.new(objects.SUPER)
        self.number = self.index + 1
        """As other structures name it."""
        self.c: Any = lib.pysc_super_at(objects.OBJECTS, self.index)
        self.lane: Lane = _Lane(self.c)
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
