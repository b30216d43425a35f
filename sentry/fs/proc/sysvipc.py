"""/proc/sysvipc (proc_sysvipc(5)), the limits of it all in /proc/sys/kernel, and those of /proc/sys/fs/mqueue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pysc.cabi.linux.errors import EINVAL
from pysc.cabi.linux.ipc import IPCMNI, SEMOPM
from pysc.cabi.linux.limits import INT_MAX, PAGE
from pysc.cabi.linux.mqueue import HARD_MSGMAX, MIN_MSGSIZEMAX
from pysc.sentry.fs.proc.base import Factory, Source, number
from pysc.sentry.ipc.objects import MESSAGE_MOST

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pysc.sentry.ipc.msg import MessageQueue
    from pysc.sentry.ipc.namespace import IpcNamespace
    from pysc.sentry.ipc.objects import IpcObject, IpcTable
    from pysc.sentry.ipc.sem import SemaphoreSet
    from pysc.sentry.ipc.shm import Segment
    from pysc.sentry.kernel.task import Task

BOUNDS: Final = {
    "msgmax": MESSAGE_MOST,
    "msgmnb": INT_MAX,
    "msgmni": IPCMNI,
    "msg_next_id": INT_MAX,
    "semmni": IPCMNI,
    "semmns": INT_MAX,
    "semmsl": 32000,
    "semopm": SEMOPM,
    "sem_next_id": INT_MAX,
    "shmall": (1 << 64) - 1,
    "shmmax": (1 << 64) - 1,
    "shmmni": IPCMNI,
    "shm_next_id": INT_MAX,
}
OF_TABLES: Final = {"mni": "limit", "_next_id": "next"}
"""What stands in the table of a kind, by how the name ends."""


class Limits(Source):
    """A line of limits of the namespace's; what is written may have fewer of them."""

    __slots__ = ("_names",)

    def __init__(self, *names: str) -> None:
        super().__init__(writable=True)
        self._names = names

    def text(self, reader: Task) -> bytes:
        holders = [_holder(reader.kernel.ipc, name) for name in self._names]
        return b"\t".join(b"%d" % getattr(holder, name) for holder, name in holders) + b"\n"

    def change(self, writer: Task, data: bytes) -> None:
        words = data.split()
        if not words or len(words) > len(self._names):
            raise EINVAL
        values = [number(word, 0, BOUNDS[name]) for word, name in zip(words, self._names, strict=False)]
        for value, name in zip(values, self._names, strict=False):
            holder, attribute = _holder(writer.kernel.ipc, name)
            setattr(holder, attribute, value)


def _holder(ipc: IpcNamespace, name: str) -> tuple[object, str]:
    """Return what has a limit, and the name of its attribute."""
    kind: Any = getattr(ipc, name[:3])
    attribute = OF_TABLES.get(name[3:])
    return (kind, name) if attribute is None else (kind.table, attribute)


QUEUE_BOUNDS: Final = {
    "msg_default": (1, HARD_MSGMAX),
    "msg_max": (1, HARD_MSGMAX),
    "msgsize_default": (MIN_MSGSIZEMAX, MESSAGE_MOST),
    "msgsize_max": (MIN_MSGSIZEMAX, MESSAGE_MOST),
    "queues_max": (0, INT_MAX),
}


class QueueLimit(Source):
    """A limit of POSIX message queues (mq_overview(7))."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__(writable=True)
        self._name = name

    def text(self, reader: Task) -> bytes:
        return b"%d\n" % getattr(reader.kernel.ipc.mqueue.limits, self._name)

    def change(self, writer: Task, data: bytes) -> None:
        setattr(writer.kernel.ipc.mqueue.limits, self._name, number(data, *QUEUE_BOUNDS[self._name]))


class Listing(Source):
    """A line for each object of a kind."""

    __slots__ = ()

    head: bytes

    def table(self, ipc: IpcNamespace) -> IpcTable[Any]:
        """Return the objects."""
        raise NotImplementedError

    def line(self, one: Any) -> bytes:
        """Return what is said of one."""
        raise NotImplementedError

    def text(self, reader: Task) -> Coroutine[Any, Any, bytes]:
        return self._lines(reader.kernel.ipc)

    async def _lines(self, ipc: IpcNamespace) -> bytes:
        lines = [self.line(one) async for one in self.table(ipc).walk()]
        return self.head + b"".join(lines)


def _owners(one: IpcObject) -> tuple[int, int, int, int]:
    return one.uid, one.gid, one.cuid, one.cgid


class Queues(Listing):
    """/proc/sysvipc/msg."""

    __slots__ = ()

    head = (
        b"       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime"
        b"      ctime\n"
    )

    def table(self, ipc: IpcNamespace) -> IpcTable[MessageQueue]:
        return ipc.msg.table

    def line(self, one: MessageQueue) -> bytes:
        name = (one.key, one.id, one.mode, one.cbytes, len(one.messages), one.lspid, one.lrpid)
        return b"%10d %10d  %4o  %10d %10d %5d %5d %5d %5d %5d %5d %10d %10d %10d\n" % (
            *name,
            *_owners(one),
            one.stime,
            one.rtime,
            one.ctime,
        )


class Sets(Listing):
    """/proc/sysvipc/sem."""

    __slots__ = ()

    head = b"       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"

    def table(self, ipc: IpcNamespace) -> IpcTable[SemaphoreSet]:
        return ipc.sem.table

    def line(self, one: SemaphoreSet) -> bytes:
        name = (one.key, one.id, one.mode, len(one.values))
        return b"%10d %10d  %4o %10d %5d %5d %5d %5d %10d %10d\n" % (*name, *_owners(one), one.otime, one.ctime)


class Segments(Listing):
    """/proc/sysvipc/shm."""

    __slots__ = ()

    head = (
        b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime"
        b"      dtime      ctime                   rss                  swap\n"
    )

    def table(self, ipc: IpcNamespace) -> IpcTable[Segment]:
        return ipc.shm.table

    def line(self, one: Segment) -> bytes:
        name = (one.key, one.id, one.mode, one.size, one.cpid, one.lpid, one.attached)
        times = (one.atime, one.dtime, one.ctime)
        stored = one.contents.stored // PAGE * PAGE
        return b"%10d %10d  %4o %21d %5d %5d  %5d %5d %5d %5d %5d %10d %10d %10d %21d %21d\n" % (
            *name,
            *_owners(one),
            *times,
            stored,
            0,
        )


SYSVIPC: Final[dict[bytes, Factory]] = {b"msg": Queues(), b"sem": Sets(), b"shm": Segments()}
