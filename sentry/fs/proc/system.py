"""Entries of /proc that are about the machine (proc(5)), in alphabetical order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.clock import TICK
from pysc.sentry.fs.proc.base import Factory, constant, folder, link, text
from pysc.sentry.fs.proc.locks import Locks
from pysc.sentry.fs.proc.mounts import mounts_link
from pysc.sentry.fs.proc.sysvipc import SYSVIPC
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.kernel.usage import machine_usage

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.task import Task

FILESYSTEMS: Final = (b"cgroup2", b"devpts", b"devtmpfs", b"mqueue", b"overlay", b"proc", b"sysfs", b"tmpfs")


def _cpuinfo(task: Task) -> bytes:
    blocks = [block for block in task.kernel.machine.cpuinfo.split(b"\n\n") if block.strip()]
    wanted = task.kernel.machine.cpus
    if not blocks:
        blocks = [b"processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel name\t: pysc\nflags\t\t: fpu"]
    out = []
    for index in range(wanted):
        lines = blocks[min(index, len(blocks) - 1)].split(b"\n")
        lines = [b"processor\t: %d" % index if line.startswith(b"processor") else line for line in lines]
        out.append(b"\n".join(lines) + b"\n\n")
    return b"".join(out)


def _filesystems(task: Task) -> bytes:
    return b"".join(b"nodev\t%s\n" % name for name in FILESYSTEMS)


def _loadavg(task: Task) -> bytes:
    kernel = task.kernel
    return b"0.00 0.00 0.00 1/%d %d\n" % (len(kernel.tasks), kernel.next_pid - 1)


def _meminfo(task: Task) -> bytes:
    machine = task.kernel.machine
    total = machine.memory >> 10
    shared = machine.shared >> 10
    free = max(0, total * 3 // 4 - shared)
    rows: tuple[tuple[bytes, int], ...] = (
        (b"MemTotal", total),
        (b"MemFree", free),
        (b"MemAvailable", free),
        (b"Buffers", 0),
        (b"Cached", shared),
        (b"SwapCached", 0),
        (b"Active", 0),
        (b"Inactive", shared),
        (b"Active(anon)", 0),
        (b"Inactive(anon)", shared),
        (b"Active(file)", 0),
        (b"Inactive(file)", 0),
        (b"Unevictable", 0),
        (b"Mlocked", 0),
        (b"SwapTotal", 0),
        (b"SwapFree", 0),
        (b"Dirty", 0),
        (b"Writeback", 0),
        (b"AnonPages", 0),
        (b"Mapped", 0),
        (b"Shmem", shared),
        (b"Slab", 0),
        (b"SReclaimable", 0),
        (b"SUnreclaim", 0),
        (b"KernelStack", 0),
        (b"PageTables", 0),
        (b"CommitLimit", total),
        (b"Committed_AS", 0),
        (b"VmallocTotal", 34359738367),
        (b"VmallocUsed", 0),
        (b"VmallocChunk", 0),
    )
    lines = [(name + b":").ljust(16) + b"%8d kB\n" % value for name, value in rows]
    lines += [b"HugePages_Total:       0\n", b"HugePages_Free:        0\n", b"HugePages_Rsvd:        0\n"]
    lines += [b"HugePages_Surp:        0\n", b"Hugepagesize:       2048 kB\n"]
    return b"".join(lines)


def _shares(kernel: Kernel) -> tuple[int, int, int]:
    """Return the ticks of each processor, used and idle: which of them it was is the host's to know."""
    used, count = machine_usage(kernel), kernel.machine.cpus
    user, system = used.user // TICK // count, used.system // TICK // count
    return user, system, max(0, (now() - kernel.boot_time) // TICK - user - system)


def _stat(task: Task) -> bytes:
    kernel = task.kernel
    count = kernel.machine.cpus
    user, system, idle = _shares(kernel)
    lines = [b"cpu  %d 0 %d %d 0 0 0 0 0 0\n" % (user * count, system * count, idle * count)]
    lines += [b"cpu%d %d 0 %d %d 0 0 0 0 0 0\n" % (index, user, system, idle) for index in range(count)]
    running = sum(other.state.value == "R" for other in kernel.tasks.values())
    lines.append(
        b"intr 0\nctxt 0\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n"
        % (kernel.wall_boot_time, kernel.next_pid - 1, max(1, running))
    )
    return b"".join(lines)


def _uptime(task: Task) -> bytes:
    hundredths = (now() - task.kernel.boot_time) // TICK
    idle = _shares(task.kernel)[2] * task.kernel.machine.cpus
    return b"%d.%02d %d.%02d\n" % (hundredths // 100, hundredths % 100, idle // 100, idle % 100)


def _version(task: Task) -> bytes:
    uts = task.kernel.uts
    return b"%s version %s (pysc@pysc) (cc) %s\n" % (uts.sysname, uts.release, uts.version)


SYSTEM: Final[dict[bytes, Factory]] = {
    b"bus": folder({}),
    b"cgroups": constant(b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n"),
    b"cmdline": constant(b"\n"),
    b"consoles": constant(b""),
    b"cpuinfo": text(_cpuinfo),
    b"crypto": constant(b""),
    b"devices": constant(
        b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n"
    ),
    b"diskstats": constant(b""),
    b"driver": folder({}),
    b"filesystems": text(_filesystems),
    b"fs": folder({}),
    b"interrupts": constant(b""),
    b"irq": folder({}),
    b"kallsyms": constant(b""),
    b"kcore": constant(b"", 0o400),
    b"keys": constant(b""),
    b"key-users": constant(b""),
    b"kmsg": constant(b"", 0o400),
    b"latency_stats": constant(b""),
    b"loadavg": text(_loadavg),
    b"locks": Locks(),
    b"meminfo": text(_meminfo),
    b"misc": constant(b""),
    b"modules": constant(b""),
    b"mounts": mounts_link,
    b"net": link(lambda _task: b"self/net"),
    b"partitions": constant(b"major minor  #blocks  name\n\n"),
    b"stat": text(_stat),
    b"swaps": constant(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    b"sysrq-trigger": text(lambda _task: b"", lambda _task, _data: None, 0o200),
    b"sysvipc": folder(SYSVIPC),
    b"timer_list": constant(b"", 0o400),
    b"uptime": text(_uptime),
    b"version": text(_version),
    b"vmstat": constant(b"nr_free_pages 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\n"),
    b"zoneinfo": constant(b""),
}
