"""Message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import ipc as abi
from pysc.cabi.linux.capability import CAP_SYS_RESOURCE
from pysc.cabi.linux.errors import EAGAIN, EIDRM, EINVAL, ENOMEM, ENOMSG, EPERM, linux_error
from pysc.cabi.linux.limits import INT_MAX
from pysc.cabi.objects import memory_is_short
from pysc.sentry.ipc.msg import Message, MessageQueue, Receiver, Wanted
from pysc.sentry.ipc.objects import READ, WRITE
from pysc.sentry.kernel.scheduler import Interrupted, park
from pysc.sentry.syscalls.buffers import give
from pysc.sentry.syscalls.ipc import obtain_own, put_status
from pysc.sentry.syscalls.table import I32, I64, U32, Addr, Restart, Size, restarts

if TYPE_CHECKING:
    from pysc.sentry.ipc.msg import MessageQueues
    from pysc.sentry.kernel.task import Task

TYPE_SIZE: Final = 8
"""Of the long that a struct msgbuf begins with."""


def msgget(task: Task, key: I32, msgflg: U32) -> int:
    """Return the id of the queue of a key, or of a new one.  EEXIST, ENOENT, EACCES, ENOSPC, ENOMEM."""
    return task.kernel.ipc.msg.get(key, msgflg, task.creds).id


@restarts(Restart.NOHAND)
async def msgsnd(task: Task, msqid: I32, msgp: Addr, msgsz: Size, msgflg: U32) -> int:
    """Send a message, once there is room for it.  EINVAL, EIDRM, EACCES, EAGAIN, EINTR, EFAULT, ENOMEM."""
    msg = task.kernel.ipc.msg
    type_ = int.from_bytes(await task.copy_in(msgp, TYPE_SIZE), "little", signed=True)
    if msgsz > msg.msgmax or msqid < 0 or type_ < 1:
        raise EINVAL
    data = await task.copy_in(msgp + TYPE_SIZE, msgsz) if msgsz else b""
    queue = msg.table.obtain_again(msqid, task.record)
    while True:
        queue.check(task.creds, WRITE)
        if queue.has_room(len(data)):
            break
        if msgflg & abi.IPC_NOWAIT:
            raise EAGAIN
        task.recorded().waited = True
        await park(queue.senders)
        if queue.removed:
            raise EIDRM
    if memory_is_short():
        raise ENOMEM("messages outlive processes")
    queue.send(Message(type_, data), task.group.tgid)
    return 0


@restarts(Restart.NOHAND)
async def msgrcv(task: Task, msqid: I32, msgp: Addr, msgsz: Size, msgtyp: I64, msgflg: U32) -> int:
    """Take a message, or with MSG_COPY look at one.  EINVAL, EIDRM, EACCES, ENOMSG, E2BIG, EINTR, EFAULT."""
    if msqid < 0 or msgsz >> 63:
        raise EINVAL
    if msgflg & abi.MSG_COPY and (msgflg & abi.MSG_EXCEPT or not msgflg & abi.IPC_NOWAIT):
        raise EINVAL
    queue = task.kernel.ipc.msg.table.obtain_again(msqid, task.record)
    message = await _receive(task, queue, Wanted(msgtyp, msgflg, msgsz))
    data = message.data[:msgsz]
    buffer = message.type.to_bytes(TYPE_SIZE, "little") + data
    await give(task, msgp, buffer)
    return len(data)


async def _receive(task: Task, queue: MessageQueue, wanted: Wanted) -> Message:
    while True:
        queue.check(task.creds, READ)
        found = queue.take(wanted, task.group.tgid)
        if found is not None:
            return found
        if wanted.flags & abi.IPC_NOWAIT:
            raise ENOMSG
        receiver = Receiver(wanted, task.group.tgid)
        queue.receivers[receiver] = None
        task.recorded().waited = True
        try:
            while receiver.waits:
                await park(receiver.queue)
        except Interrupted:
            if receiver.message is None:
                raise
        finally:
            queue.receivers.pop(receiver, None)
        if receiver.message is not None:
            return receiver.message
        if queue.removed or receiver.result != -EAGAIN.errno:
            raise EIDRM if queue.removed else linux_error(-receiver.result)


async def msgctl(task: Task, msqid: I32, cmd: I32, buf: Addr) -> int:
    """Look at a queue, or at all, change or remove one.  EINVAL, EIDRM, EACCES, EPERM, EFAULT."""
    msg = task.kernel.ipc.msg
    if msqid < 0:
        raise EINVAL
    if cmd in (abi.IPC_INFO, abi.MSG_INFO):
        return await _info(task, msg, buf, used=cmd == abi.MSG_INFO)
    if cmd in (abi.IPC_STAT, abi.MSG_STAT, abi.MSG_STAT_ANY):
        by_id, anybody = cmd == abi.IPC_STAT, cmd == abi.MSG_STAT_ANY
        return put_status(task, msg.table, msqid, buf, by_id=by_id, anybody=anybody)
    if cmd in (abi.IPC_SET, abi.IPC_RMID):
        size = abi.MSQID_DS.size if cmd == abi.IPC_SET else 0
        queue, status = await obtain_own(task, msg.table, msqid, buf, size)
        if cmd == abi.IPC_SET:
            _set(task, msg, queue, status)
        else:
            msg.remove(queue)
        return 0
    raise EINVAL


def _set(task: Task, msg: MessageQueues, queue: MessageQueue, status: bytes) -> None:
    permissions, *_, qbytes, _lspid, _lrpid = abi.MSQID_DS.unpack(status)
    if qbytes > msg.msgmnb and not task.creds.has_capability(CAP_SYS_RESOURCE):
        raise EPERM
    queue.set_permissions(permissions)
    queue.qbytes = qbytes
    queue.look_again()


async def _info(task: Task, msg: MessageQueues, address: int, *, used: bool) -> int:
    limit = msg.table.limit
    pool, messages, size = limit * abi.MSGMNB // 1024, abi.MSGMNB, abi.MSGMNB
    if used:
        pool, messages, size = len(msg.table), 0, 0
        async for queue in msg.table.walk():
            messages += len(queue.messages)
            size += queue.cbytes
    sizes = (msg.msgmax, msg.msgmnb, limit, abi.MSGSSZ)
    task.put(address, abi.MSGINFO.pack(pool, min(messages, INT_MAX), *sizes, min(size, INT_MAX), abi.MSGSEG))
    return msg.table.highest
