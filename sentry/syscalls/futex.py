"""futex(2): the host's own futexes on the guest's own memory; priority inheritance is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.clock import SECOND, TIMESPEC
from pysc.cabi.linux.errors import EINVAL, ENOSYS, ETIMEDOUT
from pysc.cabi.linux.mman import MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.syscalls.table import I32, U32, U64, Addr, HostCall
from pysc.sentry.syscalls.waiting import timespec_ns

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

NR_FUTEX: Final = 202
NR_MMAP: Final = 9
FUTEX_WAIT: Final = 0
FUTEX_WAKE: Final = 1
FUTEX_REQUEUE: Final = 3
FUTEX_CMP_REQUEUE: Final = 4
FUTEX_WAKE_OP: Final = 5
FUTEX_WAIT_BITSET: Final = 9
FUTEX_WAKE_BITSET: Final = 10
FUTEX_PRIVATE: Final = 128
FUTEX_CLOCK_REALTIME: Final = 256
FUTEX_BITSET_MATCH_ANY: Final = 0xFFFF_FFFF

_CALLS: Final = frozenset({FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_BITSET})
SCRATCH_SIZE: Final = 1 << 16
_SLOT: Final = 16


async def futex(task: Task, uaddr: Addr, op: I32, val: U32, timeout: U64, uaddr2: Addr, val3: U32) -> int | HostCall:
    """Wait, wake, requeue.  Priority-inheriting operations are not implemented: ENOSYS."""
    command = op & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME)
    private = op & FUTEX_PRIVATE
    if op & FUTEX_CLOCK_REALTIME and command != FUTEX_WAIT_BITSET:
        raise ENOSYS
    if command in _CALLS:
        return HostCall(NR_FUTEX, (uaddr, op, val, timeout, uaddr2, val3))
    if command == FUTEX_WAKE_OP:
        return await task.thread.futex_wake_op(uaddr, op, val, timeout, uaddr2, val3)
    if command == FUTEX_WAIT_BITSET:
        if not val3:
            raise EINVAL
        if timeout:
            timespec_ns(await task.copy_in(timeout, TIMESPEC.size))
        return HostCall(NR_FUTEX, (uaddr, op, val, timeout, 0, val3))
    if command != FUTEX_WAIT:
        raise ENOSYS(f"futex operation {op:#x}")
    if not timeout:
        return HostCall(NR_FUTEX, (uaddr, FUTEX_WAIT | private, val, 0, 0, 0))
    first = task.record is None or task.record.deadline is None
    relative = timespec_ns(await task.copy_in(timeout, TIMESPEC.size))
    deadline = task.deadline(relative)
    if first:
        return HostCall(NR_FUTEX, (uaddr, FUTEX_WAIT | private, val, timeout, 0, 0))
    if deadline <= now():
        raise ETIMEDOUT
    address = await _absolute(task, deadline)
    arguments = (uaddr, FUTEX_WAIT_BITSET | private, val, address, 0, FUTEX_BITSET_MATCH_ANY)
    return HostCall(NR_FUTEX, arguments)


async def _absolute(task: Task, deadline: int) -> int:
    """Put the deadline of an interrupted wait where the thread's host call can read it; 16 bytes a thread."""
    memory = task.memory
    if not memory.scratch:
        flags = MAP_PRIVATE | MAP_ANONYMOUS
        result = await task.thread.host_call(
            NR_MMAP, 0, SCRATCH_SIZE, PROT_READ | PROT_WRITE, flags, 0xFFFF_FFFF_FFFF_FFFF, 0
        )
        if result < 0:
            raise ETIMEDOUT
        memory.scratch = result
    address = memory.scratch + task.tid * _SLOT % SCRATCH_SIZE
    await task.copy_out(address, TIMESPEC.pack(deadline // SECOND, deadline % SECOND))
    return address
