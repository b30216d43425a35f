"""The machine and its limits: uname(2), sysinfo(2), getrlimit(2), getrusage(2), getrandom(2), getcpu(2), syslog(2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.capability import CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYS_RESOURCE, CAP_SYSLOG
from pysc.cabi.linux.clock import SECOND
from pysc.cabi.linux.errors import EINVAL, EPERM, ESRCH
from pysc.cabi.linux.personality import PER_LINUX32, PER_MASK, UNAME26
from pysc.cabi.linux.resource import (
    RLIM_NLIMITS,
    RLIMIT,
    RLIMIT_AS,
    RLIMIT_CPU,
    RLIMIT_DATA,
    RLIMIT_FSIZE,
    RLIMIT_NOFILE,
    RUSAGE_CHILDREN,
    RUSAGE_SELF,
    RUSAGE_THREAD,
)
from pysc.sentry.chance import draw
from pysc.sentry.kernel.fd_table import FD_MAX
from pysc.sentry.kernel.limits import limit_space, watch_cpu
from pysc.sentry.kernel.scheduler import now, yield_now
from pysc.sentry.kernel.usage import group_usage, task_usage
from pysc.sentry.syscalls.table import I32, U32, Addr, Pid, Size
from pysc.sentry.syscalls.wait import pack_usage

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

UTS_FIELD: Final = 65
HOST_NAME_MAX: Final = 64
SYSINFO: Final = struct.Struct("<q3Q6QHH4xQQI4x")
"""uptime, loads, totalram … freeswap, procs, totalhigh, freehigh, mem_unit."""
GRND_NONBLOCK: Final = 1
GRND_RANDOM: Final = 2
GRND_INSECURE: Final = 4
RANDOM_CHUNK: Final = 1 << 15
SYSLOG_SIZE_BUFFER: Final = 10


def uname(task: Task, address: Addr) -> int:
    """Return names and versions of the system, as the task's personality(2) wants to see them."""
    uts = task.kernel.uts
    release, machine = uts.release, uts.machine
    if task.personality & UNAME26:
        release = b"2.6.%d" % (60 + int(release.split(b".")[1]))
    if task.personality & PER_MASK == PER_LINUX32:
        machine = b"i686"
    fields = (uts.sysname, uts.hostname, release, uts.version, machine, uts.domainname)
    task.put(address, b"".join(field[: UTS_FIELD - 1].ljust(UTS_FIELD, b"\0") for field in fields))
    return 0


async def sethostname(task: Task, address: Addr, size: I32) -> int:
    """Set the node name.  EPERM, EINVAL."""
    task.kernel.uts.hostname = await _name(task, address, size)
    return 0


async def setdomainname(task: Task, address: Addr, size: I32) -> int:
    """Set the NIS domain name.  EPERM, EINVAL."""
    task.kernel.uts.domainname = await _name(task, address, size)
    return 0


async def _name(task: Task, address: int, size: int) -> bytes:
    if not task.creds.has_capability(CAP_SYS_ADMIN):
        raise EPERM
    if not 0 <= size <= HOST_NAME_MAX:
        raise EINVAL
    name = await task.copy_in(address, size) if size else b""
    return name.partition(b"\0")[0]


def sysinfo(task: Task, address: Addr) -> int:
    """Return uptime, memory and the number of tasks."""
    kernel = task.kernel
    total = kernel.machine.memory
    free = max(0, total * 3 // 4 - kernel.machine.shared)
    uptime = (now() - kernel.boot_time) // SECOND + 1
    tasks = min(len(kernel.tasks), 0xFFFF)
    task.put(address, SYSINFO.pack(uptime, 0, 0, 0, total, free, 0, 0, 0, 0, tasks, 0, 0, 0, 1))
    return 0


def getrlimit(task: Task, resource: U32, address: Addr) -> int:
    """Return a limit of the process.  EINVAL."""
    if resource >= RLIM_NLIMITS:
        raise EINVAL
    task.put(address, RLIMIT.pack(*task.group.limits[resource]))
    return 0


async def setrlimit(task: Task, resource: U32, address: Addr) -> int:
    """Set a limit of the process.  EINVAL, EPERM."""
    soft, hard = RLIMIT.unpack(await task.copy_in(address, RLIMIT.size))
    _set_limit(task, task.group, resource, soft, hard)
    return 0


async def prlimit64(task: Task, pid: Pid, resource: U32, new: Addr, old: Addr) -> int:
    """Return and set a limit of a process.  EINVAL, EPERM, ESRCH."""
    if resource >= RLIM_NLIMITS:
        raise EINVAL
    wanted = RLIMIT.unpack(await task.copy_in(new, RLIMIT.size)) if new else None
    other = task if pid == 0 else task.kernel.task(pid)
    if other is None:
        raise ESRCH
    group = other.group
    if group is not task.group and not task.creds.has_capability(CAP_SYS_RESOURCE):
        theirs, own = other.creds, task.creds
        if {theirs.uid, theirs.euid, theirs.suid} != {own.uid} or {theirs.gid, theirs.egid, theirs.sgid} != {own.gid}:
            raise EPERM
    before = group.limits[resource]
    if wanted is not None:
        _set_limit(task, group, resource, *wanted)
    if old:
        task.put(old, RLIMIT.pack(*before))
    return 0


def _set_limit(task: Task, group: ThreadGroup, resource: int, soft: int, hard: int) -> None:
    if resource >= RLIM_NLIMITS or soft > hard:
        raise EINVAL
    if resource == RLIMIT_NOFILE and hard > FD_MAX:
        raise EPERM
    if hard > group.limits[resource][1] and not task.creds.has_capability(CAP_SYS_RESOURCE):
        raise EPERM
    group.set_limit(resource, soft, hard)
    if resource == RLIMIT_CPU:
        watch_cpu(group)
    elif resource in (RLIMIT_AS, RLIMIT_DATA):
        for memory in {id(member.memory): member.memory for member in group.tasks.values()}.values():
            limit_space(group, memory)
    elif resource in (RLIMIT_NOFILE, RLIMIT_FSIZE):
        for member in group.tasks.values():
            member.publish_files()


async def getrusage(task: Task, who: I32, address: Addr) -> int:
    """Return processor times; what else a struct rusage has is 0."""
    if who == RUSAGE_CHILDREN:
        await task.group.account.closed()
        usage = task.group.account.children
    elif who == RUSAGE_SELF:
        usage = group_usage(task.group)
    elif who == RUSAGE_THREAD:
        usage = task_usage(task)
    else:
        raise EINVAL
    task.put(address, pack_usage(usage))
    return 0


async def getrandom(task: Task, address: Addr, size: Size, flags: U32) -> int:
    """Fill memory from the host's generator."""
    if flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE):
        raise EINVAL
    if flags & GRND_RANDOM and flags & GRND_INSECURE:
        raise EINVAL
    size = min(size, 0x7FFF_F000)
    if size <= RANDOM_CHUNK:
        if size:
            task.put(address, draw(size))
        return size
    done = 0
    while done < size:
        part = min(RANDOM_CHUNK, size - done)
        await task.copy_out(address + done, draw(part))
        done += part
        await yield_now()
        if task.killed or (task.attention and done >= RANDOM_CHUNK):
            break
    return done


def getcpu(task: Task, cpu: Addr, node: Addr) -> int:
    """Return a processor that the thread may run on, and its node."""
    if cpu:
        allowed = task.scheduling.affinity & ((1 << task.kernel.cpu_count) - 1)
        task.put(cpu, ((allowed & -allowed).bit_length() - 1).to_bytes(4, "little"))
    if node:
        task.put(node, bytes(4))
    return 0


def syslog(task: Task, kind: I32, address: Addr, size: I32) -> int:
    """Read the kernel's log, which is empty."""
    del address
    if kind == SYSLOG_SIZE_BUFFER:
        return 1 << 17
    if not task.creds.has_capability(CAP_SYSLOG) and kind != 3:
        raise EPERM
    if not 0 <= kind <= SYSLOG_SIZE_BUFFER or size < 0:
        raise EINVAL
    return 0


def reboot(task: Task, magic: U32, magic2: U32, command: U32) -> int:
    """Refuse: who runs the container ends it."""
    del magic, magic2, command
    if not task.creds.has_capability(CAP_SYS_BOOT):
        raise EPERM
    raise EINVAL
