"""poll(2), ppoll(2), select(2), pselect6(2)."""

from __future__ import annotations

from collections.abc import Coroutine
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi.linux.clock import SECOND, TIMESPEC
from pysc.cabi.linux.errors import EBADF, EINVAL
from pysc.cabi.linux.poll import POLLFD, POLLNVAL, SELECT_EX, SELECT_IN, SELECT_OUT, UNASKED
from pysc.cabi.linux.resource import RLIMIT_NOFILE
from pysc.sentry.kernel.scheduler import Interrupted, Reason, WaitQueue, now, park, yield_now
from pysc.sentry.syscalls.table import I32, U32, Addr, Restart, Size, restarts
from pysc.sentry.syscalls.waiting import (
    TIMEVAL,
    UsingMany,
    deadline_in,
    read_sigmask,
    timespec_ns,
    timeval_ns,
    use_sigmask,
)

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task

_SELECT: Final = (SELECT_IN, SELECT_OUT, SELECT_EX)
YIELD_EVERY: Final = 256
SIGSET_ARGUMENT: Final = Struct("<QQ")

Asked = list[tuple[int, int]]
"""Descriptors and the events asked for."""


async def _wait_ready(task: Task, asked: Asked, deadline: int | None, unasked: int = UNASKED) -> list[int]:
    """Wait until one of ``asked`` is ready or the deadline has passed; return the events of each.

    ``unasked`` events count for every description.  What the numbers stand for at first is held, and is what wakes;
    further looks are at what they stand for by then, as in Linux.
    """
    interest = unasked
    for _, events in asked:
        interest |= events
    begun_again = task.record is not None and bool(task.record.files)
    with UsingMany(task) as using:
        found = {fd: using.take_if_open(fd) for fd, _ in asked}
        files = [file for file in found.values() if file is not None]
        known = None if begun_again else found
        while True:
            over = deadline is not None and deadline <= now()
            if over or not begun_again or any(file.poll() & interest for file in files):
                results = await _look(task, asked, unasked, known)
                if over or any(results):
                    return results
            known, begun_again = None, False
            queues: dict[WaitQueue, None] = {}
            for file in files:
                queues.update(dict.fromkeys(file.queues()))
            await park(*queues, deadline=deadline, events=interest)


async def _look(task: Task, asked: Asked, unasked: int, known: dict[int, FileDescription | None] | None) -> list[int]:
    """Return the events that there are now; ``known`` is what the numbers stand for, where that is known."""
    results = []
    for index, (fd, events) in enumerate(asked):
        if known is not None:
            file = known[fd]
        else:
            try:
                file = task.fds.get(fd)
            except EBADF:
                file = None
        results.append(POLLNVAL if file is None else file.poll() & (events | unasked))
        if index % YIELD_EVERY == YIELD_EVERY - 1:
            await yield_now()
    return results


# poll


async def _poll(task: Task, fds: int, nfds: int, deadline: int | None) -> int:
    if nfds > task.group.limit(RLIMIT_NOFILE):
        raise EINVAL
    data = await task.copy_in(fds, nfds * POLLFD.size) if nfds else b""
    requests = list(POLLFD.iter_unpack(data))
    asked = [(fd, events & 0xFFFF) for fd, events, _ in requests if fd >= 0]
    found = iter(await _wait_ready(task, asked, deadline))
    results = [next(found) if fd >= 0 else 0 for fd, _, _ in requests]
    if data:
        packed = b"".join(
            POLLFD.pack(fd, events, revents) for (fd, events, _), revents in zip(requests, results, strict=True)
        )
        await task.copy_out(fds, packed)
    return sum(map(bool, results))


@restarts(Restart.BLOCK)
async def poll(task: Task, fds: Addr, nfds: U32, timeout: I32) -> int:
    """poll(2): ``timeout`` in milliseconds, negative is forever."""
    deadline = None if timeout < 0 else task.deadline(timeout * 1_000_000)
    return await _poll(task, fds, nfds, deadline)


@restarts(Restart.NOHAND)
async def ppoll(task: Task, fds: Addr, nfds: U32, timeout: Addr, sigmask: Addr, sigsetsize: Size) -> int:
    """ppoll(2): the remaining time is written back, as Linux does."""
    deadline = await deadline_in(task, timeout)
    use_sigmask(task, await read_sigmask(task, sigmask, sigsetsize))
    return await _timed(task, _poll(task, fds, nfds, deadline), timeout, deadline, 1)


async def _timed(task: Task, call: Coroutine[Any, Any, int], address: int, deadline: int | None, unit: int) -> int:
    """Run ``call``, then write what is left of its time to a struct of seconds and ``unit`` nanoseconds."""
    try:
        result = await call
    except Interrupted as interrupted:
        if interrupted.reason is Reason.SIGNAL:
            _write_remaining(task, address, deadline, unit)
        raise
    _write_remaining(task, address, deadline, unit)
    return result


def _write_remaining(task: Task, address: int, deadline: int | None, unit: int) -> None:
    if deadline is not None:
        seconds, nanoseconds = divmod(max(0, deadline - now()), SECOND)
        task.put(address, TIMESPEC.pack(seconds, nanoseconds // unit))


# select


def _members(data: bytes) -> list[int]:
    """Return the numbers in an fd_set."""
    return [index * 8 + bit for index, byte in enumerate(data) if byte for bit in range(8) if byte >> bit & 1]


async def _select(task: Task, nfds: int, sets: tuple[int, int, int], deadline: int | None) -> int:
    if nfds < 0:
        raise EINVAL
    held = () if task.record is None else task.record.files
    highest = max((*task.fds, *held), default=-1) + 1
    # Linux looks at no more than its table holds, which has 64 places at least.
    nfds = min(nfds, max(64, -(-highest // 64) * 64))
    size = -(-nfds // 64) * 8
    asked: dict[int, int] = {}
    wanted: list[list[int]] = []
    for address, events in zip(sets, _SELECT, strict=True):
        members = _members(await task.copy_in(address, size)) if address and size else []
        wanted.append([fd for fd in members if fd < nfds])
        for fd in wanted[-1]:
            asked[fd] = asked.get(fd, 0) | events
    numbers = sorted(asked)
    for fd in numbers:
        if fd not in held:
            task.fds.get_raw(fd)  # EBADF
    results = dict(zip(numbers, await _wait_ready(task, [(fd, asked[fd]) for fd in numbers], deadline, 0), strict=True))
    count = 0
    for address, events, members in zip(sets, _SELECT, wanted, strict=True):
        if not address or not size:
            continue
        found = bytearray(size)
        for fd in members:
            if results[fd] & (events | POLLNVAL):
                found[fd // 8] |= 1 << fd % 8
                count += 1
        await task.copy_out(address, found)
    return count


@restarts(Restart.NOHAND)
async def select(task: Task, nfds: I32, readfds: Addr, writefds: Addr, exceptfds: Addr, timeout: Addr) -> int:
    """select(2): the remaining time is written back."""
    deadline = None
    if timeout:
        deadline = task.deadline(timeval_ns(await task.copy_in(timeout, TIMEVAL.size)))
    return await _timed(task, _select(task, nfds, (readfds, writefds, exceptfds), deadline), timeout, deadline, 1000)


@restarts(Restart.NOHAND)
async def pselect6(
    task: Task, nfds: I32, readfds: Addr, writefds: Addr, exceptfds: Addr, timeout: Addr, sigmask: Addr
) -> int:
    """pselect6(2): ``sigmask`` points to the address and the size of the set."""
    deadline = None
    if timeout:
        deadline = task.deadline(timespec_ns(await task.copy_in(timeout, TIMESPEC.size)))
    if sigmask:
        address, size = SIGSET_ARGUMENT.unpack(await task.copy_in(sigmask, SIGSET_ARGUMENT.size))
        use_sigmask(task, await read_sigmask(task, address, size))
    return await _timed(task, _select(task, nfds, (readfds, writefds, exceptfds), deadline), timeout, deadline, 1)
