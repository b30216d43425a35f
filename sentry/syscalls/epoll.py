"""epoll_create(2), epoll_ctl(2), epoll_wait(2) and their variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EFAULT, EINTR, EINVAL, EPERM
from pysc.cabi.linux.poll import EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLL_EVENT
from pysc.sentry.fs.epoll import EpollFile
from pysc.sentry.kernel.scheduler import Interrupted, Reason, now, park
from pysc.sentry.syscalls.buffers import TASK_SIZE_MAX
from pysc.sentry.syscalls.descriptors import install
from pysc.sentry.syscalls.table import I32, U32, Addr, Fd, Size
from pysc.sentry.syscalls.waiting import Using, deadline_in, read_sigmask, use_sigmask

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

MAX_EVENTS: Final = ((1 << 31) - 1) // EPOLL_EVENT.size
AT_ONCE: Final = 4096
"""Reports of one call: they travel with the reply."""


def epoll_create1(task: Task, flags: U32) -> int:
    """epoll_create1(2)."""
    if flags & ~EPOLL_CLOEXEC:
        raise EINVAL
    return install(task, EpollFile(), cloexec=bool(flags))


def epoll_create(task: Task, size: I32) -> int:
    """epoll_create(2): the size is a hint that nobody takes."""
    if size <= 0:
        raise EINVAL
    return epoll_create1(task, 0)


async def epoll_ctl(task: Task, epfd: Fd, op: I32, fd: Fd, event: Addr) -> None:
    """epoll_ctl(2)."""
    events = data = 0
    if op != EPOLL_CTL_DEL:
        events, data = EPOLL_EVENT.unpack(await task.copy_in(event, EPOLL_EVENT.size))
    epoll = task.fds.get(epfd)
    file = task.fds.get(fd)
    if not file.queues():
        raise EPERM
    if file is epoll or not isinstance(epoll, EpollFile):
        raise EINVAL
    if op == EPOLL_CTL_ADD:
        epoll.add(fd, file, events, data)
    elif op == EPOLL_CTL_MOD:
        epoll.modify(fd, file, events, data)
    elif op == EPOLL_CTL_DEL:
        epoll.remove(fd, file)
    else:
        raise EINVAL


async def _wait(task: Task, epfd: int, events: int, maxevents: int, deadline: int | None) -> int:
    if not 0 < maxevents <= MAX_EVENTS:
        raise EINVAL
    if events > TASK_SIZE_MAX - maxevents * EPOLL_EVENT.size:
        raise EFAULT
    with Using(task, epfd) as epoll:
        if not isinstance(epoll, EpollFile):
            raise EINVAL
        while True:
            reports = epoll.collect(min(maxevents, AT_ONCE))
            if reports:
                task.put(events, b"".join(EPOLL_EVENT.pack(*report) for report in reports))
                return len(reports)
            if deadline is not None and deadline <= now():
                return 0
            epoll.watch()
            try:
                await park(epoll.wait, deadline=deadline)
            except Interrupted as interrupted:
                if interrupted.reason is Reason.SIGNAL:  # never restarted, whatever the handler wants
                    raise EINTR from None
                raise


async def epoll_wait(task: Task, epfd: Fd, events: Addr, maxevents: I32, timeout: I32) -> int:
    """epoll_wait(2): ``timeout`` in milliseconds, negative is forever."""
    deadline = None if timeout < 0 else task.deadline(timeout * 1_000_000)
    return await _wait(task, epfd, events, maxevents, deadline)


async def epoll_pwait(
    task: Task, epfd: Fd, events: Addr, maxevents: I32, timeout: I32, sigmask: Addr, sigsetsize: Size
) -> int:
    """epoll_pwait(2)."""
    use_sigmask(task, await read_sigmask(task, sigmask, sigsetsize))
    return await epoll_wait(task, epfd, events, maxevents, timeout)


async def epoll_pwait2(
    task: Task, epfd: Fd, events: Addr, maxevents: I32, timeout: Addr, sigmask: Addr, sigsetsize: Size
) -> int:
    """epoll_pwait2(2): the timeout is a struct timespec."""
    deadline = await deadline_in(task, timeout)
    use_sigmask(task, await read_sigmask(task, sigmask, sigsetsize))
    return await _wait(task, epfd, events, maxevents, deadline)
