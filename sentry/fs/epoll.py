"""epoll(7): interest lists and ready lists.

An item is a watcher of its file's wait queues; a wake puts it on the ready list of its epoll, where it stays until a
wait finds the file not ready (level-triggered), or reports it once (edge-triggered, one-shot).  So a wait costs what
is ready, not what is watched.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from pysc.cabi.linux.errors import EEXIST, EINVAL, ELOOP, ENOENT, EPERM
from pysc.cabi.linux.poll import (
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLONESHOT,
    EPOLLWAKEUP,
    IN,
    OUT,
    UNASKED,
)
from pysc.sentry.fs.anonymous import AnonymousFile
from pysc.sentry.fs.file import O_RDWR, FileDescription
from pysc.sentry.kernel.scheduler import WaitQueue

MAX_NESTS: Final = 4
"""Epolls watched by epolls: how many steps a chain may have."""

_MODES: Final = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE
_EXCLUSIVE_OK: Final = IN | OUT | UNASKED | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE


class EpollItem:
    """A description watched under one descriptor number.

    Invariant: known to its epoll and its file, and a watcher of ``queues``, until :meth:`detach`.
    """

    __slots__ = ("data", "epoll", "events", "fd", "file", "queues")

    def __init__(self, epoll: EpollFile, fd: int, file: FileDescription, events: int, data: int) -> None:
        self.epoll = epoll
        self.fd = fd
        self.file = file
        self.events = events
        self.data = data
        self.queues: tuple[WaitQueue, ...] = ()

    def __call__(self, events: int) -> None:
        """The file was woken for ``events``."""
        if events & self.wanted:
            self.epoll.mark_ready(self)

    @property
    def wanted(self) -> int:
        """What it reports; nothing once a one-shot item has fired."""
        return self.events & ~_MODES

    def ready(self) -> int:
        """What it would report now."""
        wanted = self.wanted
        return self.file.poll() & wanted if wanted else 0

    def attach(self) -> None:
        """Start watching."""
        if self.file.epoll_items is None:
            self.file.epoll_items = {}
        self.file.epoll_items[self] = None
        self.queues = self.file.queues()
        for queue in self.queues:
            queue.watch(self)

    def detach(self) -> None:
        """Stop watching, for good."""
        for queue in self.queues:
            queue.unwatch(self)
        self.queues = ()
        if self.file.epoll_items is not None:
            self.file.epoll_items.pop(self, None)
        self.epoll.forget(self)


class EpollFile(AnonymousFile):
    """An epoll instance."""

    __slots__ = ("_items", "_ready", "poll_wait", "wait")

    kind = b"anon_inode:[eventpoll]"

    def __init__(self) -> None:
        super().__init__(O_RDWR)
        self._items: dict[tuple[int, FileDescription], EpollItem] = {}
        self._ready: OrderedDict[EpollItem, None] = OrderedDict()
        self.wait = WaitQueue()
        """Those in epoll_wait: one is woken for each event."""
        self.poll_wait = WaitQueue()

    # The interest list
    def add(self, fd: int, file: FileDescription, events: int, data: int) -> None:
        """EPOLL_CTL_ADD.  EPERM (always ready), EINVAL, EEXIST, ELOOP (a circle, or too deep)."""
        if not file.queues():
            raise EPERM
        if file is self:
            raise EINVAL
        if events & EPOLLEXCLUSIVE and (events & ~_EXCLUSIVE_OK or isinstance(file, EpollFile)):
            raise EINVAL
        if (fd, file) in self._items:
            raise EEXIST
        if isinstance(file, EpollFile):
            self._check_nesting(file)
        item = EpollItem(self, fd, file, events | UNASKED, data)
        self._items[fd, file] = item
        item.attach()
        if item.ready():
            self.mark_ready(item)

    def modify(self, fd: int, file: FileDescription, events: int, data: int) -> None:
        """EPOLL_CTL_MOD.  ENOENT, EINVAL (exclusive)."""
        item = self._item(fd, file)
        if (item.events | events) & EPOLLEXCLUSIVE:
            raise EINVAL
        item.events = events | UNASKED
        item.data = data
        if item.ready():
            self.mark_ready(item)

    def remove(self, fd: int, file: FileDescription) -> None:
        """EPOLL_CTL_DEL.  ENOENT."""
        self._item(fd, file).detach()

    def forget(self, item: EpollItem) -> None:
        """Drop an item that detaches itself."""
        self._items.pop((item.fd, item.file), None)
        self._ready.pop(item, None)

    def watched(self) -> list[EpollItem]:
        """Return the items (for /proc/PID/fdinfo)."""
        return list(self._items.values())

    def _item(self, fd: int, file: FileDescription) -> EpollItem:
        item = self._items.get((fd, file))
        if item is None:
            raise ENOENT
        return item

    def _check_nesting(self, target: EpollFile) -> None:
        below = _levels(target, self, downwards=True)
        above = _levels(self, target, downwards=False)
        if below + above + 1 > MAX_NESTS:
            raise ELOOP

    def neighbours(self, downwards: bool) -> set[EpollFile]:
        """Return the epolls that this one watches, or those that watch it."""
        if downwards:
            return {item.file for item in self._items.values() if isinstance(item.file, EpollFile)}
        return {item.epoll for item in self.epoll_items or ()}

    # The ready list
    def mark_ready(self, item: EpollItem) -> None:
        """Put ``item`` on the ready list and wake one waiter."""
        self._ready[item] = None
        self.wait.wake(1)
        self.poll_wait.wake_all(IN)

    def collect(self, limit: int) -> list[tuple[int, int]]:
        """Take up to ``limit`` reports: (events, data), in order of readiness."""
        reports: list[tuple[int, int]] = []
        again = []
        ready = self._ready
        while ready and len(reports) < limit:
            item, _ = ready.popitem(last=False)
            events = item.ready()
            if not events:
                continue
            reports.append((events, item.data))
            if item.events & EPOLLONESHOT:
                item.events &= _MODES
            elif not item.events & EPOLLET:
                again.append(item)
        for item in again:
            ready[item] = None
        if ready:
            self.wait.wake(1)
        return reports

    def poll(self) -> int:
        ready = self._ready
        while ready:
            item = next(iter(ready))
            if item.ready():
                return IN
            del ready[item]
        return 0

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.poll_wait,)

    def release(self) -> None:
        for item in list(self._items.values()):
            item.detach()


def _levels(start: EpollFile, forbidden: EpollFile, *, downwards: bool) -> int:
    """Return how many steps lead away from ``start`` (capped).  ELOOP if they lead to ``forbidden``."""
    frontier = {start}
    for level in range(MAX_NESTS + 1):
        if forbidden in frontier:
            raise ELOOP
        frontier = set().union(*(epoll.neighbours(downwards) for epoll in frontier))
        if not frontier:
            return level
    return MAX_NESTS + 1
