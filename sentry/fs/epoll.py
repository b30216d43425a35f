"""epoll(7): interest lists and ready lists.

An item is a watcher of its file's wait queues; a wake puts it on the ready list of its epoll, where it stays until a
wait finds the file not ready (level-triggered), or reports it once (edge-triggered, one-shot).  So a wait costs what
is ready, not what is watched.  Ready lists are structures that fast paths report from, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EEXIST, EINVAL, ELOOP, ENOENT, EPERM
from pysc.cabi.linux.fcntl import O_RDWR
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
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.kernel.scheduler import WaitQueue

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

MAX_NESTS: Final = 4
"""Epolls watched by epolls: how many steps a chain may have."""

TELLS: Final = 8
"""How often those who watch an epoll are told that it is ready before anybody has looked."""

_MODES: Final = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE
_EXCLUSIVE_OK: Final = IN | OUT | UNASKED | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE


class EpollItem:
    """A description watched under one descriptor number: the face of a struct pysc_item.

    Invariant: known to its epoll and its file, and a watcher of ``queues``, until :meth:`detach`.
    """

    __slots__ = ("c", "epoll", "fd", "file", "index", "queues")

    def __init__(self, epoll: EpollFile, fd: int, file: FileDescription, events: int, data: int) -> None:
        self.index = objects.new(objects.ITEM)
        self.c: Any = lib.pysc_item_at(objects.OBJECTS, self.index)
        self.c.events = events
        self.c.data = data
        self.c.file, self.c.generation = file.index, file.generation
        self.epoll = epoll
        self.fd = fd
        self.file = file
        self.queues: tuple[WaitQueue, ...] = ()

    def __del__(self, free: Callable[[int], None] = objects.free_item) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    @property
    def events(self) -> int:
        """EPOLL* as they were given, with what is reported unasked; only modes once it has fired and is one-shot."""
        value: int = self.c.events
        return value

    @property
    def data(self) -> int:
        """What is reported with them."""
        value: int = self.c.data
        return value

    def __call__(self, events: int) -> bool:
        """The file was woken for ``events``; return whether somebody waits here, and one is enough for that."""
        if not events & self.wanted:
            return False
        waits = self.epoll.waits
        self.epoll.mark_ready(self)
        return waits and events in (IN, OUT)

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
            queue.watch(self, exclusive=bool(self.events & EPOLLEXCLUSIVE))

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

    __slots__ = ("__weakref__", "_epoll", "_epoll_index", "_items", "_numbers", "_told", "poll_wait", "wait")

    kind = b"anon_inode:[eventpoll]"

    def __init__(self) -> None:
        super().__init__(O_RDWR)
        self._epoll_index = objects.new(objects.EPOLL)
        self._epoll: Any = lib.pysc_epoll_at(objects.OBJECTS, self._epoll_index)
        self._items: dict[tuple[int, FileDescription], EpollItem] = {}
        self._numbers: dict[int, EpollItem] = {}
        self.wait = WaitQueue()
        """Those in epoll_wait: one is woken for each event."""
        self.poll_wait = WaitQueue()
        self._told = 0
        """How often others were told that it is ready, since anybody looked."""
        objects.listen(objects.EPOLL, self._epoll_index, self)
        self.serve(lib.PYSC_FILE_EPOLL, self._epoll_index, self._epoll.header.generation)

    def __del__(
        self,
        free: Callable[[int], None] = objects.free_file,
        free_epoll: Callable[[int], None] = objects.free_epoll,
    ) -> None:
        super().__del__(free)
        if hasattr(self, "_epoll_index"):
            free_epoll(self._epoll_index)

    def watch(self) -> None:
        """Somebody is about to wait in it."""
        self._epoll.waits = 1

    def moved(self, _events: int) -> None:
        """A fast path has left something on the ready list: for the next who waits."""
        self.wait.wake(1)
        self._epoll.waits = bool(self.wait)

    def rebuild(self) -> None:
        """Hear of what fast paths of this process leave here (pysc.sentry.state)."""
        objects.listen(objects.EPOLL, self._epoll_index, self)

    @property
    def waits(self) -> bool:
        """Whether anybody is in epoll_wait."""
        return bool(self.wait)

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        raise EINVAL  # the only ones are for network cards that are polled

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
        self._numbers[item.index] = item
        item.attach()
        if item.ready():
            self.mark_ready(item)

    def modify(self, fd: int, file: FileDescription, events: int, data: int) -> None:
        """EPOLL_CTL_MOD.  ENOENT, EINVAL (exclusive)."""
        item = self._item(fd, file)
        if (item.events | events) & EPOLLEXCLUSIVE:
            raise EINVAL
        item.c.events = events | UNASKED
        item.c.data = data
        if item.ready():
            self.mark_ready(item)

    def remove(self, fd: int, file: FileDescription) -> None:
        """EPOLL_CTL_DEL.  ENOENT."""
        self._item(fd, file).detach()

    def forget(self, item: EpollItem) -> None:
        """Drop an item that detaches itself."""
        self._items.pop((item.fd, item.file), None)
        self._numbers.pop(item.index, None)
        self._drop(item)

    def watched(self) -> list[EpollItem]:
        """Return the items."""
        return list(self._items.values())

    @property
    def info(self) -> bytes:
        """Lines of /proc/PID/fdinfo."""
        return b"".join(
            b"tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n"
            % (item.fd, item.events, item.data, item.file.offset, *item.file.identity())
            for item in self._items.values()
        )

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
    def _first(self) -> EpollItem | None:
        index = lib.pysc_epoll_first(self._epoll)
        return self._numbers[index] if index >= 0 else None

    def _add(self, item: EpollItem) -> None:
        lib.pysc_epoll_add(objects.OBJECTS, self._epoll, item.c)

    def _drop(self, item: EpollItem) -> None:
        lib.pysc_epoll_drop(objects.OBJECTS, self._epoll, item.c)

    def mark_ready(self, item: EpollItem) -> None:
        """Put ``item`` on the ready list and wake one waiter.

        Those who watch this one have it on their own lists until they look.  To tell them each time would cost as much
        as there are ways from a file up through many epolls, which may be as many as that to the power of MAX_NESTS.
        """
        self._add(item)
        self.wait.wake(1)
        if self._told < TELLS:
            self._told += 1
            self.poll_wait.wake_all(IN)

    def collect(self, limit: int) -> list[tuple[int, int]]:
        """Take up to ``limit`` reports: (events, data), in order of readiness."""
        reports: list[tuple[int, int]] = []
        again = []
        self._told = 0
        while len(reports) < limit and (item := self._first()) is not None:
            self._drop(item)
            events = item.ready()
            if not events:
                continue
            reports.append((events, item.data))
            if item.events & EPOLLONESHOT:
                item.c.events &= _MODES
            elif not item.events & EPOLLET:
                again.append(item)
        for item in again:
            self._add(item)
        if self._first() is not None:
            self.wait.wake(1)
        return reports

    def poll(self) -> int:
        self._told = 0
        while (item := self._first()) is not None:
            if item.ready():
                return IN
            self._drop(item)
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
