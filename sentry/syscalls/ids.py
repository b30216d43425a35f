"""Identity: user and group ids, process groups, sessions, capabilities (credentials(7), capabilities(7))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pysc.cabi.linux.capability import (
    ALL_CAPS,
    CAP_DATA,
    CAP_HEADER,
    CAP_SETGID,
    CAP_SETPCAP,
    CAP_SETUID,
    CAPABILITY_VERSION_1,
    CAPABILITY_VERSION_2,
    CAPABILITY_VERSION_3,
)
from pysc.cabi.linux.errors import EACCES, EINVAL, EPERM, ESRCH
from pysc.sentry.kernel.credentials import NO_ID, Credentials
from pysc.sentry.kernel.session import Session
from pysc.sentry.syscalls.table import I32, U32, Addr, Pid

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

NGROUPS_MAX: Final = 65536


def getuid(task: Task) -> int:
    """Return the real user id."""
    return task.creds.uid


def geteuid(task: Task) -> int:
    """Return the effective user id."""
    return task.creds.euid


def getgid(task: Task) -> int:
    """Return the real group id."""
    return task.creds.gid


def getegid(task: Task) -> int:
    """Return the effective group id."""
    return task.creds.egid


def _set_dumpable(task: Task, before: Credentials) -> None:
    after = task.creds
    if (after.euid, after.egid, after.fsuid, after.fsgid) != (before.euid, before.egid, before.fsuid, before.fsgid):
        task.memory.dumpable = False


def _change_uids(task: Task, uid: int, euid: int, suid: int) -> int:
    before = task.creds
    task.creds = before.with_uids(uid, euid, suid)
    _set_dumpable(task, before)
    return 0


def _change_gids(task: Task, gid: int, egid: int, sgid: int) -> int:
    before = task.creds
    task.creds = before.with_gids(gid, egid, sgid)
    _set_dumpable(task, before)
    return 0


def setuid(task: Task, uid: U32) -> int:
    """Set all user ids, or the effective one without CAP_SETUID.  EPERM, EINVAL."""
    creds = task.creds
    if uid == NO_ID:
        raise EINVAL
    if creds.has_capability(CAP_SETUID):
        return _change_uids(task, uid, uid, uid)
    if uid not in (creds.uid, creds.suid):
        raise EPERM
    return _change_uids(task, creds.uid, uid, creds.suid)


def setgid(task: Task, gid: U32) -> int:
    """Set all group ids, or the effective one without CAP_SETGID.  EPERM, EINVAL."""
    creds = task.creds
    if gid == NO_ID:
        raise EINVAL
    if creds.has_capability(CAP_SETGID):
        return _change_gids(task, gid, gid, gid)
    if gid not in (creds.gid, creds.sgid):
        raise EPERM
    return _change_gids(task, creds.gid, gid, creds.sgid)


def setreuid(task: Task, ruid: U32, euid: U32) -> int:
    """Set the real and the effective user id.  EPERM."""
    creds = task.creds
    new_uid = creds.uid if ruid == NO_ID else ruid
    new_euid = creds.euid if euid == NO_ID else euid
    if not creds.has_capability(CAP_SETUID) and (
        new_uid not in (creds.uid, creds.euid) or new_euid not in (creds.uid, creds.euid, creds.suid)
    ):
        raise EPERM
    follows = ruid != NO_ID or (euid != NO_ID and new_euid != creds.uid)
    return _change_uids(task, new_uid, new_euid, new_euid if follows else creds.suid)


def setregid(task: Task, rgid: U32, egid: U32) -> int:
    """Set the real and the effective group id.  EPERM."""
    creds = task.creds
    new_gid = creds.gid if rgid == NO_ID else rgid
    new_egid = creds.egid if egid == NO_ID else egid
    if not creds.has_capability(CAP_SETGID) and (
        new_gid not in (creds.gid, creds.egid) or new_egid not in (creds.gid, creds.egid, creds.sgid)
    ):
        raise EPERM
    follows = rgid != NO_ID or (egid != NO_ID and new_egid != creds.gid)
    return _change_gids(task, new_gid, new_egid, new_egid if follows else creds.sgid)


def setresuid(task: Task, ruid: U32, euid: U32, suid: U32) -> int:
    """Set real, effective and saved user id.  EPERM."""
    creds = task.creds
    own = (creds.uid, creds.euid, creds.suid)
    if not creds.has_capability(CAP_SETUID) and any(uid not in (*own, NO_ID) for uid in (ruid, euid, suid)):
        raise EPERM
    wanted = [before if after == NO_ID else after for before, after in zip(own, (ruid, euid, suid), strict=True)]
    return _change_uids(task, *wanted)


def setresgid(task: Task, rgid: U32, egid: U32, sgid: U32) -> int:
    """Set real, effective and saved group id.  EPERM."""
    creds = task.creds
    own = (creds.gid, creds.egid, creds.sgid)
    if not creds.has_capability(CAP_SETGID) and any(gid not in (*own, NO_ID) for gid in (rgid, egid, sgid)):
        raise EPERM
    wanted = [before if after == NO_ID else after for before, after in zip(own, (rgid, egid, sgid), strict=True)]
    return _change_gids(task, *wanted)


def getresuid(task: Task, ruid: Addr, euid: Addr, suid: Addr) -> int:
    """Return real, effective and saved user id."""
    creds = task.creds
    for address, value in ((ruid, creds.uid), (euid, creds.euid), (suid, creds.suid)):
        task.put(address, value.to_bytes(4, "little"))
    return 0


def getresgid(task: Task, rgid: Addr, egid: Addr, sgid: Addr) -> int:
    """Return real, effective and saved group id."""
    creds = task.creds
    for address, value in ((rgid, creds.gid), (egid, creds.egid), (sgid, creds.sgid)):
        task.put(address, value.to_bytes(4, "little"))
    return 0


def setfsuid(task: Task, uid: U32) -> int:
    """Set the filesystem user id if allowed; return the one from before."""
    creds = task.creds
    if uid != NO_ID and (uid in (creds.uid, creds.euid, creds.suid, creds.fsuid) or creds.has_capability(CAP_SETUID)):
        task.creds = creds.with_fsuid(uid)
        _set_dumpable(task, creds)
    return creds.fsuid


def setfsgid(task: Task, gid: U32) -> int:
    """Set the filesystem group id if allowed; return the one from before."""
    creds = task.creds
    if gid != NO_ID and (gid in (creds.gid, creds.egid, creds.sgid, creds.fsgid) or creds.has_capability(CAP_SETGID)):
        task.creds = replace(creds, fsgid=gid)
        _set_dumpable(task, creds)
    return creds.fsgid


def getgroups(task: Task, size: I32, address: Addr) -> int:
    """Return the supplementary groups."""
    groups = task.creds.groups
    if size < 0 or (size and size < len(groups)):
        raise EINVAL
    if size:
        task.put(address, struct.pack(f"<{len(groups)}I", *groups)[:60000])
    return len(groups)


async def setgroups(task: Task, size: I32, address: Addr) -> int:
    """Replace the supplementary groups.  EPERM without CAP_SETGID."""
    if not task.creds.has_capability(CAP_SETGID):
        raise EPERM
    if not 0 <= size <= NGROUPS_MAX:
        raise EINVAL
    data = await task.copy_in(address, size * 4) if size else b""
    groups = struct.unpack(f"<{size}I", data)
    if NO_ID in groups:
        raise EINVAL
    task.creds = replace(task.creds, groups=tuple(sorted(groups)))
    return 0


def _process(task: Task, pid: int) -> ThreadGroup:
    if pid == 0:
        return task.group
    group = task.kernel.groups.get(pid)
    if group is None:
        thread = task.kernel.tasks.get(pid)
        if thread is None:
            raise ESRCH
        group = thread.group
    return group


def getpgid(task: Task, pid: Pid) -> int:
    """Return the process group of a process.  ESRCH."""
    return _process(task, pid).process_group.pgid


def getpgrp(task: Task) -> int:
    """Return the own process group."""
    return task.group.process_group.pgid


def getsid(task: Task, pid: Pid) -> int:
    """Return the session of a process.  ESRCH."""
    return _process(task, pid).session.sid


def setpgid(task: Task, pid: Pid, pgid: Pid) -> int:
    """Move a process, oneself or a child that has not executed yet, to a process group.  EPERM, EACCES, ESRCH."""
    if (pgid or pid) < 0:
        raise EINVAL
    own = task.group
    group = own if pid in (0, own.tgid) else own.children.get(pid)
    if group is None:
        raise ESRCH
    pgid = pgid or group.tgid
    if group is not own:
        if group.session is not own.session:
            raise EPERM
        if group.did_exec:
            raise EACCES
    if group.session.leader is group:
        raise EPERM
    target = task.kernel.process_groups.get(pgid)
    if pgid == group.tgid and target is None:
        target = group.session.new_group(task.kernel, pgid)
    if target is None or target.session is not own.session:
        raise EPERM
    if target is not group.process_group:
        group.process_group.leave(task.kernel, group)
        target.join(group)
    return 0


def setsid(task: Task) -> int:
    """Start a session.  EPERM for the leader of a process group."""
    group, kernel = task.group, task.kernel
    if group.tgid in kernel.process_groups:
        raise EPERM
    group.process_group.leave(kernel, group)
    session = Session(group)
    session.new_group(kernel, group.tgid).join(group)
    return group.tgid


async def capget(task: Task, header: Addr, data: Addr) -> int:
    """Return the capabilities of a task.  EINVAL (version), ESRCH."""
    words, pid = await _read_cap_header(task, header, probe=not data)
    if not data:
        return 0
    if pid < 0:
        raise EINVAL
    other = task if pid in (0, task.tid) else task.kernel.task(pid)
    if other is None:
        raise ESRCH
    creds = other.creds
    task.put(
        data,
        b"".join(CAP_DATA.pack(*(caps >> 32 * word & 0xFFFF_FFFF for caps in _sets(creds))) for word in range(words)),
    )
    return 0


def _sets(creds: Credentials) -> tuple[int, int, int]:
    return creds.effective, creds.permitted, creds.inheritable


async def capset(task: Task, header: Addr, data: Addr) -> int:
    """Set the own capabilities.  EPERM."""
    words, pid = await _read_cap_header(task, header, probe=False)
    if pid not in (0, task.tid):
        raise EPERM
    raw = await task.copy_in(data, CAP_DATA.size * words)
    effective = permitted = inheritable = 0
    for word, (low_effective, low_permitted, low_inheritable) in enumerate(CAP_DATA.iter_unpack(raw)):
        effective |= low_effective << 32 * word
        permitted |= low_permitted << 32 * word
        inheritable |= low_inheritable << 32 * word
    effective, permitted, inheritable = effective & ALL_CAPS, permitted & ALL_CAPS, inheritable & ALL_CAPS
    creds = task.creds
    if not creds.has_capability(CAP_SETPCAP) and inheritable & ~(creds.inheritable | creds.permitted):
        raise EPERM
    if inheritable & ~(creds.inheritable | creds.bounding):
        raise EPERM
    if permitted & ~creds.permitted or effective & ~permitted:
        raise EPERM
    task.creds = replace(
        creds,
        effective=effective,
        permitted=permitted,
        inheritable=inheritable,
        ambient=creds.ambient & permitted & inheritable,
    )
    return 0


async def _read_cap_header(task: Task, address: int, *, probe: bool) -> tuple[int, int]:
    version, pid = CAP_HEADER.unpack(await task.copy_in(address, CAP_HEADER.size))
    if version == CAPABILITY_VERSION_1:
        return 1, pid
    if version in (CAPABILITY_VERSION_2, CAPABILITY_VERSION_3):
        return 2, pid
    await task.copy_out(address, CAPABILITY_VERSION_3.to_bytes(4, "little"))
    if probe:
        return 2, pid
    raise EINVAL
