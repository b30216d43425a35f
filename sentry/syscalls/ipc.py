"""What shmctl(2), semctl(2) and msgctl(2) do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pysc.sentry.ipc.objects import READ, IpcObject

if TYPE_CHECKING:
    from pysc.sentry.ipc.objects import IpcTable
    from pysc.sentry.kernel.task import Task

T = TypeVar("T", bound=IpcObject)


def put_status(task: Task, table: IpcTable[T], number: int, address: int, *, by_id: bool, anybody: bool) -> int:
    """Tell of the object that has an id, or else an index (SHM_STAT and its kin), which is its id then.

    ``anybody`` may ask (SHM_STAT_ANY and its kin).  EINVAL, EIDRM, EACCES.
    """
    known = table.obtain(number) if by_id else table.at(number)
    if not anybody:
        known.check(task.creds, READ)
    task.put(address, known.status())
    return 0 if by_id else known.id


async def obtain_own(task: Task, table: IpcTable[T], number: int, address: int, size: int) -> tuple[T, bytes]:
    """Return an object that is the caller's to change, and what to: as many bytes, none to remove it (IPC_RMID).

    EFAULT, EINVAL, EIDRM, EPERM.
    """
    wanted = await task.copy_in(address, size) if size else b""
    known = table.obtain(number)
    known.check_owner(task.creds)
    return known, wanted
