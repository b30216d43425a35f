"""prctl(2), arch_prctl(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pysc.cabi.linux.capability import (
    CAP_LAST_CAP,
    CAP_SETPCAP,
    SECBIT_KEEP_CAPS,
    SECBIT_NO_CAP_AMBIENT_RAISE,
    SECBITS_ALL,
    SECBITS_LOCKS,
)
from pysc.cabi.linux.errors import EINVAL, ENODEV, EPERM
from pysc.cabi.linux.prctl import (
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_IS_SET,
    PR_CAP_AMBIENT_LOWER,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    PR_GET_CHILD_SUBREAPER,
    PR_GET_DUMPABLE,
    PR_GET_KEEPCAPS,
    PR_GET_NO_NEW_PRIVS,
    PR_GET_PDEATHSIG,
    PR_GET_SECUREBITS,
    PR_GET_THP_DISABLE,
    PR_MCE_KILL_DEFAULT,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NAME,
    PR_SET_PDEATHSIG,
    PR_SET_SECUREBITS,
    PR_TSC_ENABLE,
)
from pysc.cabi.linux.signals import NSIG
from pysc.sentry.kernel.ptrace import ANY_TRACER
from pysc.sentry.platform.interface import TASK_SIZE
from pysc.sentry.syscalls.table import I32, U64, Addr, HostCall

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task


ARCH_PRCTL: Final = 158
ARCH_SET_FS: Final = 0x1002
ARCH_GET_FS: Final = 0x1003

COMM_LEN: Final = 16


async def prctl(task: Task, option: I32, arg2: U64, arg3: U64, arg4: U64, arg5: U64) -> int:
    """Get and set what belongs to a task.  EINVAL for what is unknown."""
    match option:
        case 1 | 2 | 3 | 4 | 36 | 37 | 40:
            return _process_option(task, option, arg2)
        case 15 | 16:
            return await _name(task, option, arg2)
        case 7 | 8 | 23 | 24 | 27 | 28 | 38 | 39:
            return _privilege_option(task, option, arg2, arg3, arg4, arg5)
        case 29:
            task.timer_slack = arg2 if 0 < arg2 < 1 << 63 else task.default_timer_slack
            return 0
        case 30:
            return task.timer_slack
        case 13:
            return 0
        case 14:
            if arg2:
                raise EINVAL
            return 0
        case 21:
            return 0
        case 25:
            task.put(arg2, PR_TSC_ENABLE.to_bytes(4, "little"))
            return 0
        case 26 if arg2 == PR_TSC_ENABLE:
            return 0
        case 34:
            if arg2 or arg3 or arg4 or arg5:
                raise EINVAL
            return PR_MCE_KILL_DEFAULT
        case 47:
            return _ambient(task, arg2, arg3, arg4, arg5)
        case 41 | 42:
            if arg3 or arg4 or arg5 or (option == PR_GET_THP_DISABLE and arg2):
                raise EINVAL
            return 0
        case 52:
            if arg3 or arg4 or arg5:
                raise EINVAL
            raise ENODEV
        case 0x53564D41:
            return 0
        case 0x59616D61:
            return _set_ptracer(task, arg2)
        case _:
            raise EINVAL(f"prctl {option}")


def _set_ptracer(task: Task, pid: int) -> int:
    """Yama's: 0 is nobody but ancestors, -1 anybody."""
    if pid == 0xFFFF_FFFF_FFFF_FFFF:
        task.group.ptracer = ANY_TRACER
        return 0
    if pid and pid not in task.kernel.tasks:
        raise EINVAL
    task.group.ptracer = task.kernel.tasks[pid].group.tgid if pid else 0
    return 0


def _process_option(task: Task, option: int, value: int) -> int:
    if option == PR_SET_PDEATHSIG:
        if value > NSIG:
            raise EINVAL
        task.pdeath_signal = value
    elif option == PR_GET_PDEATHSIG:
        task.put(value, task.pdeath_signal.to_bytes(4, "little"))
    elif option == PR_GET_DUMPABLE:
        return int(task.memory.dumpable)
    elif option == PR_SET_DUMPABLE:
        if value > 1:
            raise EINVAL
        task.memory.dumpable = bool(value)
    elif option == PR_SET_CHILD_SUBREAPER:
        task.group.is_subreaper = bool(value)
    elif option == PR_GET_CHILD_SUBREAPER:
        task.put(value, int(task.group.is_subreaper).to_bytes(4, "little"))
    else:
        task.put(value, task.thread.clear_tid.to_bytes(8, "little"))
    return 0


async def _name(task: Task, option: int, address: int) -> int:
    if option == PR_SET_NAME:
        name = b""
        while len(name) < COMM_LEN - 1:
            byte = await task.copy_in(address + len(name), 1)
            if byte == b"\0":
                break
            name += byte
        task.comm = name
    else:
        task.put(address, task.comm.ljust(COMM_LEN, b"\0"))
    return 0


def _privilege_option(task: Task, option: int, arg2: int, arg3: int, arg4: int, arg5: int) -> int:
    creds = task.creds
    if option == PR_GET_KEEPCAPS:
        return int(bool(creds.securebits & SECBIT_KEEP_CAPS))
    if option == PR_SET_KEEPCAPS:
        if arg2 > 1:
            raise EINVAL
        if creds.securebits & SECBIT_KEEP_CAPS << 1:
            raise EPERM
        bits = creds.securebits & ~SECBIT_KEEP_CAPS | (SECBIT_KEEP_CAPS if arg2 else 0)
        task.creds = replace(creds, securebits=bits)
        return 0
    if option in (PR_CAPBSET_READ, PR_CAPBSET_DROP):
        if arg2 > CAP_LAST_CAP:
            raise EINVAL
        if option == PR_CAPBSET_READ:
            return creds.bounding >> arg2 & 1
        if not creds.has_capability(CAP_SETPCAP):
            raise EPERM
        task.creds = replace(creds, bounding=creds.bounding & ~(1 << arg2))
        return 0
    if option == PR_GET_SECUREBITS:
        return creds.securebits
    if option == PR_SET_SECUREBITS:
        locked = (creds.securebits & SECBITS_LOCKS) >> 1
        if (
            arg2 & ~SECBITS_ALL
            or (creds.securebits ^ arg2) & locked
            or creds.securebits & SECBITS_LOCKS & ~arg2
            or not creds.has_capability(CAP_SETPCAP)
        ):
            raise EPERM
        task.creds = replace(creds, securebits=arg2)
        return 0
    if arg3 or arg4 or arg5:
        raise EINVAL
    if option == PR_GET_NO_NEW_PRIVS:
        if arg2:
            raise EINVAL
        return int(creds.no_new_privs)
    if arg2 != 1:
        raise EINVAL
    task.creds = replace(creds, no_new_privs=True)
    return 0


def _ambient(task: Task, operation: int, cap: int, arg4: int, arg5: int) -> int:
    creds = task.creds
    if operation == PR_CAP_AMBIENT_CLEAR_ALL:
        if cap or arg4 or arg5:
            raise EINVAL
        task.creds = replace(creds, ambient=0)
        return 0
    if cap > CAP_LAST_CAP or arg4 or arg5:
        raise EINVAL
    bit = 1 << cap
    if operation == PR_CAP_AMBIENT_IS_SET:
        return int(bool(creds.ambient & bit))
    if operation == PR_CAP_AMBIENT_RAISE:
        if not creds.permitted & creds.inheritable & bit or creds.securebits & SECBIT_NO_CAP_AMBIENT_RAISE:
            raise EPERM
        task.creds = replace(creds, ambient=creds.ambient | bit)
    elif operation == PR_CAP_AMBIENT_LOWER:
        task.creds = replace(creds, ambient=creds.ambient & ~bit)
    else:
        raise EINVAL
    return 0


async def arch_prctl(task: Task, code: I32, address: Addr) -> int | HostCall:
    """Get and set the FS base.  GS is the engine's: EINVAL."""
    if code == ARCH_SET_FS:
        if address >= TASK_SIZE:
            raise EPERM
        return HostCall(ARCH_PRCTL, (ARCH_SET_FS, address))
    if code == ARCH_GET_FS:
        registers = await task.thread.registers()
        task.put(address, registers.fs_base.to_bytes(8, "little"))
        return 0
    raise EINVAL(f"arch_prctl {code:#x}")
