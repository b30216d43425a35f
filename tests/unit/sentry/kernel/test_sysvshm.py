"""Shared memory: who has what attached, what becomes of it, and what it costs.  tests/guests/sysvshm.c has the rest."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from pysc.cabi.linux import ipc as abi
from pysc.cabi.linux.errors import EIDRM, EINVAL, EMFILE, ENOMEM, ENOSPC
from pysc.sentry.fs.proc.sysctl import SYS
from pysc.sentry.ipc import objects, shm
from pysc.sentry.ipc.shm import Segment
from pysc.sentry.kernel.task import Task
from tests.unit.sentry.kernel.kernel_world import BASE, World

PAGE = 4096
CREATE = abi.IPC_CREAT | 0o600
NR_MMAP, NR_MUNMAP, NR_MREMAP = 9, 11, 25
FIXED = 0x32
MINUS_ONE = (1 << 64) - 1


def make(world: World, size: int = 5 * PAGE) -> Segment:
    return world.kernel.ipc.shm.table.obtain(world.call(world.init, "shmget", 0, size, CREATE))


def attach(world: World, segment: Segment, where: int, task: Task | None = None) -> int:
    task = task or world.init
    thread: Any = task.thread
    thread.host_results[NR_MMAP] = where
    return world.call(task, "shmat", segment.id, 0, 0)


def bounds(task: Task) -> tuple[int, int]:
    space: Any = task.memory.space
    return tuple(space.attached)  # type: ignore[return-value]


def test_the_space_hears_where_something_is_attached(world: World) -> None:
    segment = make(world)
    assert attach(world, segment, BASE) == BASE
    assert bounds(world.init) == (BASE, BASE + 5 * PAGE)
    attach(world, segment, BASE + 16 * PAGE)
    assert bounds(world.init) == (BASE, BASE + 21 * PAGE)
    child = world.fork(world.init)
    assert bounds(child) == bounds(world.init)
    assert segment.attached == 4
    world.exit(child)
    assert (segment.attached, segment.lpid) == (2, child.group.tgid)
    assert world.call(world.init, "shmdt", BASE) == 0
    assert bounds(world.init) == (BASE + 16 * PAGE, BASE + 21 * PAGE)
    assert world.call(world.init, "shmdt", BASE) == -EINVAL.errno
    assert world.call(world.init, "shmdt", BASE + 16 * PAGE) == 0
    assert bounds(world.init) == (0, 0)
    assert segment.attached == 0


def test_calls_that_touch_nothing_are_the_thread_s_own(world: World) -> None:
    segment = make(world)
    attach(world, segment, BASE)
    free = BASE + 5 * PAGE
    for name, nr, args in (
        ("munmap", NR_MUNMAP, (free, PAGE)),
        ("mremap", NR_MREMAP, (free, PAGE, 2 * PAGE, 1, 0)),
        ("mmap", NR_MMAP, (free, PAGE, 3, FIXED, MINUS_ONE, 0)),
    ):
        thread: Any = world.begin(world.init, name, *args)
        assert thread.log[-1][:2] == ("native", nr), name
        thread.stopped = False
    assert segment.attached == 1


@pytest.mark.parametrize(
    ("start", "end", "left"),
    [
        (0, 5, []),
        (-2, 9, []),
        (0, 1, [(1, 5)]),
        (4, 7, [(0, 4)]),
        (2, 3, [(0, 2), (3, 5)]),
        (5, 6, [(0, 5)]),
    ],
)
def test_parts_go(world: World, start: int, end: int, left: list[tuple[int, int]]) -> None:
    segment = make(world)
    base = BASE + 8 * PAGE
    attach(world, segment, base)
    space: Any = world.init.memory.space
    if (start, end) != (5, 6):
        assert world.call(world.init, "munmap", base + start * PAGE, (end - start) * PAGE) == 0
    ranges = world.init.memory.attached._ranges
    assert [((one.start - base) // PAGE, (one.end - base) // PAGE) for one in ranges] == left
    assert all(one.offset == one.start - base for one in ranges)
    assert segment.attached == len(left)
    assert space.attached == ((ranges[0].start, ranges[-1].end) if ranges else (0, 0))
    assert (world.call(world.init, "shmdt", base) == 0) is bool(left)
    assert segment.attached == 0


def test_what_the_host_refuses_changes_nothing(world: World) -> None:
    segment = make(world)
    attach(world, segment, BASE)
    thread: Any = world.init.thread
    thread.host_results |= {NR_MUNMAP: -ENOMEM.errno, NR_MMAP: -ENOMEM.errno, NR_MREMAP: -ENOMEM.errno}
    for name, args in (
        ("munmap", (BASE, PAGE)),
        ("mmap", (BASE, PAGE, 3, FIXED, MINUS_ONE, 0)),
        ("mremap", (BASE, PAGE, 2 * PAGE, 0, 0)),
        ("shmat", (segment.id, 0, 0)),
    ):
        assert world.call(world.init, name, *args) == -ENOMEM.errno, name
    assert segment.attached == 1
    assert [(one.start, one.end) for one in world.init.memory.attached._ranges] == [(BASE, BASE + 5 * PAGE)]


@pytest.mark.parametrize("where", [BASE + 1, 1 << 47, 0x1000, (1 << 47) - PAGE])
def test_a_thread_that_lies_about_where_it_mapped(world: World, where: int) -> None:
    segment = make(world)
    assert attach(world, segment, where) == -ENOMEM.errno
    assert segment.attached == 0
    assert not len(world.init.memory.attached)


def test_moves_that_were_said_but_not_done(world: World) -> None:
    """Whatever a thread says, ranges do not overlap, and each counts once."""
    one, two = make(world), make(world)
    attach(world, one, BASE)
    attach(world, two, BASE + 3 * PAGE)  # over the end of the first
    thread: Any = world.init.thread
    for result, size in ((BASE + 2 * PAGE, 9 * PAGE), (BASE, PAGE), ((1 << 63) - 1, PAGE), (BASE, 5 * PAGE)):
        attach(world, one, BASE)
        thread.host_results[NR_MREMAP] = result
        world.call(world.init, "mremap", BASE, 3 * PAGE, size, 1, 0)
        ranges = world.init.memory.attached._ranges
        assert all(a.end <= b.start for a, b in pairwise(ranges))
        assert one.attached + two.attached == len(ranges)
    world.exit(world.init)
    assert (one.attached, two.attached) == (0, 0)


def test_the_last_to_leave_a_doomed_segment_destroys_it(world: World) -> None:
    table, budget = world.kernel.ipc.shm, world.kernel.machine.budget
    before = budget.used
    segment = make(world, 100 * PAGE)
    assert (table.pages, budget.used) == (100, before + 100)
    attach(world, segment, BASE)
    child = world.fork(world.init)
    assert world.call(world.init, "shmctl", segment.id, abi.IPC_RMID, 0) == 0
    assert world.call(world.init, "shmdt", BASE) == 0
    assert world.call(child, "shmctl", segment.id, abi.IPC_STAT, BASE) == 0
    world.exit(child)
    assert world.call(world.init, "shmctl", segment.id, abi.IPC_STAT, BASE) == -EINVAL.errno
    assert (table.pages, budget.used, len(table.table)) == (0, before, 0)


def test_execve_leaves_what_was_attached(world: World) -> None:
    segment = make(world)
    attach(world, segment, BASE)
    path = world.write(world.init, 0, b"/init\0")
    world.begin(world.init, "execve", path, 0, 0)
    world.settle()
    assert segment.attached == 0
    assert not len(world.init.memory.attached)


def test_memory_is_charged_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    budget, init = world.kernel.machine.budget, world.init
    most = budget.free * PAGE
    assert world.call(init, "shmget", 0, most + 1, CREATE) == -ENOMEM.errno
    assert world.call(init, "shmget", 0, abi.SHMMAX, CREATE) == -ENOMEM.errno
    assert world.call(init, "shmget", 0, abi.SHMMAX + 1, CREATE) == -EINVAL.errno
    large = world.call(init, "shmget", 0, most, CREATE)
    assert large >= 0
    assert budget.free == 0
    assert world.call(init, "shmget", 0, 1, CREATE) == -ENOMEM.errno
    assert world.call(init, "shmctl", large, abi.IPC_RMID, 0) == 0
    assert budget.free == most // PAGE
    monkeypatch.setattr(objects, "memory_is_short", lambda: True)
    for name, args in (("shmget", (0, 1, CREATE)), ("semget", (0, 1, CREATE)), ("msgget", (0, CREATE))):
        assert world.call(init, name, *args) == -ENOMEM.errno


def test_limits_can_be_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    init, kernel = world.init, SYS[b"kernel"].names  # type: ignore[attr-defined]
    for name, text in ((b"shmmax", b"8192\n"), (b"shmall", b"3"), (b"shmmni", b"2")):
        kernel[name].change(init, text)
        assert kernel[name].text(init) == text.rstrip() + b"\n"
    refused = ((b"shmmni", b"32769"), (b"shmmax", b"-1"), (b"shmmax", b"x"), (b"shmmax", b""), (b"msgmax", b"2000000"))
    for name, text in refused:
        with pytest.raises(EINVAL):
            kernel[name].change(init, text)
    kernel[b"sem"].change(init, b"10 20")
    assert kernel[b"sem"].text(init) == b"10\t20\t500\t32000\n"
    assert world.call(init, "shmget", 0, 8193, CREATE) == -EINVAL.errno
    assert world.call(init, "shmget", 0, 8192, CREATE) >= 0
    assert world.call(init, "shmget", 0, 8192, CREATE) == -ENOSPC.errno  # pages
    first = world.call(init, "shmget", 0, 1, CREATE)
    assert first >= 0
    kernel[b"shmall"].change(init, b"100")
    assert world.call(init, "shmget", 0, 1, CREATE) == -ENOSPC.errno  # segments
    assert world.call(init, "semget", 0, 11, CREATE) == -EINVAL.errno
    assert [world.call(init, "semget", 0, 10, CREATE) >= 0 for _ in range(2)] == [True, True]
    assert world.call(init, "semget", 0, 1, CREATE) == -ENOSPC.errno
    monkeypatch.setattr("pysc.sentry.syscalls.shm.ATTACHED_MOST", 1)
    segment = world.kernel.ipc.shm.table.obtain(first)
    assert attach(world, segment, BASE) == BASE
    assert attach(world, segment, BASE + PAGE) == -EMFILE.errno
    assert shm.ATTACHED_MOST > 1


def test_an_id_is_not_used_again_soon(world: World) -> None:
    seen = set()
    for _ in range(500):
        segment = make(world, 1)
        assert segment.id not in seen
        seen.add(segment.id)
        world.call(world.init, "shmctl", segment.id, abi.IPC_RMID, 0)
    assert max(number % abi.IPCMNI for number in seen) < 64
    old = min(seen)
    table = world.kernel.ipc.shm.table
    wanted = 77 * abi.IPCMNI + 5
    for taken in (0, 1):
        table.next = wanted
        assert make(world, 1).id == wanted + taken
        assert table.next == -1
    table.next = 7 * abi.IPCMNI - 1
    assert make(world, 1).id == 7 * abi.IPCMNI - 1
    table.next = 7 * abi.IPCMNI - 1
    assert make(world, 1).id % abi.IPCMNI < 64  # none is free from there on
    for _ in range(64):
        make(world, 1)
    assert world.call(world.init, "shmctl", old, abi.IPC_STAT, BASE) == -EIDRM.errno
