"""stat, statm and status of a process or a thread (proc_pid_stat(5), proc_pid_status(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pysc.cabi.linux.clock import TICK
from pysc.cabi.linux.limits import PAGE
from pysc.sentry.fs import hostproc
from pysc.sentry.kernel.task import TaskState
from pysc.sentry.kernel.usage import group_usage, task_usage

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

PAGE_KIB: Final = 4
STACK_PAGES: Final = 33
"""As most stacks have: all of one is mapped from the beginning, and counts as data."""
_STATES: Final = {
    b"D": b"D (disk sleep)",
    b"R": b"R (running)",
    b"S": b"S (sleeping)",
    b"T": b"T (stopped)",
    b"X": b"X (dead)",
    b"Z": b"Z (zombie)",
}


def _state(reader: Task | None, task: Task) -> bytes:
    if task.state is TaskState.DEAD:
        return b"Z"
    if task is reader:
        return b"R"
    if task.group.stopped:
        return b"T"
    if task.state is TaskState.GUEST and task.thread.waits:
        return b"S"
    if task.state is TaskState.KERNEL and not (task.routine is not None and task.routine.parked):
        return b"R" if task.vfork_wait is None else b"D"  # it is on its way into the wait, or out of it
    return str(task.state.value).encode()


class _Sizes(NamedTuple):
    """Pages: of virtual memory, resident, of these shared, and of data and stack.  Zeros of what is gone."""

    size: int = 0
    resident: int = 0
    shared: int = 0
    data: int = 0


def _sizes(task: Task) -> _Sizes:
    space = task.memory.space
    if task.group.exited or task.memory.ended:
        return _Sizes()
    try:
        fields = [int(field) for field in hostproc.read(f"{space.host_pid}/statm").split()]
        size, data = space.own
        return _Sizes(max(0, fields[0] - size), fields[1], fields[2], max(0, fields[5] - data))
    except (OSError, ValueError, IndexError):
        return _Sizes()


def statm(task: Task) -> bytes:
    """Return /proc/PID/statm."""
    return b"%d %d %d 0 0 %d 0\n" % _sizes(task)


def _parent(task: Task) -> int:
    parent = task.group.parent
    return parent.tgid if parent is not None else 0


def stat(reader: Task, task: Task, *, whole: bool) -> bytes:
    """Return /proc/PID/stat; of the thread alone it says the processor time unless it is for the ``whole`` process."""
    group, memory = task.group, task.memory
    size, resident, _shared, _data = _sizes(task)
    usage = group_usage(group) if whole else task_usage(task)
    process_group = group.process_group
    tty = process_group.session.tty
    terminal = getattr(tty, "rdev", 0)
    foreground = process_group.session.foreground
    fields: list[int] = [
        _parent(task),
        process_group.pgid,
        process_group.session.sid,
        terminal,
        foreground.pgid if foreground is not None else -1,
        0,
        0,
        0,
        0,
        0,
        usage.user // TICK,
        usage.system // TICK,
        group.account.children.user // TICK,
        group.account.children.system // TICK,
        20 + task.scheduling.nice,
        task.scheduling.nice,
        len(group.tasks),
        0,
        (task.start_time - task.kernel.boot_time) // TICK,
        size * PAGE,
        resident,
        group.limits[5][0],
        0,
        0,
        memory.stack_top,
        0,
        0,
        task.pending.mask & 0x7FFF_FFFF,
        task.mask & 0x7FFF_FFFF,
        task.handlers.ignored & 0x7FFF_FFFF,
        task.handlers.caught & 0x7FFF_FFFF,
        0,
        0,
        0,
        group.exit_signal,
        0,
        0,
        task.scheduling.policy,
        0,
        0,
        0,
        0,
        0,
        memory.brk_start,
        memory.arg_start,
        memory.arg_end,
        memory.env_start,
        memory.env_end,
        group.exit_status or 0,
    ]
    numbers = b" ".join(b"%d" % field for field in fields)
    return b"%d (%s) %s %s\n" % (task.tid, task.comm, _state(reader, task), numbers)


def _ranges(mask: int) -> bytes:
    """Return a set as lists of processors are written: ``0-2,5``."""
    parts, low = [], 0
    while mask >> low:
        if mask >> low & 1:
            high = low
            while mask >> high + 1 & 1:
                high += 1
            parts.append(b"%d" % low if high == low else b"%d-%d" % (low, high))
            low = high
        low += 1
    return b",".join(parts)


def status(task: Task) -> bytes:
    """Return /proc/PID/status."""
    group, creds = task.group, task.creds
    size, resident, shared, data = _sizes(task)
    limit = group.limits[11][0]
    allowed = task.scheduling.affinity & ((1 << task.kernel.cpu_count) - 1)
    rows: list[tuple[bytes, bytes]] = [
        (b"Name", task.comm.replace(b"\\", rb"\\").replace(b"\n", rb"\n")),
        (b"Umask", b"%04o" % task.fs.umask),
        (b"State", _STATES[_state(None, task)]),
        (b"Tgid", b"%d" % group.tgid),
        (b"Ngid", b"0"),
        (b"Pid", b"%d" % task.tid),
        (b"PPid", b"%d" % _parent(task)),
        (b"TracerPid", b"0"),
        (b"Uid", b"%d\t%d\t%d\t%d" % (creds.uid, creds.euid, creds.suid, creds.fsuid)),
        (b"Gid", b"%d\t%d\t%d\t%d" % (creds.gid, creds.egid, creds.sgid, creds.fsgid)),
        (b"FDSize", b"%d" % max(64, 1 << (max(1, len(task.fds)) - 1).bit_length())),
        (b"Groups", b"".join(b"%d " % gid for gid in creds.groups)),
        (b"NStgid", b"%d" % group.tgid),
        (b"NSpid", b"%d" % task.tid),
        (b"NSpgid", b"%d" % group.process_group.pgid),
        (b"NSsid", b"%d" % group.process_group.session.sid),
    ]
    if not group.exited:
        rows += [
            (name, b"%8d kB" % (pages * PAGE_KIB))
            for name, pages in (
                (b"VmPeak", size),
                (b"VmSize", size),
                (b"VmLck", 0),
                (b"VmPin", 0),
                (b"VmHWM", resident),
                (b"VmRSS", resident),
                (b"RssAnon", max(0, resident - shared)),
                (b"RssFile", shared),
                (b"RssShmem", 0),
                (b"VmData", max(0, data - STACK_PAGES)),
                (b"VmStk", STACK_PAGES),
                (b"VmExe", 0),
                (b"VmLib", 0),
                (b"VmPTE", 0),
                (b"VmSwap", 0),
            )
        ]
    rows += [
        (b"Threads", b"%d" % len(group.tasks)),
        (b"SigQ", b"0/%d" % min(limit, 1 << 32)),
        (b"SigPnd", b"%016x" % task.pending.mask),
        (b"ShdPnd", b"%016x" % group.pending.mask),
        (b"SigBlk", b"%016x" % task.mask),
        (b"SigIgn", b"%016x" % task.handlers.ignored),
        (b"SigCgt", b"%016x" % task.handlers.caught),
        (b"CapInh", b"%016x" % creds.inheritable),
        (b"CapPrm", b"%016x" % creds.permitted),
        (b"CapEff", b"%016x" % creds.effective),
        (b"CapBnd", b"%016x" % creds.bounding),
        (b"CapAmb", b"%016x" % creds.ambient),
        (b"NoNewPrivs", b"%d" % creds.no_new_privs),
        (b"Seccomp", b"0"),
        (b"Seccomp_filters", b"0"),
        (b"Cpus_allowed", b"%x" % allowed),
        (b"Cpus_allowed_list", _ranges(allowed)),
        (b"Mems_allowed", b"1"),
        (b"Mems_allowed_list", b"0"),
        (b"voluntary_ctxt_switches", b"0"),
        (b"nonvoluntary_ctxt_switches", b"0"),
    ]
    return b"".join(name + b":\t" + value + b"\n" for name, value in rows)
