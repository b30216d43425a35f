"""POSIX message queues: mq_open(2), mq_unlink(2), mq_timedsend(2), mq_timedreceive(2) …, of mq_overview(7)."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import mqueue as abi
from pysc.cabi.linux.clock import SECOND, SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEVENT, SIGEVENT_SIZE, TIMESPEC
from pysc.cabi.linux.errors import (
    EACCES,
    EAGAIN,
    EBADF,
    EBUSY,
    EEXIST,
    EINVAL,
    EMSGSIZE,
    ENAMETOOLONG,
    ENOENT,
    ENOMEM,
    EROFS,
    ETIMEDOUT,
)
from pysc.cabi.linux.fcntl import O_ACCMODE, O_CLOEXEC, O_CREAT, O_EXCL, O_NONBLOCK
from pysc.cabi.linux.limits import NAME_MAX
from pysc.cabi.linux.signals import NSIG
from pysc.cabi.linux.stat import PERMISSIONS
from pysc.cabi.objects import memory_is_short
from pysc.sentry.fs import notify
from pysc.sentry.fs.inode import Owner, clock
from pysc.sentry.fs.namei import remove_last
from pysc.sentry.fs.path import Dentry
from pysc.sentry.fs.path import Path as Place
from pysc.sentry.fs.permissions import MAY_EXEC, MAY_READ, MAY_WRITE, check
from pysc.sentry.fs.walk import Last, look_up_locked
from pysc.sentry.ipc.mqueue import Notification, QueueFile, Waiter
from pysc.sentry.kernel.scheduler import Interrupted, Reason, now, park
from pysc.sentry.syscalls.buffers import give
from pysc.sentry.syscalls.descriptors import check_room, install
from pysc.sentry.syscalls.socket import socket_of
from pysc.sentry.syscalls.table import U32, Addr, Fd, Mode, Path, Size
from pysc.sentry.syscalls.waiting import timespec_ns

if TYPE_CHECKING:
    from pysc.sentry.ipc.mqueue import Mqueue
    from pysc.sentry.kernel.task import Task

PRIORITY_SIZE: Final = 4
_KEPT: Final = O_ACCMODE | O_NONBLOCK | O_CLOEXEC
_WANTED: Final = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE)


async def mq_open(task: Task, name: Path, oflag: U32, mode: Mode, attr: Addr) -> int:
    """Open a queue, and make it with O_CREAT.

    EACCES, EEXIST, EINVAL, EMFILE (descriptors, or RLIMIT_MSGQUEUE), ENAMETOOLONG, ENFILE, ENOENT, ENOSPC, EFAULT.
    """
    wanted = None
    if attr:
        _flags, *sizes, _curmsgs = abi.MQ_ATTR.unpack(await task.copy_in(attr, abi.MQ_ATTR.size))
        wanted = (sizes[0], sizes[1])
    if not name:
        raise ENOENT
    check_room(task)
    mqueue = task.kernel.ipc.mqueue
    root = mqueue.top.root
    async with root.inode.mutex:
        _check_name(task, mqueue, name)
        try:
            dentry = await look_up_locked(root, name)
        except ENOENT:
            if not oflag & O_CREAT:
                raise
            dentry = _make(task, mqueue, name, mode, wanted)
        else:
            if oflag & O_CREAT and oflag & O_EXCL:
                raise EEXIST
            if oflag & O_ACCMODE == O_ACCMODE:
                raise EINVAL
            check(task.creds, dentry.inode, _WANTED[oflag & O_ACCMODE])
    file = await dentry.inode.open(task, Place(mqueue.top, dentry), oflag & _KEPT)
    assert file is not None
    notify.announce(dentry, notify.IN_OPEN)
    return install(task, file, cloexec=True)


def _check_name(task: Task, mqueue: Mqueue, name: bytes) -> None:
    if name in (b".", b"..") or b"/" in name:
        raise EACCES
    check(task.creds, mqueue.root, MAY_EXEC)
    if len(name) > NAME_MAX:
        raise ENAMETOOLONG


def _make(task: Task, mqueue: Mqueue, name: bytes, mode: int, wanted: tuple[int, int] | None) -> Dentry:
    if mqueue.top.readonly:
        raise EROFS
    check(task.creds, mqueue.root, MAY_WRITE | MAY_EXEC)
    owner = Owner(task.creds.fsuid, task.creds.fsgid)
    queue = mqueue.root.make(task, name, mode & PERMISSIONS & ~task.fs.umask, owner, wanted)
    dentry = mqueue.top.root.add(name, queue)
    notify.created(mqueue.top.root, dentry)
    return dentry


async def mq_unlink(task: Task, name: Path) -> None:
    """Take the name away; the queue goes with its last descriptor.  EACCES, EPERM, ENOENT, ENAMETOOLONG."""
    if not name:
        raise ENOENT
    mqueue = task.kernel.ipc.mqueue
    _check_name(task, mqueue, name)
    await remove_last(task, Last(mqueue.top, mqueue.top.root, name, slash=False))


def _file(task: Task, mqdes: int) -> QueueFile:
    """Return an open queue (borrowed).  EBADF."""
    file = task.fds.get(mqdes)
    if not isinstance(file, QueueFile):
        raise EBADF
    return file


async def _end_of(task: Task, address: int) -> int | None:
    """Read when to give up, on CLOCK_REALTIME; None is never.  EFAULT, EINVAL, whether it is needed or not."""
    return timespec_ns(await task.copy_in(address, TIMESPEC.size)) if address else None


async def _wait(task: Task, waiter: Waiter) -> None:
    """Wait for one's turn, no longer than the record says.  ETIMEDOUT."""
    record = task.recorded()
    try:
        while not waiter.done:
            if record.deadline is None:
                await park(waiter.queue)
                continue
            left = record.deadline - time_ns()
            if left <= 0:
                raise ETIMEDOUT
            await park(waiter.queue, deadline=now() + min(left, SECOND))
    except (Interrupted, ETIMEDOUT) as error:
        if waiter.done:
            return
        if isinstance(error, Interrupted) and error.reason is Reason.FREEZE:
            record.place = waiter
        else:
            waiter.leave()
        raise


async def mq_timedsend(task: Task, mqdes: Fd, msg_ptr: Addr, msg_len: Size, msg_prio: U32, abs_timeout: Addr) -> None:
    """Send a message, once there is room for it.  EAGAIN, EBADF, EINTR, EINVAL, EMSGSIZE, ETIMEDOUT, EFAULT, ENOMEM."""
    waiter = task.take_place()
    if isinstance(waiter, Waiter):  # begun again, where it has waited
        await _wait(task, waiter)
        return
    end = await _end_of(task, abs_timeout)
    if msg_prio >= abi.MQ_PRIO_MAX:
        raise EINVAL
    file = _file(task, mqdes)
    if not file.writable:
        raise EBADF
    queue = file.queue
    if msg_len > queue.msgsize:
        raise EMSGSIZE
    file.get()
    try:
        data = await task.copy_in(msg_ptr, msg_len) if msg_len else b""
        if memory_is_short():
            raise ENOMEM("messages outlive processes")
        if not queue.full:
            queue.send(data, msg_prio, task)
        elif file.nonblock:
            raise EAGAIN
        else:
            task.recorded().deadline = end
            await _wait(task, Waiter(task, queue.senders, data, msg_prio))
    finally:
        file.put()


async def mq_timedreceive(
    task: Task, mqdes: Fd, msg_ptr: Addr, msg_len: Size, msg_prio: Addr, abs_timeout: Addr
) -> int:
    """Take the oldest of the most urgent messages, once there is one.

    EAGAIN, EBADF, EINTR, EINVAL, EMSGSIZE (there might be a longer one), ETIMEDOUT, EFAULT (the message is lost).
    """
    waiter = task.take_place()
    if isinstance(waiter, Waiter):  # begun again, where it has waited
        await _wait(task, waiter)
        data, priority = waiter.data, waiter.priority
    else:
        data, priority = await _receive(task, mqdes, msg_len, await _end_of(task, abs_timeout))
    if msg_prio:
        task.put(msg_prio, priority.to_bytes(PRIORITY_SIZE, "little"))
    if data:
        await give(task, msg_ptr, data, spent=PRIORITY_SIZE)
    return len(data)


async def _receive(task: Task, mqdes: int, size: int, end: int | None) -> tuple[bytes, int]:
    file = _file(task, mqdes)
    if not file.readable:
        raise EBADF
    queue = file.queue
    if size < queue.msgsize:
        raise EMSGSIZE
    if queue.messages:
        return queue.take()
    if file.nonblock:
        raise EAGAIN
    task.recorded().deadline = end
    waiter = Waiter(task, queue.receivers)
    file.get()
    try:
        await _wait(task, waiter)
    finally:
        file.put()
    return waiter.data, waiter.priority


async def mq_notify(task: Task, mqdes: Fd, notification: Addr) -> None:
    """Be told once that there is a message in the queue, which was empty; or, without ``notification``, no more.

    EBADF, EBUSY (somebody is already), EINVAL, EFAULT; ENOTSOCK: what SIGEV_THREAD would be told by.
    """
    value = signo = how = 0
    if notification:
        value, signo, how, _tid = SIGEVENT.unpack_from(await task.copy_in(notification, SIGEVENT_SIZE))
        if how not in (SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD) or (how == SIGEV_SIGNAL and not 0 <= signo <= NSIG):
            raise EINVAL
        if how == SIGEV_THREAD:
            await task.copy_in(value, abi.NOTIFY_COOKIE_LEN)
            socket_of(task, signo)
            raise EINVAL("no netlink socket")
    queue = _file(task, mqdes).queue
    if not notification:
        queue.forget(task.group)
        return
    if queue.notification is not None:
        raise EBUSY
    queue.notification = Notification(task.group, task.group.exec_id, how, signo, value)
    queue.atime = queue.ctime = clock()


async def mq_getsetattr(task: Task, mqdes: Fd, new: Addr, old: Addr) -> None:
    """Say what a queue is like, and change whether its description waits (O_NONBLOCK).  EBADF, EINVAL, EFAULT."""
    flags = 0
    if new:
        flags, *_ignored = abi.MQ_ATTR.unpack(await task.copy_in(new, abi.MQ_ATTR.size))
        if flags & ~O_NONBLOCK:
            raise EINVAL
    file = _file(task, mqdes)
    queue = file.queue
    shown = abi.MQ_ATTR.pack(file.flags & O_NONBLOCK, queue.maxmsg, queue.msgsize, len(queue.messages))
    if new:
        file.flags = file.flags & ~O_NONBLOCK | flags
        queue.atime = queue.ctime = clock()
    if old:
        task.put(old, shown)
