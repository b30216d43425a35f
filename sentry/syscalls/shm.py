"""Shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux import ipc as abi
from pysc.cabi.linux import mman
from pysc.cabi.linux.capability import CAP_IPC_LOCK
from pysc.cabi.linux.errors import EEXIST, EINVAL, EMFILE, ENOMEM, EPERM, answered_by_host, linux_error
from pysc.cabi.linux.limits import PAGE
from pysc.cabi.linux.resource import RLIMIT_MEMLOCK
from pysc.sentry.ipc.objects import EXECUTE, READ, WRITE
from pysc.sentry.ipc.shm import ATTACHED_MOST, Attachment, Segment
from pysc.sentry.kernel.mapped_files import note_segment
from pysc.sentry.loader.elf import page_up
from pysc.sentry.platform.interface import LIMIT, TASK_SIZE
from pysc.sentry.syscalls.ipc import obtain_own, put_status
from pysc.sentry.syscalls.memory import NR_MUNMAP
from pysc.sentry.syscalls.table import I32, U32, Addr, Size

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task


def shmget(task: Task, key: I32, size: Size, shmflg: U32) -> int:
    """Return the id of the segment of a key, or of a new one.  EINVAL, EEXIST, ENOENT, EACCES, ENOSPC, ENOMEM."""
    return task.kernel.ipc.shm.get(key, size, shmflg, task.creds, task.group.tgid).id


async def shmat(task: Task, shmid: I32, shmaddr: Addr, shmflg: U32) -> int:
    """Map a segment, and return where.  EINVAL, EIDRM, EACCES, EPERM (below the guest's lowest), ENOMEM, EMFILE."""
    if shmaddr % PAGE:
        if not shmflg & abi.SHM_RND:
            raise EINVAL
        shmaddr &= -PAGE
        if not shmaddr and shmflg & abi.SHM_REMAP:
            raise EINVAL
        chosen = True
    else:
        chosen = bool(shmaddr)
        if shmflg & abi.SHM_REMAP and not chosen:
            raise EINVAL
    prot, wanted, flags = mman.PROT_READ, READ, mman.MAP_SHARED
    if not shmflg & abi.SHM_RDONLY:
        prot, wanted = prot | mman.PROT_WRITE, wanted | WRITE
    if shmflg & abi.SHM_EXEC:
        prot, wanted = prot | mman.PROT_EXEC, wanted | EXECUTE
    if chosen:
        flags |= mman.MAP_FIXED if shmflg & abi.SHM_REMAP else mman.MAP_FIXED_NOREPLACE
    segment = task.kernel.ipc.shm.table.obtain(shmid)
    segment.check(task.creds, wanted)
    length = page_up(segment.size)
    if shmaddr > TASK_SIZE - length:
        raise EINVAL if shmaddr + length >> 64 else ENOMEM
    if chosen and shmaddr < LIMIT:
        raise EPERM
    if len(task.memory.attached) >= ATTACHED_MOST:
        raise EMFILE
    return await _attach(task, segment, shmaddr, length, prot, flags)


async def _attach(task: Task, segment: Segment, address: int, length: int, prot: int, flags: int) -> int:
    contents, memory, pid = segment.contents, task.memory, task.group.tgid
    with answered_by_host():
        host_fd = contents.memfd() if prot & mman.PROT_WRITE else contents.read_only_fd()
    segment.attach(pid)
    try:
        result = await task.thread.map_file(address, length, prot, flags, host_fd, 0)
        if result == -EEXIST.errno:
            raise EINVAL
        if result < 0:
            raise linux_error(-result)
        if result % PAGE or not LIMIT <= result <= TASK_SIZE - length:
            raise ENOMEM("not what any host maps")
    except BaseException:
        segment.detach(pid)
        raise
    memory.attached.add(Attachment(result, result + length, 0, segment), pid)
    memory.shares = memory.shares or bool(prot & mman.PROT_WRITE)
    note_segment(memory, segment, host_fd)
    return result


async def shmdt(task: Task, shmaddr: Addr) -> int:
    """Unmap what is left of a segment that was attached at an address.  EINVAL."""
    if shmaddr % PAGE:
        raise EINVAL
    attached, pid = task.memory.attached, task.group.tgid
    found = attached.take(shmaddr)
    if not found:
        raise EINVAL
    for attachment in found:  # all at once: what another thread maps there meanwhile is none of them
        attached.cut(attachment.start, attachment.end, pid)
    for attachment in found:
        await task.thread.host_call(NR_MUNMAP, attachment.start, attachment.end - attachment.start)
    return 0


async def shmctl(task: Task, shmid: I32, cmd: I32, buf: Addr) -> int:
    """Look at a segment, or at all, change or remove one.  EINVAL, EIDRM, EACCES, EPERM, EFAULT."""
    shm = task.kernel.ipc.shm
    if shmid < 0:
        raise EINVAL
    if cmd == abi.IPC_INFO:
        task.put(buf, abi.SHMINFO.pack(shm.shmmax, 1, shm.table.limit, shm.table.limit, shm.shmall))
        return shm.table.highest
    if cmd == abi.SHM_INFO:
        stored = 0
        async for segment in shm.table.walk():
            stored += segment.contents.stored
        task.put(buf, abi.SHM_INFO_USED.pack(len(shm.table), shm.pages, stored // PAGE, 0, 0, 0))
        return shm.table.highest
    if cmd in (abi.IPC_STAT, abi.SHM_STAT, abi.SHM_STAT_ANY):
        by_id, anybody = cmd == abi.IPC_STAT, cmd == abi.SHM_STAT_ANY
        return put_status(task, shm.table, shmid, buf, by_id=by_id, anybody=anybody)
    if cmd in (abi.IPC_SET, abi.IPC_RMID):
        size = abi.SHMID_DS.size if cmd == abi.IPC_SET else 0
        segment, status = await obtain_own(task, shm.table, shmid, buf, size)
        if cmd == abi.IPC_SET:
            segment.set_permissions(status[: abi.IPC_PERM.size])
        else:
            segment.doom()
        return 0
    if cmd in (abi.SHM_LOCK, abi.SHM_UNLOCK):
        _lock(task, shm.table.obtain(shmid), lock=cmd == abi.SHM_LOCK)
        return 0
    raise EINVAL


def _lock(task: Task, segment: Segment, *, lock: bool) -> None:
    """Note whether it is locked: memory never is, the cgroup decides what stays."""
    creds = task.creds
    if not creds.has_capability(CAP_IPC_LOCK):
        if creds.euid not in (segment.uid, segment.cuid):
            raise EPERM
        if lock and not task.group.limit(RLIMIT_MEMLOCK):
            raise EPERM
    segment.mode = segment.mode | abi.SHM_LOCKED if lock else segment.mode & ~abi.SHM_LOCKED
