"""Shared memory: segments, which are files in the sentry's memory without a name, and who has them attached.

A segment is charged whole when it is made: what is written to it through mappings nobody sees.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

import msgspec

from pysc.cabi.linux.capability import CAP_IPC_LOCK
from pysc.cabi.linux.errors import EINVAL, ENOMEM, ENOSPC, EPERM, answered_by_host
from pysc.cabi.linux.ipc import SHM_DEST, SHM_HUGETLB, SHMALL, SHMID_DS, SHMMAX, SHMMNI
from pysc.cabi.linux.limits import PAGE
from pysc.sentry.fs.memory_file import UNLIMITED_BUDGET, Contents, pages
from pysc.sentry.ipc.objects import IpcObject, IpcTable, seconds

if TYPE_CHECKING:
    from pysc.sentry.fs.memory_file import Budget
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.platform.interface import Space

HUGETLB_GROUP: Final = 0
"""vm.hugetlb_shm_group."""
ATTACHED_MOST: Final = SHMMNI
"""Segments that one process may have attached."""


class Segment(IpcObject):
    """Invariant: it is destroyed once it is doomed (SHM_DEST) and nothing has it ``attached``."""

    __slots__ = ("atime", "attached", "contents", "cpid", "dtime", "home", "lpid", "size")

    def __init__(self, home: SharedMemory, key: int, size: int, flags: int, creds: Credentials, pid: int) -> None:
        super().__init__(key, flags, creds)
        self.home = home
        self.size = size
        self.contents = Contents(UNLIMITED_BUDGET)
        self.attached = 0
        """How many ranges show it; calls that are about to attach it count, too."""
        self.atime = self.dtime = 0
        self.cpid = pid
        self.lpid = 0

    def attach(self, pid: int, times: int = 1) -> None:
        """Count ranges that show it."""
        self.attached += times
        self.atime = seconds()
        self.lpid = pid

    def detach(self, pid: int) -> None:
        """Count one range less."""
        self.attached -= 1
        self.dtime = seconds()
        self.lpid = pid
        self.destroy_if_doomed()

    def doom(self) -> None:
        """Destroy it as soon as nothing has it attached."""
        self.home.table.hide(self)
        self.mode |= SHM_DEST
        self.destroy_if_doomed()

    def destroy_if_doomed(self) -> None:
        """Give back what nobody will see again."""
        if self.mode & SHM_DEST and not self.attached and not self.removed:
            self.home.remove(self)

    def status(self) -> bytes:
        """Return its struct shmid_ds."""
        times = (self.atime, self.dtime, self.ctime)
        return SHMID_DS.pack(self.permissions(), self.size, *times, self.cpid, self.lpid, self.attached)


class SharedMemory:
    """The segments of a namespace, and their limits (proc_sys_kernel(5))."""

    __slots__ = ("_budget", "pages", "shmall", "shmmax", "table")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.table: IpcTable[Segment] = IpcTable(SHMMNI)
        self.shmmax = SHMMAX
        """Bytes of a segment."""
        self.shmall = SHMALL
        """Pages of all."""
        self.pages = 0

    def get(self, key: int, size: int, flags: int, creds: Credentials, pid: int) -> Segment:
        """Do what shmget(2) does.  EINVAL, EEXIST, ENOENT, EACCES, EPERM, ENOSPC, ENOMEM, ENFILE."""
        found = self.table.find(key, flags)
        if found is None:
            return self._make(key, size, flags, creds, pid)
        if size > found.size:
            raise EINVAL
        found.check(creds, flags)
        return found

    def _make(self, key: int, size: int, flags: int, creds: Credentials, pid: int) -> Segment:
        if not 1 <= size <= self.shmmax:
            raise EINVAL
        count = pages(size)
        if self.pages + count > self.shmall:
            raise ENOSPC
        if flags & SHM_HUGETLB:
            may = creds.has_capability(CAP_IPC_LOCK) or creds.in_group(HUGETLB_GROUP)
            raise ENOMEM("no huge pages are reserved") if may else EPERM
        self.table.check_room()
        try:
            self._budget.charge(count)
        except ENOSPC:
            raise ENOMEM from None
        segment = Segment(self, key, size, flags, creds, pid)
        try:
            with answered_by_host():
                segment.contents.truncate(size)
        except BaseException:
            self._budget.charge(-count)
            raise
        self.pages += count
        self.table.add(segment)
        return segment

    def remove(self, segment: Segment) -> None:
        """Forget a segment that nothing has attached."""
        self.table.remove(segment)
        self.pages -= pages(segment.size)
        self._budget.charge(-pages(segment.size))


class Attachment(msgspec.Struct, frozen=True, gc=False):
    """A range of an address space that shows a segment from ``offset`` on."""

    start: int
    end: int
    offset: int
    segment: Segment

    def part(self, start: int, end: int) -> Attachment:
        """Return what of it lies between two addresses in it."""
        return Attachment(start, end, self.offset + start - self.start, self.segment)


def _end(attachment: Attachment) -> int:
    return attachment.end


class Attachments:
    """Those of one address space, in order; none overlaps another.  The platform hears of their bounds.

    The host unmaps what guests unmap: what lies between the bounds they unmap by way of the kernel, which looks here.
    """

    __slots__ = ("_ranges", "_space")

    def __init__(self, space: Space) -> None:
        self._space = space
        self._ranges: list[Attachment] = []

    def rebuild(self) -> None:
        """Let the space know what another process has made of this (pysc.sentry.state)."""
        self._space.set_attached(*self._bounds)

    def __len__(self) -> int:
        return len(self._ranges)

    def _replace(self, first: int, last: int, ranges: list[Attachment]) -> None:
        before = self._bounds
        self._ranges[first:last] = ranges
        if self._bounds != before:
            self._space.set_attached(*self._bounds)

    @property
    def _bounds(self) -> tuple[int, int]:
        return (self._ranges[0].start, self._ranges[-1].end) if self._ranges else (0, 0)

    def _overlapping(self, start: int, end: int) -> tuple[int, int]:
        """Return the first index of those in a range, and that behind their last."""
        first = last = bisect_right(self._ranges, start, key=_end)
        while last < len(self._ranges) and self._ranges[last].start < end:
            last += 1
        return first, last

    def touch(self, start: int, end: int) -> bool:
        """Whether there are any in a range."""
        first, last = self._overlapping(start, end)
        return first < last

    def at(self, address: int) -> Attachment | None:
        """Return what covers an address."""
        first, last = self._overlapping(address, address + 1)
        return self._ranges[first] if first < last else None

    def add(self, attachment: Attachment, pid: int) -> None:
        """Note one that ``attached`` of its segment counts already; what was there before is gone."""
        self.cut(attachment.start, attachment.end, pid)
        place, _ = self._overlapping(attachment.start, attachment.end)
        self._replace(place, place, [attachment])

    def cut(self, start: int, end: int, pid: int) -> None:
        """Forget what is in a range that has been unmapped; what is left of one on both sides counts twice."""
        first, last = self._overlapping(start, end)
        gone = self._ranges[first:last]
        left = []
        for attachment in gone:
            if attachment.start < start:
                left.append(attachment.part(attachment.start, start))
            if attachment.end > end:
                left.append(attachment.part(end, attachment.end))
        self._replace(first, last, left)
        for attachment in left:
            attachment.segment.attach(pid)
        for attachment in gone:
            attachment.segment.detach(pid)

    def move(self, old: int, old_size: int, new: int, new_size: int, pid: int, *, keeps: bool) -> None:
        """A range has been moved, grown or shrunk (mremap(2)); ``keeps``: what was there still is."""
        moved = self.at(old)
        if new != old:
            self.cut(new, new + new_size, pid)
        elif new_size < old_size:
            self.cut(new + new_size, old + old_size, pid)
            return
        if moved is None:
            return
        moved.segment.attach(pid)
        if not keeps:
            self.cut(old, old + old_size, pid)
        self.add(Attachment(new, new + new_size, moved.offset + old - moved.start, moved.segment), pid)

    def take(self, address: int) -> list[Attachment]:
        """Return, in order, all that is left of what was attached at an address: what shmdt(2) unmaps."""
        first = bisect_right(self._ranges, address, key=_end)
        segment = None
        found = []
        for attachment in self._ranges[first:]:
            if segment is not None and attachment.start >= address + pages(segment.size) * PAGE:
                break
            if attachment.start - address == attachment.offset and segment in (None, attachment.segment):
                segment = attachment.segment
                found.append(attachment)
        return found

    def copy(self, space: Space, pid: int) -> Attachments:
        """Return those of ``space``, a copy of this one that ``pid`` makes."""
        other = Attachments(space)
        for attachment in self._ranges:
            attachment.segment.attach(pid)
        other._replace(0, 0, list(self._ranges))
        return other

    def clear(self, pid: int) -> None:
        """Forget all: the address space ends."""
        gone, self._ranges = self._ranges, []
        for attachment in gone:
            attachment.segment.detach(pid)
