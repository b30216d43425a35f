"""process_vm_readv(2), process_vm_writev(2): memory of another process, moved by workers, which it can stall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import EFAULT, EINVAL, ENOSYS, EPERM, ESRCH, LinuxError
from pysc.sentry.kernel.ptrace import may_attach
from pysc.sentry.platform.interface import LIMIT, TASK_SIZE
from pysc.sentry.syscalls.buffers import STEP, Range, gather, part, scatter, total, vector
from pysc.sentry.syscalls.table import U64, Addr, Pid, Size

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.workers import WorkerClient


async def process_vm_readv(
    task: Task, pid: Pid, local: Addr, local_count: Size, remote: Addr, remote_count: Size, flags: U64
) -> int:
    """Copy from another process to this one.  EINVAL, EFAULT, ESRCH, EPERM."""
    ours, theirs, other = await _sides(task, pid, local, local_count, remote, remote_count, flags)
    return await _move(task, other, ours, theirs, write=False)


async def process_vm_writev(
    task: Task, pid: Pid, local: Addr, local_count: Size, remote: Addr, remote_count: Size, flags: U64
) -> int:
    """Copy from this process to another one.  EINVAL, EFAULT, ESRCH, EPERM."""
    ours, theirs, other = await _sides(task, pid, local, local_count, remote, remote_count, flags)
    return await _move(task, other, ours, theirs, write=True)


async def _sides(
    task: Task, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int
) -> tuple[list[Range], list[Range], Task]:
    if flags:
        raise EINVAL
    ours = await vector(task, local, local_count)
    if not total(ours):
        return [], [], task
    theirs = await vector(task, remote, remote_count, foreign=True)
    if not total(theirs):
        return [], [], task
    other = task.kernel.tasks.get(pid)
    if other is None:
        raise ESRCH
    if other is not task and not may_attach(task, other):
        raise EPERM
    return ours, theirs, other


async def _move(task: Task, other: Task, ours: list[Range], theirs: list[Range], *, write: bool) -> int:
    done, size = 0, min(total(ours), total(theirs))
    while done < size:
        address, step = part(theirs, done, min(size - done, STEP))[0]
        try:
            if write:
                data = await gather(task, ours, done, step, partial=True)
                moved = await _write(task, other, address, data)
            else:
                data = await _read(task, other, address, step)
                moved = await scatter(task, ours, done, data, last=False)
        except LinuxError:
            if done:
                break
            raise
        done += moved
        if moved < step:
            break
    return done


async def _host_pid(other: Task, address: int, size: int) -> int:
    """Return the host process that has the memory.  EFAULT: no guest's address; ESRCH: it has ended."""
    if address < LIMIT or address + size > TASK_SIZE:
        raise EFAULT
    await other.memory.space.begun()
    if other.memory.ended:
        raise ESRCH
    return other.memory.space.host_pid


async def _read(task: Task, other: Task, address: int, size: int) -> bytes:
    if other.memory is task.memory:
        return await task.copy_in(address, size)
    pid = await _host_pid(other, address, size)
    data: bytes = await _workers(task).vm_read(pid, address, size)
    if other.memory.ended:
        raise ESRCH
    return data


async def _write(task: Task, other: Task, address: int, data: bytes) -> int:
    if other.memory is task.memory:
        await task.copy_out(address, data)
        return len(data)
    pid = await _host_pid(other, address, len(data))
    written: int = await _workers(task).vm_write(pid, address, data)
    return written


def _workers(task: Task) -> WorkerClient:
    workers: WorkerClient | None = task.kernel.workers
    if workers is None:
        raise ENOSYS
    return workers
