"""Who may look into a process, or take hold of it (ptrace(2), "Ptrace access mode checking")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.capability import CAP_SYS_PTRACE

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

ANY_TRACER: Final = -1


def may_read(reader: Task, task: Task) -> bool:
    """PTRACE_MODE_READ_FSCREDS: most of /proc/PID."""
    creds = reader.creds
    return _may_access(reader, task, creds.fsuid, creds.fsgid, creds.effective)


def may_attach(tracer: Task, task: Task) -> bool:
    """PTRACE_MODE_ATTACH_REALCREDS: another's memory and descriptors.

    Yama's ptrace_scope is 1: only an ancestor may, who has CAP_SYS_PTRACE, or whom the process has named
    (PR_SET_PTRACER).
    """
    creds = tracer.creds
    if not _may_access(tracer, task, creds.uid, creds.gid, creds.permitted):
        return False
    group = task.group
    if tracer.group is group or creds.has_capability(CAP_SYS_PTRACE) or group.ptracer == ANY_TRACER:
        return True
    return _is_below(group, tracer.group.tgid) or bool(group.ptracer and _is_below(tracer.group, group.ptracer))


def _may_access(tracer: Task, task: Task, uid: int, gid: int, capabilities: int) -> bool:
    if tracer.group is task.group or tracer.creds.has_capability(CAP_SYS_PTRACE):
        return True
    other = task.creds
    same = {uid} == {other.uid, other.euid, other.suid} and {gid} == {other.gid, other.egid, other.sgid}
    return same and task.memory.dumpable and not other.permitted & ~capabilities


def _is_below(group: ThreadGroup, tgid: int) -> bool:
    walker: ThreadGroup | None = group
    while walker is not None and walker.tgid != tgid:
        walker = walker.parent
    return walker is not None
