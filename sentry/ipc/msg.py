"""Message queues: messages in order, and who waits for one or for room.

As in Linux, a message goes at once to the first that waits for such a one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from pysc.cabi.linux.errors import E2BIG, EAGAIN, EIDRM
from pysc.cabi.linux.ipc import MSG_COPY, MSG_EXCEPT, MSG_NOERROR, MSGMAX, MSGMNB, MSGMNI, MSQID_DS
from pysc.sentry.ipc.objects import IpcObject, IpcTable, seconds
from pysc.sentry.kernel.scheduler import WaitQueue

if TYPE_CHECKING:
    from pysc.sentry.kernel.credentials import Credentials

MESSAGES_MOST: Final = MSGMNB
"""Of one queue, however many bytes it may have: they are searched one by one."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """What was sent."""

    type: int
    data: bytes


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """Which messages a msgrcv(2) takes, and how much of one."""

    type: int
    flags: int
    most: int

    def takes(self, message: Message) -> bool:
        """Whether it is such a one."""
        if not self.type:
            return True
        if self.type < 0:
            return message.type <= -self.type
        return (message.type != self.type) is bool(self.flags & MSG_EXCEPT)

    def fits(self, message: Message) -> bool:
        """Whether it is short enough, or may be cut."""
        return len(message.data) <= self.most or bool(self.flags & MSG_NOERROR)


class Receiver:
    """A msgrcv(2) that waits."""

    __slots__ = ("message", "pid", "queue", "result", "wanted")

    def __init__(self, wanted: Wanted, pid: int) -> None:
        self.wanted = wanted
        self.pid = pid
        self.message: Message | None = None
        """What it has been given."""
        self.result = 0
        """Negative: the errno of why it gets none; that of EAGAIN: it is to look again."""
        self.queue = WaitQueue()
        """Woken when there is either."""

    @property
    def waits(self) -> bool:
        """Whether there is neither yet."""
        return self.message is None and not self.result

    def end(self, result: int) -> None:
        """Let it go on, maybe to an error."""
        self.result = result
        self.queue.wake_all()


class MessageQueue(IpcObject):
    """Invariant: ``cbytes`` is how many bytes the messages have."""

    __slots__ = ("cbytes", "lrpid", "lspid", "messages", "qbytes", "receivers", "rtime", "senders", "stime")

    def __init__(self, key: int, qbytes: int, flags: int, creds: Credentials) -> None:
        super().__init__(key, flags, creds)
        self.messages: deque[Message] = deque()
        self.cbytes = 0
        self.qbytes = qbytes
        """How many there may be, and how many messages."""
        self.stime = self.rtime = 0
        self.lspid = self.lrpid = 0
        self.receivers: dict[Receiver, None] = {}
        """In order of arrival."""
        self.senders = WaitQueue()
        """Woken when there may be room."""

    def status(self) -> bytes:
        """Return its struct msqid_ds."""
        times = (self.stime, self.rtime, self.ctime)
        sizes = (self.cbytes, len(self.messages), self.qbytes)
        return MSQID_DS.pack(self.permissions(), *times, *sizes, self.lspid, self.lrpid)

    def has_room(self, size: int) -> bool:
        """Whether another message may be kept."""
        return self.cbytes + size <= self.qbytes and len(self.messages) < min(self.qbytes, MESSAGES_MOST)

    def send(self, message: Message, pid: int) -> None:
        """Give a message to who waits for it, or keep it."""
        self.lspid, self.stime = pid, seconds()
        for receiver in list(self.receivers):
            if not receiver.wanted.takes(message):
                continue
            del self.receivers[receiver]
            if receiver.wanted.fits(message):
                receiver.message = message
                self.lrpid, self.rtime = receiver.pid, seconds()
                receiver.end(0)
                return
            receiver.end(-E2BIG.errno)
        self.messages.append(message)
        self.cbytes += len(message.data)

    def take(self, wanted: Wanted, pid: int) -> Message | None:
        """Return the message that is wanted, which with MSG_COPY stays; None: there is none.  E2BIG."""
        if wanted.flags & MSG_COPY:
            known = 0 <= wanted.type < len(self.messages)
            found = self.messages[wanted.type] if known else None
        elif wanted.type < 0:
            found = min((one for one in self.messages if wanted.takes(one)), key=lambda one: one.type, default=None)
        else:
            found = next((one for one in self.messages if wanted.takes(one)), None)
        if found is None:
            return None
        if not wanted.fits(found):
            raise E2BIG
        if not wanted.flags & MSG_COPY:
            self._remove(found)
            self.cbytes -= len(found.data)
            self.lrpid, self.rtime = pid, seconds()
            self.senders.wake_all()
        return found

    def _remove(self, message: Message) -> None:
        for index, other in enumerate(self.messages):
            if other is message:
                del self.messages[index]
                return

    def look_again(self) -> None:
        """Permissions, or the room, have changed: all who wait find out what that is to them."""
        for receiver in self.receivers:
            receiver.end(-EAGAIN.errno)
        self.receivers.clear()
        self.senders.wake_all()

    def break_off(self) -> None:
        """It is gone, and its messages."""
        for receiver in self.receivers:
            receiver.end(-EIDRM.errno)
        self.receivers.clear()
        self.messages.clear()
        self.senders.wake_all()


class MessageQueues:
    """The queues of a namespace, and their limits (proc_sys_kernel(5))."""

    __slots__ = ("msgmax", "msgmnb", "table")

    def __init__(self) -> None:
        self.table: IpcTable[MessageQueue] = IpcTable(MSGMNI)
        self.msgmax = MSGMAX
        """Bytes of a message."""
        self.msgmnb = MSGMNB
        """Bytes of a new queue."""

    def get(self, key: int, flags: int, creds: Credentials) -> MessageQueue:
        """Do what msgget(2) does.  EEXIST, ENOENT, EACCES, ENOSPC, ENOMEM."""
        found = self.table.find(key, flags)
        if found is not None:
            found.check(creds, flags)
            return found
        self.table.check_room()
        made = MessageQueue(key, self.msgmnb, flags, creds)
        self.table.add(made)
        return made

    def remove(self, known: MessageQueue) -> None:
        """Remove one; who waits for it gets EIDRM."""
        self.table.remove(known)
        known.break_off()
