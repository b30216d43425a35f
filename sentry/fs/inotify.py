"""inotify(7): descriptions that collect what is announced (notify.py) about the inodes they watch."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from pysc.cabi.linux.errors import EAGAIN, EEXIST, EINVAL, ENOTTY
from pysc.cabi.linux.fcntl import O_RDONLY
from pysc.cabi.linux.poll import IN
from pysc.cabi.linux.termios import FIONREAD
from pysc.sentry.fs import notify
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.kernel.scheduler import WaitQueue, park

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Filesystem, Inode
    from pysc.sentry.kernel.task import Task

IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x0100_0000
IN_DONT_FOLLOW: Final = 0x0200_0000
IN_MASK_CREATE: Final = 0x1000_0000
IN_MASK_ADD: Final = 0x2000_0000
IN_ONESHOT: Final = 0x8000_0000
IN_ALL_EVENTS: Final = 0xFFF
KEPT: Final = IN_ALL_EVENTS | IN_ONESHOT | notify.IN_EXCL_UNLINK
QUEUE_MAX: Final = 16384
"""fs.inotify.max_queued_events."""
_EVENT: Final = struct.Struct("<iIII")


class Watch(NamedTuple):
    """One watched inode."""

    inode: Inode
    mask: int


class Happened(NamedTuple):
    """One event that waits to be read."""

    wd: int
    mask: int
    cookie: int
    name: bytes

    def pack(self) -> bytes:
        """Return struct inotify_event: the name's length counts its NULs, up to a multiple of 16."""
        length = (len(self.name) + 16) & ~15 if self.name else 0
        return _EVENT.pack(self.wd, self.mask, self.cookie, length) + self.name.ljust(length, b"\0")

    @property
    def size(self) -> int:
        """How long :meth:`pack` is."""
        return _EVENT.size + ((len(self.name) + 16) & ~15 if self.name else 0)


class InotifyFile(AnonymousFile):
    """Invariant: ``_numbers`` is ``_watches`` turned round; it listens to the file systems of what it watches."""

    __slots__ = ("_listens", "_next", "_numbers", "_queue", "_reads", "_watches", "wait")

    kind = b"anon_inode:inotify"
    tells = True

    def __init__(self, flags: int) -> None:
        super().__init__(O_RDONLY | flags)
        self._watches: dict[int, Watch] = {}
        self._numbers: dict[Inode, int] = {}
        self._listens: dict[Filesystem, int] = {}
        """How many watches it has in each."""
        self._queue: deque[Happened] = deque()
        self._next = 1
        self._reads = 0
        """How many watches tell of reading."""
        self.wait = WaitQueue()

    def rebuild(self) -> None:
        """Let fast paths know what another process has made of this (pysc.sentry.state)."""
        for fs in self._listens:
            notify.listen(fs, self)
        notify.watch_reads(self._reads)

    def release(self) -> None:
        for fs in self._listens:
            notify.unlisten(fs, self)
        self._listens.clear()
        notify.watch_reads(-self._reads)
        self._reads = 0

    @property
    def info(self) -> bytes:
        """Lines of /proc/PID/fdinfo."""
        return b"".join(
            b"inotify wd:%x ino:%x sdev:%x mask:%x ignored_mask:0 \n" % (wd, inode.ino, inode.fs.dev, mask)
            for wd, (inode, mask) in self._watches.items()
        )

    # Watches
    def add(self, inode: Inode, mask: int) -> int:
        """Watch an inode, or change how; return the watch's number.  EEXIST (IN_MASK_CREATE)."""
        wd = self._numbers.get(inode)
        if wd is None:
            wd = self._next
            self._next += 1
            self._numbers[inode] = wd
            watches = self._listens[inode.fs] = self._listens.get(inode.fs, 0) + 1
            if watches == 1:
                notify.listen(inode.fs, self)
        elif mask & IN_MASK_CREATE:
            raise EEXIST
        elif mask & IN_MASK_ADD:
            mask |= self._watches[wd].mask
        before = self._watches.get(wd)
        self._watches[wd] = Watch(inode, mask & KEPT)
        self._count_reads(mask, 0 if before is None else before.mask)
        return wd

    def _count_reads(self, mask: int, before: int) -> None:
        more = bool(mask & notify.IN_ACCESS) - bool(before & notify.IN_ACCESS)
        self._reads += more
        notify.watch_reads(more)

    def remove(self, wd: int) -> None:
        """End a watch, and say so.  EINVAL."""
        watch = self._watches.pop(wd, None)
        if watch is None:
            raise EINVAL
        del self._numbers[watch.inode]
        self._count_reads(0, watch.mask)
        fs = watch.inode.fs
        self._listens[fs] -= 1
        if not self._listens[fs]:
            del self._listens[fs]
            notify.unlisten(fs, self)
        self._enqueue(Happened(wd, IN_IGNORED, 0, b""))

    def on_event(self, inode: Inode, events: int, cookie: int, name: bytes) -> None:
        wd = self._numbers.get(inode)
        if wd is None:
            return
        watch = self._watches[wd]
        if name and events & watch.mask & notify.IN_EXCL_UNLINK:
            return
        events &= ~notify.IN_EXCL_UNLINK
        if events & watch.mask & IN_ALL_EVENTS:
            self._enqueue(Happened(wd, events, cookie, name))
            if watch.mask & IN_ONESHOT:
                self.remove(wd)
                return
        if events & notify.IN_DELETE_SELF:
            self.remove(wd)

    def _enqueue(self, event: Happened) -> None:
        if self._queue and self._queue[-1] == event:
            return
        if len(self._queue) >= QUEUE_MAX:
            if len(self._queue) > QUEUE_MAX:
                return
            event = Happened(-1, IN_Q_OVERFLOW, 0, b"")
        self._queue.append(event)
        self.wait.wake_all(IN)

    # Events
    async def read(self, size: int) -> bytes:
        """As many whole events as fit.  EINVAL: not even one does."""
        while not self._queue:
            if self.nonblock:
                raise EAGAIN
            await park(self.wait)
        taken: list[bytes] = []
        while self._queue and self._queue[0].size <= size:
            event = self._queue.popleft()
            size -= event.size
            taken.append(event.pack())
        if not taken:
            raise EINVAL
        return b"".join(taken)

    def poll(self) -> int:
        return IN if self._queue else 0

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.wait,)

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        if request != FIONREAD:
            raise ENOTTY
        task.put(argument, sum(event.size for event in self._queue).to_bytes(4, "little"))
        return 0
