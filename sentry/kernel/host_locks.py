"""The locks of a file on a shared mount, as other users of the host's file see them: one description's locks (OFD).

All guests together are one owner for the host: each byte has the strongest lock that one of them has there.  Nothing
here waits: who must wait for another user of the file tries again.
"""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EACCES, EAGAIN, LinuxError, answered_by_host
from pysc.cabi.linux.fcntl import F_OFD_GETLK, F_OFD_SETLK, F_RDLCK, F_UNLCK, F_WRLCK, FLOCK
from pysc.sentry.hostfds import NONE, HostFd, close

if TYPE_CHECKING:
    from pysc.sentry.kernel.locks import RecordLock

END: Final = (1 << 63) - 1
"""The last byte that a lock can hold: "to the end, however long it grows"."""
ANOTHER: Final = -1
"""The pid of who has a lock on the host: nobody that a guest could know."""

Segment = tuple[int, int, int]
"""First and last byte, and how strongly: 0 not at all, 1 shared, 2 exclusively."""


class HostLocks:
    """Owns ``fd``.  Invariant: what is held is what :meth:`change` was last told, unless the host took it away."""

    __slots__ = ("_fd", "_held", "writable")

    def __init__(self, fd: HostFd, *, writable: bool) -> None:
        self._fd = fd
        self._held: list[Segment] = []
        self.writable = writable
        """Whether the host gives exclusive locks; without, such of flock(2) are shared ones for other users."""

    def close(self) -> None:
        """Give all locks up."""
        if self._fd >= 0:
            close(self._fd)
            self._fd = NONE

    def rebuild(self) -> None:
        """Hold on the host what another process held (pysc.sentry.state), as far as other users have left it."""
        held, self._held = self._held, []
        self._set(held)

    def reopen(self, fd: HostFd) -> bool:
        """Go on with a description that can be written to; false if another user was quicker."""
        held = self._held
        self._set([])  # a guest's mapping may keep the description for longer than us
        close(self._fd)
        self._fd, self.writable = fd, True
        return self._set(held)

    def change(self, locks: Sequence[RecordLock]) -> bool:
        """Hold what these locks need; false, and no change, if somebody else has what they need."""
        return self._set(strongest(locks))

    def conflict(self, start: int, end: int, *, exclusive: bool) -> tuple[int, int, bool] | None:
        """Return first and last byte of another user's lock that stands in the way, and whether it is exclusive."""
        kind = F_WRLCK if exclusive else F_RDLCK
        with answered_by_host():
            answer = fcntl.fcntl(self._fd, F_OFD_GETLK, FLOCK.pack(kind, 0, start, length_of(start, end), 0))
        kind, _whence, start, length, _pid = FLOCK.unpack(answer)
        return None if kind == F_UNLCK else (start, start + length - 1 if length else END, kind == F_WRLCK)

    def _set(self, wanted: list[Segment]) -> bool:
        """Change the host's locks, the stronger ones first: only they can fail."""
        steps = differences(self._held, wanted)
        for start, end, old, new in sorted(steps, key=lambda step: step[3] <= step[2]):
            if not self._set_one(start, end, new) and new > old:
                for first, last, back, _new in steps:
                    self._set_one(first, last, back)
                return False
        self._held = wanted
        return True

    def _set_one(self, start: int, end: int, strength: int) -> bool:
        kind = (F_UNLCK, F_RDLCK, F_WRLCK if self.writable else F_RDLCK)[strength]
        try:
            with answered_by_host():
                fcntl.fcntl(self._fd, F_OFD_SETLK, FLOCK.pack(kind, 0, start, length_of(start, end), 0))
        except LinuxError as error:
            return error.errno not in (EAGAIN.errno, EACCES.errno)  # a file system without locks has no other users
        return True


def length_of(start: int, end: int) -> int:
    """Return l_len of a struct flock for the bytes from ``start`` to ``end``."""
    return 0 if end == END else end - start + 1


def strongest(locks: Sequence[RecordLock]) -> list[Segment]:
    """Return what each byte needs, in order, without gaps between equal neighbours."""
    edges = sorted({lock.start for lock in locks} | {lock.end + 1 for lock in locks})
    found: list[Segment] = []
    for start, after in pairwise(edges):
        strength = max((1 + lock.exclusive for lock in locks if lock.start <= start <= lock.end), default=0)
        if found and found[-1][2] == strength and found[-1][1] + 1 == start:
            found[-1] = (found[-1][0], after - 1, strength)
        elif strength:
            found.append((start, after - 1, strength))
    return found


def differences(before: Sequence[Segment], after: Sequence[Segment]) -> list[tuple[int, int, int, int]]:
    """Return where the two differ: first and last byte, how strong before and after."""
    both = (*before, *after)
    edges = sorted({start for start, _end, _strength in both} | {end + 1 for _start, end, _strength in both})
    found = []
    for start, following in pairwise(edges):
        old, new = _at(before, start), _at(after, start)
        if old != new:
            found.append((start, following - 1, old, new))
    return found


def _at(segments: Sequence[Segment], place: int) -> int:
    return next((strength for start, end, strength in segments if start <= place <= end), 0)
