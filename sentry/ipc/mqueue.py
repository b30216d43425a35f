"""POSIX message queues (mq_overview(7)) and the file system that their names are in.

As in Linux, a message goes at once to who has waited for one longest, and room to who has waited for that longest, but
first to those who are less nice(2).  A namespace has one such file system, mounted or not.
"""

from __future__ import annotations

from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pysc.cabi.linux import mqueue as abi
from pysc.cabi.linux.capability import CAP_SYS_RESOURCE
from pysc.cabi.linux.clock import SIGEV_SIGNAL
from pysc.cabi.linux.errors import EAGAIN, EEXIST, EINVAL, EMFILE, ENOENT, ENOSPC, EOPNOTSUPP, EPERM
from pysc.cabi.linux.fcntl import SEEK_END, SEEK_SET
from pysc.cabi.linux.mount import MQUEUE_MAGIC
from pysc.cabi.linux.poll import IN, OUT
from pysc.cabi.linux.resource import RLIMIT_MSGQUEUE
from pysc.cabi.linux.signals import SI_MESGQ
from pysc.cabi.linux.stat import S_IFDIR, S_IFREG
from pysc.cabi.objects import memory_is_short
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Attributes, Changes, Entry, Filesystem, Inode, Owner, clock, take_changes
from pysc.sentry.fs.path import Dentry, Mount, Path
from pysc.sentry.fs.tmpfs import entries_of
from pysc.sentry.ipc.objects import MESSAGE_MOST
from pysc.sentry.kernel.scheduler import WaitQueue, current_owner
from pysc.sentry.kernel.siginfo import SigInfo
from pysc.sentry.kernel.signals import send_signal

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup


class Limits(msgspec.Struct):
    """What is in /proc/sys/fs/mqueue."""

    msg_default: int = abi.DFLT_MSG
    msg_max: int = abi.DFLT_MSG
    msgsize_default: int = abi.DFLT_MSGSIZE
    msgsize_max: int = abi.DFLT_MSGSIZE
    queues_max: int = abi.DFLT_QUEUESMAX

    def sizes(self, task: Task, wanted: tuple[int, int] | None) -> tuple[int, int]:
        """Return how many messages a new queue has at most, and of how many bytes.  EINVAL."""
        if wanted is None:
            maxmsg, msgsize = min(self.msg_default, self.msg_max), min(self.msgsize_default, self.msgsize_max)
        else:
            maxmsg, msgsize = wanted
        most = (self.msg_max, self.msgsize_max)
        if task.creds.has_capability(CAP_SYS_RESOURCE):
            most = (abi.HARD_MSGMAX, MESSAGE_MOST)
        if not 0 < maxmsg <= most[0] or not 0 < msgsize <= most[1]:
            raise EINVAL
        return maxmsg, msgsize


class Message(NamedTuple):
    """What was sent; the next to be received is the least of all."""

    rank: int
    """Minus the priority."""
    number: int
    """No two of a queue have the same: the order in which they came."""
    data: bytes


class Waiter:
    """A call that waits: with the message that it sends, or for one.  It stands among ``waiters`` until it is done."""

    __slots__ = ("_waiters", "data", "done", "nice", "priority", "queue")

    def __init__(self, task: Task, waiters: dict[Waiter, None], data: bytes = b"", priority: int = 0) -> None:
        self._waiters = waiters
        waiters[self] = None
        self.nice = task.scheduling.nice
        self.data = data
        self.priority = priority
        self.done = False
        """Its message is in the queue, or it has been given one."""
        self.queue = WaitQueue()
        """Woken then."""

    def end(self) -> None:
        """Let it go on."""
        self.done = True
        self.queue.wake_all()

    def leave(self) -> None:
        """Wait no more."""
        self._waiters.pop(self, None)


class Notification(msgspec.Struct, frozen=True):
    """Who is told, once, that there is a message in the empty queue (mq_notify(3)), and how."""

    group: ThreadGroup
    exec_id: int
    """Another program of the process is not told."""
    notify: int
    signo: int
    value: int


def _first(waiters: dict[Waiter, None]) -> Waiter | None:
    """Take the one whose turn it is."""
    found = min(waiters, key=lambda one: one.nice, default=None)
    if found is not None:
        del waiters[found]
    return found


class _MqueueInode(Inode):
    """What queues and their directory share."""

    __slots__ = ("atime", "btime", "ctime", "mtime", "nlink", "size_shown")

    fs: Mqueue

    def __init__(self, fs: Mqueue, mode: int, owner: Owner, size: int) -> None:
        super().__init__(fs, fs.new_ino(), mode, owner.uid, owner.gid)
        self.nlink = 1
        self.size_shown = size
        self.atime = self.mtime = self.ctime = self.btime = clock()

    async def attributes(self) -> Attributes:
        times = (self.atime, self.mtime, self.ctime, self.btime)
        shown = Attributes(self.fs.dev, self.ino, self.mode, self.nlink, self.uid, self.gid, 0, self.size_shown)
        shown.atime, shown.mtime, shown.ctime, shown.btime = times
        return shown

    async def set_attributes(self, changes: Changes) -> None:
        """Set them; the size means nothing, and is shown."""
        if changes.size is not None:
            self.size_shown = changes.size
        take_changes(self, changes)


class Queue(_MqueueInode):
    """A queue, which lives as long as it has a name or somebody has it open.

    Invariant: ``qsize`` is how many bytes the messages have; only while there is none somebody waits to receive, and
    only while there are ``maxmsg`` to send.
    """

    __slots__ = (
        "_charged",
        "_count",
        "_payer",
        "maxmsg",
        "messages",
        "msgsize",
        "notification",
        "qsize",
        "receivers",
        "senders",
        "wait",
    )

    def __init__(self, fs: Mqueue, task: Task, mode: int, owner: Owner, wanted: tuple[int, int] | None) -> None:
        """``wanted`` are mq_maxmsg and mq_msgsize.  EINVAL, EMFILE, ENOSPC."""
        self.maxmsg, self.msgsize = fs.limits.sizes(task, wanted)
        super().__init__(fs, S_IFREG | mode, owner, abi.FILENT_SIZE)
        self._payer = task.creds.uid
        self._charged = fs.charge(task, self.maxmsg, self.msgsize)
        self._count = 0
        self.messages: list[Message] = []
        """A heap."""
        self.qsize = 0
        self.notification: Notification | None = None
        self.receivers: dict[Waiter, None] = {}
        """In order of arrival."""
        self.senders: dict[Waiter, None] = {}
        self.wait = WaitQueue()
        """Woken when there is a message, or room, that nobody waited for."""

    def __del__(self) -> None:
        if hasattr(self, "_charged"):  # not if it was refused
            self.fs.release(self._payer, self._charged)

    @property
    def full(self) -> bool:
        """Whether who sends must wait."""
        return len(self.messages) >= self.maxmsg

    def send(self, data: bytes, priority: int, sender: Task) -> None:
        """Give a message to who waits for one, or keep it, for which there is room."""
        receiver = _first(self.receivers)
        if receiver is not None:
            receiver.data, receiver.priority = data, priority
            receiver.end()
        else:
            self._keep(data, priority)
            if len(self.messages) == 1:
                self._notify(sender)
            self.wait.wake_all()
        self._used()

    def take(self) -> tuple[bytes, int]:
        """Return the first of the messages, of which there are some, and its priority; who waits for room has it."""
        message = heappop(self.messages)
        self.qsize -= len(message.data)
        sender = _first(self.senders)
        if sender is None:
            self.wait.wake_all()
        else:
            self._keep(sender.data, sender.priority)
            sender.end()
        self._used()
        return message.data, -message.rank

    def _keep(self, data: bytes, priority: int) -> None:
        self._count += 1
        heappush(self.messages, Message(-priority, self._count, data))
        self.qsize += len(data)

    def _used(self) -> None:
        self.atime = self.mtime = self.ctime = clock()

    def _notify(self, sender: Task) -> None:
        told, self.notification = self.notification, None
        if told is None or told.notify != SIGEV_SIGNAL or not told.signo or told.group.exec_id != told.exec_id:
            return
        cause = SigInfo(told.signo, SI_MESGQ, "rt", sender.group.tgid, sender.creds.uid, told.value)
        with suppress(EAGAIN):  # too many are pending: Linux does not mind, either
            send_signal(told.group, cause)

    def forget(self, group: ThreadGroup) -> None:
        """Do not tell a process any more."""
        if self.notification is not None and self.notification.group is group:
            self.notification = None

    def text(self) -> bytes:
        """Return what reading the file gives."""
        told = self.notification
        how = (0, 0, 0)
        if told is not None:
            how = (told.notify, told.signo if told.notify == SIGEV_SIGNAL else 0, told.group.tgid)
        return b"QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n" % (self.qsize, *how)

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription:
        return QueueFile(self, flags, path)


class QueueFile(FileDescription):
    """An open queue, by mq_open(2) or by the name of the file."""

    __slots__ = ("queue",)

    def __init__(self, queue: Queue, flags: int, path: Path) -> None:
        super().__init__(flags, path)
        self.queue = queue

    def flush(self, task: Task) -> None:
        super().flush(task)
        self.queue.forget(task.group)

    async def read(self, size: int) -> bytes:
        data = await self.pread(size, self.offset)
        self.offset += len(data)
        return data

    async def pread(self, size: int, offset: int) -> bytes:
        data = self.queue.text()[offset : offset + size]
        if data:
            self.queue.atime = self.queue.ctime = clock()
        return data

    async def pwrite(self, data: bytes, offset: int) -> int:
        raise EINVAL

    async def seek(self, offset: int, whence: int) -> int:
        if whence == SEEK_END:
            return self.move(offset + self.queue.size_shown, SEEK_SET)
        return self.move(offset, whence)

    def poll(self) -> int:
        return (IN if self.queue.messages else 0) | (0 if self.queue.full else OUT)

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.queue.wait,)

    async def attributes(self) -> Attributes:
        return await self.queue.attributes()

    async def truncate(self, size: int) -> None:
        await self.queue.set_attributes(Changes(size=size))

    async def allocate(self, mode: int, offset: int, length: int) -> None:
        raise EOPNOTSUPP


class QueueDirectory(_MqueueInode):
    """The root: there is no other directory, and nothing but queues in it."""

    __slots__ = ("children",)

    def __init__(self, fs: Mqueue) -> None:
        super().__init__(fs, S_IFDIR | 0o1777, Owner(0, 0), 2 * abi.DIRENT_SIZE)
        self.nlink = 2
        self.children: dict[bytes, Queue] = {}

    async def lookup(self, name: bytes) -> Inode:
        try:
            return self.children[name]
        except KeyError:
            raise ENOENT from None

    async def entries(self) -> list[Entry]:
        return await entries_of(self.children)

    async def create(self, name: bytes, mode: int, owner: Owner) -> Inode:
        return self.make(await current_owner(), name, mode, owner, None)

    def make(self, task: Task, name: bytes, mode: int, owner: Owner, wanted: tuple[int, int] | None) -> Queue:
        """Make a queue.  EEXIST, EINVAL, EMFILE, ENOSPC."""
        if name in self.children:
            raise EEXIST
        queue = self.children[name] = Queue(self.fs, task, mode, owner, wanted)
        self._changed(abi.DIRENT_SIZE)
        return queue

    async def unlink(self, name: bytes, child: Inode) -> None:
        queue = self.children.pop(name)
        self._changed(-abi.DIRENT_SIZE)
        queue.nlink = 0
        queue.ctime = self.ctime

    def _changed(self, size: int) -> None:
        self.size_shown += size
        self.atime = self.mtime = self.ctime = clock()

    async def exchange(self, name: bytes, child: Inode, target: Inode, new_name: bytes, other: Inode) -> None:
        raise EPERM


class Mqueue(Filesystem):
    """The queues of a namespace.

    Invariant: ``queues`` counts those that live, ``charged`` the bytes that RLIMIT_MSGQUEUE bounds, by who made
    them.
    """

    __slots__ = ("_inos", "charged", "limits", "queues", "top")

    name = b"mqueue"
    magic = MQUEUE_MAGIC
    root: QueueDirectory

    def __init__(self) -> None:
        super().__init__()
        self._inos = count(1)
        self.limits = Limits()
        self.queues = 0
        self.charged: dict[int, int] = {}
        self.root = QueueDirectory(self)
        self.top = Mount(self, Dentry(b"/", None, self.root))
        """Of its own, outside of every namespace: mq_open(2) finds names there."""

    def root_dentry(self) -> Dentry:
        return self.top.root

    def new_ino(self) -> int:
        """Return the number for a new inode.  ENOSPC."""
        if memory_is_short():
            raise ENOSPC
        return next(self._inos)

    def charge(self, task: Task, maxmsg: int, msgsize: int) -> int:
        """Count one queue more, and return the bytes that it is charged with.  EMFILE, ENOSPC."""
        if self.queues >= self.limits.queues_max and not task.creds.has_capability(CAP_SYS_RESOURCE):
            raise ENOSPC
        cost = maxmsg * (msgsize + abi.MESSAGE_COST) + min(maxmsg, abi.MQ_PRIO_MAX) * abi.MESSAGE_COST
        uid = task.creds.uid
        charged = self.charged.get(uid, 0) + cost
        if charged > task.group.limit(RLIMIT_MSGQUEUE):
            raise EMFILE
        self.charged[uid] = charged
        self.queues += 1
        return cost

    def release(self, uid: int, cost: int) -> None:
        """Undo :meth:`charge`."""
        self.queues -= 1
        self.charged[uid] -= cost
        if not self.charged[uid]:
            del self.charged[uid]
