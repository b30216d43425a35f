"""Memory: mmap(2) and kin.  The host manages guest memory: what is allowed is made by the thread itself.

Nothing here keeps a list of mappings, but for segments of shared memory, which are told when they are unmapped.  Flags
and advice that the keyhole lacks are emulated or refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import mman as abi
from pysc.cabi.linux.capability import CAP_IPC_LOCK
from pysc.cabi.linux.errors import (
    EACCES,
    EEXIST,
    EFAULT,
    EINVAL,
    ENOMEM,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
    linux_error,
)
from pysc.cabi.linux.limits import PAGE
from pysc.cabi.linux.mount import MS_NOEXEC
from pysc.cabi.linux.resource import RLIMIT_MEMLOCK
from pysc.sentry.chance import below
from pysc.sentry.kernel.mapped_files import hear_of_mapped, note_mapped
from pysc.sentry.loader.elf import page_up
from pysc.sentry.platform.interface import LIMIT, TASK_SIZE
from pysc.sentry.syscalls.table import I32, PREPARED, U32, U64, Addr, Fd, HostCall, Prepared, Size

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task

NR_MMAP: Final = 9
NR_MPROTECT: Final = 10
NR_MUNMAP: Final = 11
NR_MREMAP: Final = 25
NR_MADVISE: Final = 28
NR_MEMBARRIER: Final = 324

_PROT: Final = abi.PROT_READ | abi.PROT_WRITE | abi.PROT_EXEC
_PASSED: Final = (
    abi.MAP_TYPE
    | abi.MAP_FIXED
    | abi.MAP_ANONYMOUS
    | abi.MAP_GROWSDOWN
    | abi.MAP_NORESERVE
    | abi.MAP_POPULATE
    | abi.MAP_NONBLOCK
    | abi.MAP_STACK
    | abi.MAP_FIXED_NOREPLACE
)
"""Flags that go to the host; LOCKED, 32BIT and the historical ones are dealt with here."""
_VALIDATED: Final = (
    (_PASSED & ~abi.MAP_FIXED_NOREPLACE)
    | abi.MAP_32BIT
    | abi.MAP_ABOVE4G
    | abi.MAP_DENYWRITE
    | abi.MAP_EXECUTABLE
    | abi.MAP_LOCKED
    | abi.MAP_HUGETLB
    | abi.MAP_HUGE_2MB
    | abi.MAP_HUGE_1GB
    | abi.MAP_UNINITIALIZED
)
"""What MAP_SHARED_VALIDATE lets pass (LEGACY_MAP_MASK)."""
_LOW: Final = 0x4000_0000
_LOW_END: Final = 0x8000_0000
_TRIES: Final = 16

_ADVICE: Final = frozenset({0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25})
_CHUNK: Final = 32 << 10
_PRIVATE_BARRIERS: Final = 8 | 16 | 32 | 64 | 128 | 256


async def mmap(
    task: Task, address: Addr, length: Size, prot: U64, flags: U64, fd: Fd, offset: U64
) -> int | HostCall | Prepared:
    """Map anonymous memory or a file.  EINVAL, ENOMEM, EPERM (below the guest's lowest), EACCES, EBADF, ENODEV."""
    if offset % PAGE:
        raise EINVAL
    if not flags & abi.MAP_ANONYMOUS:
        task.fds.get(fd)  # a bad descriptor is told before anything else
    if not length:
        raise EINVAL
    length = page_up(length)
    if length > TASK_SIZE:
        raise ENOMEM
    kind = flags & abi.MAP_TYPE
    if kind not in (abi.MAP_SHARED, abi.MAP_PRIVATE, abi.MAP_SHARED_VALIDATE):
        raise EINVAL
    if flags & abi.MAP_HUGETLB:
        raise ENOMEM("no huge pages are reserved")
    if kind == abi.MAP_SHARED_VALIDATE and flags & ~_VALIDATED:
        raise EOPNOTSUPP
    if prot & (abi.PROT_GROWSDOWN | abi.PROT_GROWSUP):
        raise EINVAL
    if flags & abi.MAP_LOCKED:
        _check_lock(task, length)
    fixed = flags & (abi.MAP_FIXED | abi.MAP_FIXED_NOREPLACE)
    if fixed:
        if address % PAGE:
            raise EINVAL
        if address < LIMIT:
            raise EPERM
        if address + length > TASK_SIZE:
            raise ENOMEM
    else:
        address &= -PAGE
        if not LIMIT <= address <= TASK_SIZE - length:
            address = 0
    prot &= _PROT
    if flags & abi.MAP_32BIT and not fixed:
        return await _map_low(task, length, prot, flags, fd, offset)
    if flags & abi.MAP_ANONYMOUS:
        if kind != abi.MAP_PRIVATE:
            task.memory.shares = True
        call = HostCall(NR_MMAP, (address, length, prot, _kept(flags), 0xFFFF_FFFF_FFFF_FFFF, 0))
        return await _replace(task, call, address, length) if flags & abi.MAP_FIXED else call
    return await _map_file(task, address, length, prot, _kept(flags), fd, offset)


def _kept(flags: int) -> int:
    if flags & abi.MAP_TYPE == abi.MAP_SHARED_VALIDATE and flags & abi.MAP_ANONYMOUS:
        raise EINVAL
    return flags & _PASSED


async def _map_low(task: Task, length: int, prot: int, flags: int, fd: int, offset: int) -> int | Prepared:
    """MAP_32BIT: the host places by itself nowhere low, so places are tried."""
    for _ in range(_TRIES):
        room = _LOW_END - _LOW - length
        if room < 0:
            break
        address = _LOW + below(room // PAGE + 1) * PAGE
        kept = _kept(flags) | abi.MAP_FIXED_NOREPLACE
        if flags & abi.MAP_ANONYMOUS:
            result = await task.thread.host_call(NR_MMAP, address, length, prot, kept, 0xFFFF_FFFF_FFFF_FFFF, 0)
            if result != -EEXIST.errno:
                return result
        else:
            try:
                return await _map_file(task, address, length, prot, kept, fd, offset, now=True)
            except EEXIST:
                continue
    raise ENOMEM


def _file_to_map(task: Task, length: int, prot: int, flags: int, fd: int, offset: int) -> FileDescription:
    file = task.fds.get(fd)
    if offset + length >= 1 << 63:
        raise EOVERFLOW
    if not file.readable:
        raise EACCES
    shared = bool(flags & abi.MAP_SHARED)
    if shared and prot & abi.PROT_WRITE and not file.writable:
        raise EACCES
    if prot & abi.PROT_EXEC and file.path is not None and file.path.mount.flags & MS_NOEXEC:
        raise EPERM
    task.memory.shares = task.memory.shares or (shared and file.writable)
    return file


async def _map_file(
    task: Task, address: int, length: int, prot: int, flags: int, fd: int, offset: int, *, now: bool = False
) -> int | Prepared:
    """Map a file; with the verdict, if that is possible and the result is not wanted ``now``."""
    file = _file_to_map(task, length, prot, flags, fd, offset)
    file.get()
    hear_of_mapped(task)
    replaces = bool(flags & abi.MAP_FIXED) and task.memory.attached.touch(address, address + length)
    now = now or replaces
    try:
        host_fd = await file.mapping_fd(prot, flags)
        again = (file.index, file.path is None or not file.path.mount.flags & MS_NOEXEC)
        if not now and task.thread.prepare_map_file(address, length, prot, flags, host_fd, offset, again):
            note_mapped(task, task.memory, file, host_fd)
            return PREPARED
        result = await task.thread.map_file(address, length, prot, flags, host_fd, offset)
        if result < 0:
            raise linux_error(-result)
        if replaces:
            task.memory.attached.cut(address, address + length, task.group.tgid)
        note_mapped(task, task.memory, file, host_fd)
    finally:
        file.put()
    return result


async def _replace(task: Task, call: HostCall, start: int, length: int) -> int | HostCall:
    """Return a call that unmaps a range; where segments are attached it is made now, and they are told."""
    attached = task.memory.attached
    if not attached.touch(start, start + length):
        return call
    result = await task.thread.host_call(call.nr, *call.args)
    if result >= 0:
        attached.cut(start, start + length, task.group.tgid)
    return result


async def munmap(task: Task, address: Addr, length: Size) -> int | HostCall:
    """Unmap.  EINVAL."""
    if address % PAGE or not length or length > TASK_SIZE or address > TASK_SIZE - length:
        raise EINVAL
    end = page_up(address + length)
    address = max(address, LIMIT)
    if end <= address:
        return 0
    return await _replace(task, HostCall(NR_MUNMAP, (address, end - address)), address, end - address)


def mprotect(task: Task, address: Addr, length: Size, prot: U64) -> int | HostCall:
    """Change protection.  EINVAL, ENOMEM, EACCES."""
    del task
    if address % PAGE or prot & (abi.PROT_GROWSDOWN | abi.PROT_GROWSUP) or prot & ~(_PROT | abi.PROT_SEM):
        raise EINVAL
    if not length:
        return 0
    if address < LIMIT or length > TASK_SIZE:
        raise ENOMEM
    return HostCall(NR_MPROTECT, (address, page_up(length), prot & _PROT))


async def mremap(task: Task, old: Addr, old_size: Size, new_size: Size, flags: U64, new: Addr) -> int | HostCall:
    """Grow, shrink or move a mapping.  EINVAL, EFAULT, ENOMEM."""
    known = abi.MREMAP_MAYMOVE | abi.MREMAP_FIXED | abi.MREMAP_DONTUNMAP
    if flags & ~known or old % PAGE or not new_size:
        raise EINVAL
    if old < LIMIT:
        raise EFAULT
    if not flags & (abi.MREMAP_FIXED | abi.MREMAP_DONTUNMAP):
        new = 0
    elif new < LIMIT and (new or flags & abi.MREMAP_FIXED):
        raise EINVAL
    call = HostCall(NR_MREMAP, (old, old_size, new_size, flags, new))
    attached = task.memory.attached
    old_size, new_size = page_up(min(old_size, TASK_SIZE)), page_up(min(new_size, TASK_SIZE))
    if not (attached.touch(old, old + max(old_size, PAGE)) or (new and attached.touch(new, new + new_size))):
        return call
    result = await task.thread.host_call(call.nr, *call.args)
    if result >= 0:
        keeps = bool(flags & abi.MREMAP_DONTUNMAP) or not old_size
        attached.move(old, old_size, result, new_size, task.group.tgid, keeps=keeps)
    return result


def madvise(task: Task, address: Addr, length: Size, advice: I32) -> int | HostCall:
    """Advise on use.  KSM and hole punching are not built in: EINVAL."""
    del task
    if advice not in _ADVICE or address % PAGE or length > TASK_SIZE:
        raise EINVAL(f"advice {advice}")
    if not length:
        return 0
    if address < LIMIT:
        raise ENOMEM
    return HostCall(NR_MADVISE, (address, page_up(length), advice))


async def brk(task: Task, address: Addr) -> int:
    """Move the end of the heap; return where it is now, changed or not."""
    return await task.thread.move_heap(address)


async def _check_mapped(task: Task, address: int, length: int) -> None:
    """ENOMEM unless all of a range is mapped; MADV_NORMAL finds out and changes nothing that shows."""
    if length and (
        address < LIMIT
        or length > TASK_SIZE
        or await task.thread.host_call(NR_MADVISE, address, page_up(length), abi.MADV_NORMAL)
    ):
        raise ENOMEM


async def msync(task: Task, address: Addr, length: Size, flags: I32) -> int:
    """Check the range; what is written to a shared mapping is in the page cache that everybody sees already."""
    if flags & ~(abi.MS_ASYNC | abi.MS_INVALIDATE | abi.MS_SYNC) or address % PAGE:
        raise EINVAL
    if flags & abi.MS_ASYNC and flags & abi.MS_SYNC:
        raise EINVAL
    await _check_mapped(task, address, length)
    return 0


async def mincore(task: Task, address: Addr, length: Size, vector: Addr) -> int:
    """Report every mapped page as resident."""
    if address % PAGE:
        raise EINVAL
    await _check_mapped(task, address, length)
    left = page_up(length) // PAGE
    while left:
        part = min(left, _CHUNK)
        await task.copy_out(vector, b"\1" * part)
        vector += part
        left -= part
    return 0


def _check_lock(task: Task, length: int) -> None:
    if task.creds.has_capability(CAP_IPC_LOCK):
        return
    limit = task.group.limit(RLIMIT_MEMLOCK)
    if not limit:
        raise EPERM
    if length > limit:
        raise ENOMEM


async def mlock(task: Task, address: Addr, length: Size) -> int:
    """Check the range and RLIMIT_MEMLOCK.  Guest memory is never locked: the cgroup decides what stays."""
    length = page_up(length + address % PAGE)
    _check_lock(task, length)
    await _check_mapped(task, address & -PAGE, length)
    return 0


async def mlock2(task: Task, address: Addr, length: Size, flags: U32) -> int:
    """As mlock(2)."""
    if flags & ~abi.MLOCK_ONFAULT:
        raise EINVAL
    return await mlock(task, address, length)


async def munlock(task: Task, address: Addr, length: Size) -> int:
    """Check the range."""
    await _check_mapped(task, address & -PAGE, page_up(length + address % PAGE))
    return 0


def mlockall(task: Task, flags: I32) -> int:
    """Check flags and privilege."""
    if not flags or flags & ~(abi.MCL_CURRENT | abi.MCL_FUTURE | abi.MCL_ONFAULT) or flags == abi.MCL_ONFAULT:
        raise EINVAL
    if not task.creds.has_capability(CAP_IPC_LOCK) and not task.group.limit(RLIMIT_MEMLOCK):
        raise EPERM
    return 0


def munlockall(task: Task) -> int:
    """Nothing is locked."""
    del task
    return 0


async def membarrier(task: Task, command: I32, flags: U32, cpu: I32) -> int:
    """Memory barriers among the threads of a process; the global ones are not offered."""
    del cpu
    if flags:
        raise EINVAL
    if command == 0:
        supported = await task.thread.host_call(NR_MEMBARRIER, 0, 0, 0)
        return supported & _PRIVATE_BARRIERS if supported >= 0 else supported
    if command < 0 or command & ~_PRIVATE_BARRIERS or command & (command - 1):
        raise EINVAL
    return await task.thread.host_call(NR_MEMBARRIER, command, 0, 0)
