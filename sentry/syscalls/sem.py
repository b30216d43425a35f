"""Semaphores: semget(2), semop(2), semtimedop(2), semctl(2)."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from pysc.cabi.linux import ipc as abi
from pysc.cabi.linux.clock import TIMESPEC
from pysc.cabi.linux.errors import E2BIG, EAGAIN, EFBIG, EINTR, EINVAL, ERANGE, linux_error
from pysc.sentry.ipc.objects import READ, WRITE
from pysc.sentry.ipc.sem import VALUE_SIZE, Operations, SemaphoreSet, UndoList, Waiting
from pysc.sentry.kernel.scheduler import Interrupted, Reason, park
from pysc.sentry.syscalls.ipc import obtain_own, put_status
from pysc.sentry.syscalls.table import I32, U32, U64, Addr
from pysc.sentry.syscalls.waiting import timespec_ns

if TYPE_CHECKING:
    from pysc.sentry.ipc.sem import Semaphores
    from pysc.sentry.kernel.task import Task

_OF_ONE = frozenset({abi.GETVAL, abi.GETPID, abi.GETNCNT, abi.GETZCNT})


def semget(task: Task, key: I32, nsems: I32, semflg: U32) -> int:
    """Return the id of the set of a key, or of a new one.  EINVAL, EEXIST, ENOENT, EACCES, ENOSPC, ENOMEM."""
    return task.kernel.ipc.sem.get(key, nsems, semflg, task.creds).id


async def semop(task: Task, semid: I32, sops: Addr, nsops: U32) -> int:
    """Carry out operations, all or none, once that is possible.  E2BIG, EFBIG, EACCES, EAGAIN, EIDRM, EINTR, ERANGE."""
    return await semtimedop(task, semid, sops, nsops, 0)


async def semtimedop(task: Task, semid: I32, sops: Addr, nsops: U32, timeout: Addr) -> int:
    """As semop(2), and wait no longer than a struct timespec says: EAGAIN."""
    wanted = task.take_place()
    if isinstance(wanted, Waiting):  # begun again, where it has waited
        deadline = task.recorded().deadline
    else:
        relative = timespec_ns(await task.copy_in(timeout, TIMESPEC.size)) if timeout else None
        wanted = await _prepare(task, semid, sops, nsops)
        if wanted.semaphores.attempt(wanted):
            wanted.semaphores.settle(task.kernel)
            return 0
        wanted.semaphores.wait(wanted)
        deadline = None if relative is None else task.deadline(relative)
    await _wait(task, wanted, deadline)
    if wanted.result:
        raise linux_error(-wanted.result)
    return 0


async def _prepare(task: Task, semid: int, sops: int, nsops: int) -> Waiting:
    sem = task.kernel.ipc.sem
    if nsops > sem.semopm:
        raise E2BIG
    if not nsops or semid < 0:
        raise EINVAL
    operations: Operations = tuple(abi.SEMBUF.iter_unpack(await task.copy_in(sops, nsops * abi.SEMBUF.size)))
    known = sem.table.obtain(semid)
    if max(number for number, _change, _flags in operations) >= len(known.values):
        raise EFBIG
    known.check(task.creds, WRITE if any(change for _number, change, _flags in operations) else READ)
    undoes = any(change and flags & abi.SEM_UNDO for _number, change, flags in operations)
    if undoes and task.undo is None:
        task.undo = UndoList()
    return Waiting(known, operations, task.group.tgid, task.undo if undoes else None)


async def _wait(task: Task, wanted: Waiting, deadline: int | None) -> None:
    """Wait for the result, which others bring about.  EAGAIN, EINTR, Interrupted."""
    try:
        while wanted.result is None:
            if not await park(wanted.queue, deadline=deadline) and wanted.result is None:
                wanted.end(-EAGAIN.errno)
    except Interrupted as interrupted:
        if wanted.result is not None:  # it was done before
            return
        if interrupted.reason is Reason.FREEZE:
            task.recorded().place = wanted
            raise
        wanted.leave()
        if interrupted.reason is Reason.SIGNAL:  # never restarted, whatever the handler wants
            raise EINTR from None
        raise
    wanted.leave()


async def semctl(task: Task, semid: I32, semnum: I32, cmd: I32, arg: U64) -> int:
    """Look at a set or a semaphore, set values, change or remove one.  EINVAL, EIDRM, EACCES, EPERM, EFAULT, ERANGE."""
    sem = task.kernel.ipc.sem
    if semid < 0:
        raise EINVAL
    if cmd in (abi.IPC_INFO, abi.SEM_INFO):
        return _info(task, sem, arg, used=cmd == abi.SEM_INFO)
    if cmd in (abi.IPC_STAT, abi.SEM_STAT, abi.SEM_STAT_ANY):
        by_id, anybody = cmd == abi.IPC_STAT, cmd == abi.SEM_STAT_ANY
        return put_status(task, sem.table, semid, arg, by_id=by_id, anybody=anybody)
    if cmd == abi.SETVAL:
        value = (arg & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)
        if not 0 <= value <= abi.SEMVMX:
            raise ERANGE
        known = sem.table.obtain(semid)
        if not 0 <= semnum < len(known.values):
            raise EINVAL
        known.check(task.creds, WRITE)
        known.assign(semnum, value, task.group.tgid)
        known.settle(task.kernel)
        return 0
    if cmd in (abi.GETALL, abi.SETALL):
        await _all_values(task, sem.table.obtain(semid), semid, arg, assign=cmd == abi.SETALL)
        return 0
    if cmd in _OF_ONE:
        known = sem.table.obtain(semid)
        known.check(task.creds, READ)
        if not 0 <= semnum < len(known.values):
            raise EINVAL
        if cmd == abi.GETVAL:
            return known.values[semnum]
        if cmd == abi.GETPID:
            return known.pids[semnum]
        return known.count_waiting(semnum, for_zero=cmd == abi.GETZCNT)
    if cmd in (abi.IPC_SET, abi.IPC_RMID):
        size = abi.SEMID_DS.size if cmd == abi.IPC_SET else 0
        known, status = await obtain_own(task, sem.table, semid, arg, size)
        if cmd == abi.IPC_SET:
            known.set_permissions(status[: abi.IPC_PERM.size])
        else:
            sem.remove(known)
        return 0
    raise EINVAL


def _info(task: Task, sem: Semaphores, address: int, *, used: bool) -> int:
    own = (len(sem.table), sem.count) if used else (abi.SEMUSZ, abi.SEMAEM)
    limits = (abi.SEMMNS, sem.table.limit, sem.semmns, abi.SEMMNS, sem.semmsl, sem.semopm, abi.SEMOPM)
    task.put(address, abi.SEMINFO.pack(*limits, own[0], abi.SEMVMX, own[1]))
    return sem.table.highest


async def _all_values(task: Task, known: SemaphoreSet, semid: int, address: int, *, assign: bool) -> None:
    known.check(task.creds, WRITE if assign else READ)
    if not assign:
        await task.copy_out(address, known.values.tobytes())
        return
    values = array("H", await task.copy_in(address, VALUE_SIZE * len(known.values)))
    if max(values) > abi.SEMVMX:
        raise ERANGE
    task.kernel.ipc.sem.table.obtain(semid)  # it may be gone by now
    known.assign_all(values, task.group.tgid)
    known.settle(task.kernel)
