"""procfs: entries of processes and of the machine, links that lead to places, and who may look."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pysc.cabi._dispatch import ffi
from pysc.cabi.linux import mman
from pysc.cabi.linux.clock import CPUCLOCK_SCHED, CPUCLOCK_VIRT, SECOND, TICK
from pysc.cabi.linux.errors import EACCES, EINVAL, ENOENT, EPERM
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.limits import PAGE
from pysc.cabi.linux.sched import NEW_NAMESPACES
from pysc.sentry.fs.context import FsContext
from pysc.sentry.fs.epoll import EpollFile
from pysc.sentry.fs.eventfd import EventFile
from pysc.sentry.fs.mounting import make
from pysc.sentry.fs.proc.namespaces import NS_GET_NSTYPE
from pysc.sentry.fs.sysfs import processor_map
from pysc.sentry.fs.timerfd import TimerFile
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.fs.walk import resolve
from pysc.sentry.kernel import usage
from pysc.sentry.kernel.account import Usage
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.host_locks import END
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.kernel.locks import RecordLock
from pysc.sentry.kernel.mapped_files import note_image
from pysc.sentry.kernel.memory import Donated, Memory
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.kernel.session import Session
from pysc.sentry.kernel.task import Task
from pysc.sentry.kernel.thread_group import ThreadGroup
from pysc.sentry.kernel.usage import processor_times
from pysc.sentry.syscalls.locks import locks_of
from pysc.sentry.syscalls.x86_64 import X86_64
from tests.support.vfs_world import BUFFER, World

PID = 7


class Workers:
    """Workers that do it at once."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def read_file(self, dirfd: int, path: bytes, size: int, offset: int = 0) -> bytes:
        self.asked.append(path)
        fd = os.open(path, os.O_RDONLY, dir_fd=dirfd)
        try:
            return b"".join(iter(lambda: os.read(fd, size), b"")) if not offset else os.pread(fd, size, offset)
        finally:
            os.close(fd)


@pytest.fixture
def world() -> World:
    """A reader on a tmpfs with /proc mounted, and a process 7 in its kernel that runs as user 1000."""
    reader = World(Tmpfs(mode=0o755))
    kernel = Kernel(cast(Any, None), X86_64)
    reader.kernel = kernel
    kernel.workers = Workers()
    for name in (b"/proc", b"/home"):
        reader.call("mkdir", name, 0o755)
    reader.put_file(b"/home/f", b"opened")
    reader.call("mount", reader.poke(b"proc\0"), b"/proc", reader.poke(b"proc\0", BUFFER + 64), 0, 0)
    group = ThreadGroup(kernel, PID, None)
    space = SimpleNamespace(
        host_pid=os.getpid(), heap_end=0, hidden=(0, 0), own=(0, 0), said=(0, 0), take_mapped=tuple, begun=_at_once
    )
    context = FsContext(reader.fs.root)
    creds = Credentials.of(1000, 1000)
    thread = cast(Any, SimpleNamespace(sigmask=0))
    task = Task(kernel, PID, group, thread, creds, context, FDTable(), Memory(cast(Any, space)))
    task.comm = b"sleeper"
    group.leader = group.tasks[PID] = kernel.tasks[PID] = task
    kernel.groups[PID] = group
    Session(group).new_group(kernel, PID).join(group)
    task.fds.install(reader.fds.get(reader.open(b"/home/f")), 10)
    reader.group = ThreadGroup(kernel, 1, None)
    return reader


async def _at_once() -> None:
    """The host process is there."""


def fields(text: bytes) -> dict[bytes, bytes]:
    return dict(cast("tuple[bytes, bytes]", tuple(line.split(b":\t", 1))) for line in text.splitlines())


def target(world: World, link: bytes) -> bytes:
    size = world.try_call("readlink", link, BUFFER, 4096)
    return world.peek(size)


def test_memory_is_looked_at_by_workers(world: World) -> None:
    """A guest can hold the lock of its memory for long."""
    task = world.kernel.tasks[PID]
    text = b"an argument\0"
    buffer = ffi.from_buffer(text)
    task.memory.arg_start = int(ffi.cast("uintptr_t", buffer))
    task.memory.arg_end = task.memory.arg_start + len(text)
    assert world.get_file(b"/proc/7/cmdline") == text
    world.get_file(b"/proc/7/maps")
    world.get_file(b"/proc/7/smaps")
    assert world.kernel.workers.asked == [b"%d/%s" % (os.getpid(), name) for name in (b"mem", b"maps", b"smaps")]


def test_how_much_of_memory_is_there(world: World) -> None:
    """Process 7 is this one on the host."""
    line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if " r-xp " in line and "/" in line)
    device, inode = line.split()[3:5]
    known = os.makedev(*(int(part, 16) for part in device.split(":"))), int(inode)
    world.kernel.tasks[PID].memory.donated[known] = Donated(b"/lib", 5, 77)
    text = world.get_file(b"/proc/7/smaps")
    ranges = re.findall(rb"^[0-9a-f]+-[0-9a-f]+ .*\n(?:\w+: +\d+ kB\n)+VmFlags: [rdwex ]+\n", text, re.M)
    assert len(re.findall(rb"^VmFlags", text, re.M)) == len(ranges) > 20
    for found in ranges:  # who else has a file is not told
        size = {name: int(number) for name, number in re.findall(rb"^(\w+): +(\d+) kB$", found, re.M)}
        assert size[b"Pss"] <= size[b"Rss"] <= size[b"Size"]
        if b" 77 " in found.partition(b"\n")[0]:
            assert size[b"Pss"] == size[b"Rss"]
            assert size[b"Shared_Clean"] == size[b"Shared_Dirty"] == 0

    def total(text: bytes, name: bytes) -> int:
        return sum(map(int, re.findall(rb"^%s: +(\d+) kB$" % name, text, re.M)))

    assert total(text, b"Size") > total(text, b"Rss") >= total(text, b"Pss") > total(text, b"Private_Dirty") > 0
    assert b" 00:05 77 " in text
    head, _newline, whole = world.get_file(b"/proc/7/smaps_rollup").partition(b"\n")
    assert head.endswith(b" ---p 00000000 00:00 0                          [rollup]")
    for name in (b"Rss", b"Pss", b"Anonymous"):
        assert total(whole, name) == pytest.approx(total(text, name), rel=0.2)
    assert total(whole, b"Size") == 0


def test_saved_memory_is_anonymous(world: World, tmp_path: Path) -> None:
    """The host has it in pieces, from a file; a program sees what it was."""
    saved = tmp_path / "memory"
    saved.write_bytes(b"saved" * 8192)
    fd = os.open(saved, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_long] * 5]

    def put(address: int | None, pages: int, prot: int, file: int, offset: int = 0) -> int:
        anonymous = mman.MAP_ANONYMOUS if file < 0 else 0
        fixed = mman.MAP_FIXED if address else 0
        kind = mman.MAP_PRIVATE | anonymous | fixed
        return cast(int, libc.mmap(address, pages * PAGE, prot, kind, file, offset * PAGE))

    whole = put(None, 12, 0, -1)
    start = whole + PAGE
    rw = mman.PROT_READ | mman.PROT_WRITE
    for at, pages, prot, file, offset in (
        (0, 2, rw, -1, 0),
        (2, 2, rw, fd, 1),
        (4, 1, rw, fd, 7),
        (5, 1, rw, -1, 0),
        (6, 1, mman.PROT_READ, fd, 0),
        (7, 2, rw, fd, 2),
        (9, 1, rw, -1, 0),
    ):
        assert put(start + at * PAGE, pages, prot, file, offset) == start + at * PAGE
    ctypes.memset(start + 2 * PAGE, 1, PAGE)
    assert ctypes.string_at(start + 4 * PAGE, PAGE)
    memory = world.kernel.tasks[PID].memory
    note_image(memory, fd)

    def shown() -> list[tuple[int, int, bytes, bytes]]:
        lines = (line.split(None, 5) for line in world.get_file(b"/proc/7/maps").splitlines())
        found = []
        for line in lines:
            low, high = ((int(part, 16) - start) // PAGE for part in line[0].split(b"-"))
            if 0 <= low < 10:
                assert line[2:5] == [b"00000000", b"00:00", b"0"]
                found.append((low, high, line[1], b"".join(line[5:])))
        return found

    try:
        assert shown() == [(0, 6, b"rw-p", b""), (6, 7, b"r--p", b""), (7, 10, b"rw-p", b"")]
        memory.brk_start = start + 2 * PAGE
        memory.space.heap_end = start + 6 * PAGE  # type: ignore[misc]
        memory.stack_top = start + 9 * PAGE
        shown_then = shown()
        assert shown_then[:2] == [(0, 2, b"rw-p", b""), (2, 6, b"rw-p", b"[heap]")]
        assert shown_then[2:] == [(6, 7, b"r--p", b""), (7, 10, b"rw-p", b"[stack]")]
        text = world.get_file(b"/proc/7/smaps").partition(b"%08x-" % (start + 2 * PAGE))[2].partition(b"VmFlags")[0]
        sizes = {name: int(number) for name, number in re.findall(rb"^(\w+): +(\d+) kB$", text, re.M)}
        assert sizes[b"Size"] == 4 * PAGE >> 10
        assert sizes[b"Rss"] >= 2 * PAGE >> 10
        assert sizes[b"Rss"] == sizes[b"Pss"] == sizes[b"Anonymous"] == sizes[b"Private_Dirty"]
        assert sizes[b"Private_Clean"] == sizes[b"Shared_Clean"] == sizes[b"Shared_Dirty"] == 0
        assert memory.copy(memory.space, PID).donated == memory.donated
    finally:
        libc.munmap(ctypes.c_void_p(whole), ctypes.c_long(12 * PAGE))
        os.close(fd)


def test_status(world: World) -> None:
    shown = fields(world.get_file(b"/proc/7/status"))
    assert shown[b"Name"] == b"sleeper"
    assert shown[b"Pid"] == b"7"
    assert shown[b"Uid"] == b"1000\t1000\t1000\t1000"
    assert int(shown[b"CapEff"], 16) == 0
    assert shown[b"Threads"] == b"1"


def test_stat_has_52_fields(world: World) -> None:
    line = world.get_file(b"/proc/7/stat")
    assert line.startswith(b"7 (sleeper) R 0 7 7 ")
    assert len(line.rpartition(b")")[2].split()) == 50


def test_owner(world: World) -> None:
    assert world.stat(b"/proc/7")[4:6] == (1000, 1000)
    assert world.stat(b"/proc/7/fd")[3] == 0o040500


def test_numbers_come_and_go(world: World) -> None:
    assert b"7" in world.listdir(b"/proc")
    assert world.listdir(b"/proc/7/task") == [b"7"]
    fd = world.open(b"/proc/7/status")
    del world.kernel.groups[PID], world.kernel.tasks[PID]
    assert world.call("stat", b"/proc/7", BUFFER) == -ENOENT.errno
    assert world.call("read", fd, BUFFER, 100) == -3
    assert b"7" not in world.listdir(b"/proc")
    assert world.call("stat", b"/proc/07", BUFFER) == -ENOENT.errno


def test_descriptors_lead_to_the_file(world: World) -> None:
    assert world.listdir(b"/proc/7/fd") == [b"0"]
    assert target(world, b"/proc/7/fd/0") == b"/home/f"
    assert world.get_file(b"/proc/7/fd/0") == b"opened"
    world.call("unlink", b"/home/f")
    assert target(world, b"/proc/7/fd/0") == b"/home/f (deleted)"
    assert world.get_file(b"/proc/7/fd/0") == b"opened"
    assert world.get_file(b"/proc/7/fdinfo/0").startswith(b"pos:\t0\nflags:\t0100000\n")
    task = world.kernel.tasks[PID]
    task.fds.close(task, 0)
    assert world.call("readlink", b"/proc/7/fd/0", BUFFER, 100) == -ENOENT.errno


def test_root_and_directory(world: World) -> None:
    task = world.kernel.tasks[PID]
    task.fs.cwd = world.run(resolve(cast(Any, world), AT_FDCWD, b"/home"))
    assert target(world, b"/proc/7/cwd") == b"/home"
    assert world.get_file(b"/proc/7/cwd/f") == b"opened"
    assert world.stat(b"/proc/7/root/home")[1] == world.stat(b"/home")[1]


@pytest.mark.parametrize("name", [b"environ", b"maps", b"auxv"])
def test_strangers_see_nothing_private(world: World, name: bytes) -> None:
    path = b"/proc/7/" + name
    assert world.open(path) >= 0
    world.creds = Credentials.of(2000, 2000)
    fd = world.open(path)
    assert fd == -EACCES.errno or world.call("read", fd, BUFFER, 100) == -EACCES.errno
    assert world.call("readlink", b"/proc/7/cwd", BUFFER, 100) == -EACCES.errno
    assert world.open(b"/proc/7/fd", 0o200000) == -EACCES.errno
    assert world.get_file(b"/proc/7/status")


def test_the_score_is_written(world: World) -> None:
    path = b"/proc/7/oom_score_adj"
    fd = world.open(path, 2)
    assert world.write(fd, b"500\n") == 4
    assert world.get_file(path) == b"500\n"
    assert world.write(fd, b"5000") == -EINVAL.errno
    assert world.write(fd, b"x") == -EINVAL.errno
    world.creds = Credentials.of(1000, 1000)
    assert world.open(b"/proc/7/status", 1) == -EACCES.errno


def test_the_machine(world: World) -> None:
    assert world.get_file(b"/proc/sys/kernel/hostname") == b"pysc\n"
    assert b"MemTotal:" in world.get_file(b"/proc/meminfo")
    assert world.get_file(b"/proc/uptime").count(b" ") == 1
    assert len(world.get_file(b"/proc/loadavg").split()) == 5
    assert b"btime " in world.get_file(b"/proc/stat")
    assert b"\ttmpfs\n" in world.get_file(b"/proc/filesystems")
    first, second = (world.get_file(b"/proc/sys/kernel/random/uuid") for _ in range(2))
    assert len(first) == 37
    assert first != second


def test_locks(world: World) -> None:
    task = world.kernel.tasks[PID]
    file = task.fds.get(0)
    locks = locks_of(file)
    assert locks is not None
    ino = world.stat(b"/home/f")[1]
    assert world.get_file(b"/proc/locks") == b""
    world.run(locks.flock(file, False, wait=False))
    world.run(locks.lock(RecordLock(task.fds.lock_owner, PID, True, 5, 9), {}, wait=False))
    world.run(locks.lock(RecordLock(file.lock_owner, -1, False, 20, END), {}, wait=False))
    device = b"%02x:%02x" % (os.major(file.path.inode.fs.dev), os.minor(file.path.inode.fs.dev))
    assert world.get_file(b"/proc/locks").splitlines() == [
        b"1: FLOCK  ADVISORY  READ  7 %s:%d 0 EOF" % (device, ino),
        b"2: POSIX  ADVISORY  WRITE 7 %s:%d 5 9" % (device, ino),
        b"3: OFDLCK ADVISORY  READ  -1 %s:%d 20 EOF" % (device, ino),
    ]


def test_what_descriptors_are(world: World) -> None:
    """fdinfo of what has no name, as lsof(8) and others read it; and the locks that somebody holds by it."""
    task = world.kernel.tasks[PID]
    event, timer = EventFile(5, True, 0), TimerFile(world.scheduler, 1, 0)
    timer.set(1_500_000_000, 2_000_000_003, absolute=False)
    epoll = EpollFile()
    epoll.add(4, event, 1, 7)
    for number, file in ((4, event), (5, timer), (6, epoll)):
        file.get()
        assert task.fds.install(file, 10, lowest=number) == number
    file = task.fds.get(0)
    locks = locks_of(file)
    assert locks is not None
    world.run(locks.flock(file, True, wait=False))
    world.run(locks.lock(RecordLock(FDTable().lock_owner, 1, True, 5, 9), {}, wait=False))

    def shown(number: int) -> bytes:
        return world.get_file(b"/proc/7/fdinfo/%d" % number)

    ino, device = event.identity()
    assert b"\nino:\t%d\n" % ino in shown(4)
    assert re.search(rb"\neventfd-count: {16}5\neventfd-id: \d+\neventfd-semaphore: 1\n$", shown(4))
    assert b"\nclockid: 1\nticks: 0\nsettime flags: 00\nit_value: (1, 4" in shown(5)
    assert shown(5).endswith(b"\nit_interval: (2, 3)\n")
    assert b"\ntfd:        4 events:       19 data: %16x  pos:0 ino:%x sdev:%x\n" % (7, ino, device) in shown(6)
    assert b"\nlock:\t1: FLOCK  ADVISORY  WRITE 7 " in shown(0)
    assert shown(0).count(b"lock:") == 1


def test_namespaces(world: World) -> None:
    for name in world.listdir(b"/proc/7/ns"):
        link = b"/proc/7/ns/" + name
        ino, mode = world.stat(link)[1], world.stat(link)[3]
        assert target(world, link) == b"%s:[%d]" % (name.removesuffix(b"_for_children"), ino)
        assert mode == 0o100444
        assert world.open(link, 1) == -EPERM.errno
        fd = world.open(link)
        assert world.call("read", fd, BUFFER, 1) == -EINVAL.errno
        assert world.call("ioctl", fd, NS_GET_NSTYPE, 0) & NEW_NAMESPACES
    before = target(world, b"/proc/7/ns/mnt")
    task = world.kernel.tasks[PID]
    task.fs.namespace, _copies = task.fs.namespace.copy()
    assert target(world, b"/proc/7/ns/mnt") != before
    world.creds = Credentials.of(2000, 2000)
    assert world.call("readlink", b"/proc/7/ns/mnt", BUFFER, 100) == -EACCES.errno


def test_processor_time_of_all(world: World) -> None:
    """Of what has ended, and of what runs: process 7 is this one on the host."""
    kernel = world.kernel
    kernel.spent = Usage(500 * SECOND, 300 * SECOND)
    kernel.boot_time = now() - 2000 * SECOND
    space = kernel.tasks[PID].memory.space
    before = processor_times(space)
    names, *numbers = world.get_file(b"/proc/stat").splitlines()[0].split()
    user, nice, system, idle = map(int, numbers[:4])
    after = processor_times(space)
    slack = kernel.machine.cpus  # each has its share in whole ticks
    assert names == b"cpu"
    assert nice == 0
    assert before[0] // TICK - slack <= user - 50000 <= after[0] // TICK
    assert before[1] // TICK - slack <= system - 30000 <= after[1] // TICK
    assert abs(200000 * slack - user - system - idle) <= 100
    assert float(world.get_file(b"/proc/uptime").split()[1]) == pytest.approx(idle / 100, abs=2)


def test_processor_time_never_goes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a tick of the program's takes what the kernel had; and it stays what it was when the process is gone."""
    space, said = world.kernel.tasks[PID].memory.space, []
    for both, user in (3, 0), (5, 4), (6, 4), (10, 8), (20, 8), (21, 24), (30, 24), (0, 0), (31, 24):
        clocks = {CPUCLOCK_SCHED: both, CPUCLOCK_VIRT: user}
        monkeypatch.setattr(usage, "_clock", lambda _pid, which, clocks=clocks: clocks[which])
        said.append(processor_times(space))
    assert said == [(0, 3), (2, 3), (3, 3), (7, 3), (8, 12), (9, 12), (18, 12), (18, 12), (19, 12)]


def test_every_entry_can_be_read(world: World) -> None:
    """No name in a listing is a surprise: directories list, files read, links show a text."""

    def visit(path: bytes) -> int:
        seen = 0
        for name in world.listdir(path):
            below = path + b"/" + name
            mode = world.stat(below, follow=False)[3]
            seen += 1
            if mode & 0o170000 == 0o040000:
                seen += visit(below)
            elif mode & 0o170000 == 0o120000:
                assert name == b"exe" or target(world, below), below
            elif mode & 0o444:
                world.get_file(below)
        return seen

    assert visit(b"/proc") > 200


def test_sysfs(world: World) -> None:
    world.call("mkdir", b"/sys", 0o755)
    world.call("mount", world.poke(b"sysfs\0"), b"/sys", world.poke(b"sysfs\0", BUFFER + 64), 0, 0)
    assert world.get_file(b"/sys/devices/system/cpu/online").startswith(b"0")
    assert world.get_file(b"/sys/devices/system/cpu/cpu0/topology/thread_siblings") == b"1\n"
    everybody = world.get_file(b"/sys/devices/system/node/node0/cpumap")
    assert int(everybody.replace(b",", b""), 16) == (1 << world.kernel.machine.cpus) - 1
    assert processor_map(1 << 33 | 5) == b"2,00000005\n"
    assert world.open(b"/sys/devices/new", 0o101) < 0
    assert make(world.kernel, b"sysfs").name == b"sysfs"
