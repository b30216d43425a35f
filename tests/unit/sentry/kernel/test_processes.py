"""Birth, end and waiting: clone(2), exit(2), wait(2), reparenting."""

from __future__ import annotations

import struct

import pytest

from pysc.cabi.linux.errors import ECHILD, EINVAL
from pysc.cabi.linux.sched import (
    CLONE_CHILD_CLEARTID,
    CLONE_FILES,
    CLONE_FS,
    CLONE_PARENT,
    CLONE_PARENT_SETTID,
    CLONE_SIGHAND,
    CLONE_THREAD,
    CLONE_VM,
    WALL,
    WCONTINUED,
    WNOHANG,
    WNOWAIT,
    WUNTRACED,
)
from pysc.cabi.linux.signals import SIG_IGN, SIGACTION, SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from pysc.sentry.fs.proc.status import _state
from pysc.sentry.kernel.scheduler import Completion
from pysc.sentry.kernel.task import Task
from tests.unit.sentry.kernel.kernel_world import BASE, World

THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD
ANY = (1 << 64) - 1


def status_of(world: World, task: Task) -> int:
    return int.from_bytes(world.read(task, 0, 4), "little")


def new_thread(world: World, task: Task, flags: int = 0) -> Task:
    return world.kernel.tasks[world.call(task, "clone", THREAD | flags, BASE + 0x1000, BASE + 64, BASE + 64, 0)]


def test_a_child_is_a_copy_and_its_end_is_waited_for(world: World) -> None:
    world.write(world.init, 100, b"before")
    child = world.fork(world.init)
    world.write(world.init, 100, b"after!")
    assert world.read(child, 100, 6) == b"before"
    assert world.call(child, "getppid") == world.init.tid
    assert world.call(world.init, "wait4", ANY, BASE, WNOHANG, 0) == 0
    thread = world.begin(world.init, "wait4", ANY, BASE, 0, 0)
    assert thread.stopped
    world.exit(child, 42)
    assert world.result(world.init) == child.tid
    assert status_of(world, world.init) == 42 << 8
    assert child.tid not in world.kernel.groups
    assert world.call(world.init, "wait4", ANY, BASE, 0, 0) == -ECHILD.errno


def test_an_end_by_oneself_sets_no_deadline(world: World) -> None:
    """The grace is for threads that still run: nobody is woken later for a process that has ended."""
    world.exit(world.fork(world.init))
    assert world.kernel.scheduler.deadline() is None


def test_a_zombie_stays_until_it_is_waited_for(world: World) -> None:
    child = world.fork(world.init)
    world.exit(child, 3)
    assert world.kernel.groups[child.tid].exited
    assert world.call(world.init, "waitid", 1, child.tid, BASE, 4 | WNOWAIT, 0) == 0
    signo, _, code, _, pid, _, status = struct.unpack("<iiiiiIi", world.read(world.init, 0, 28))
    assert (signo, code, pid, status) == (SIGCHLD, 1, child.tid, 3)
    assert world.call(world.init, "wait4", child.tid, BASE, 0, 0) == child.tid
    assert child.tid not in world.kernel.groups


def test_clone_children_need_wall(world: World) -> None:
    child = world.kernel.tasks[world.call(world.init, "clone", 0)]
    world.exit(child)
    assert world.call(world.init, "wait4", ANY, 0, WNOHANG, 0) == -ECHILD.errno
    assert world.call(world.init, "wait4", ANY, 0, WNOHANG | WALL, 0) == child.tid


@pytest.mark.parametrize("ignored", [SIG_IGN, 0x5000])
def test_children_of_who_ignores_sigchld_vanish(world: World, ignored: int) -> None:
    flags = 2 if ignored != SIG_IGN else 0  # SA_NOCLDWAIT
    world.write(world.init, 0, SIGACTION.pack(ignored, flags, 0, 0))
    assert world.call(world.init, "rt_sigaction", SIGCHLD, BASE, 0, 8) == 0
    child = world.fork(world.init)
    world.exit(child)
    assert child.tid not in world.kernel.groups
    frame = world.init.thread.frame  # type: ignore[attr-defined]
    assert (frame is not None) == (ignored != SIG_IGN) or world.init.thread.preempted  # type: ignore[attr-defined]


def test_threads_share_and_the_group_ends_with_the_last(world: World) -> None:
    child = world.fork(world.init)
    thread = new_thread(world, child, CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)
    assert thread.group is child.group
    assert int.from_bytes(world.read(child, 64, 4), "little") == thread.tid
    assert world.call(thread, "getpid") == child.tid
    world.begin(child, "exit", 7)
    assert not child.group.exited
    fake = thread.thread
    world.begin(thread, "exit", 9)
    assert fake.log[-1][0] == "exit"  # type: ignore[attr-defined]
    assert world.call(world.init, "wait4", child.tid, BASE, 0, 0) == child.tid
    assert status_of(world, world.init) == 7 << 8  # the leader's


def test_a_thread_that_ends_early_clears_its_word(world: World) -> None:
    child = world.fork(world.init)
    thread = new_thread(world, child, CLONE_CHILD_CLEARTID)
    fake = thread.thread
    world.begin(thread, "exit", 0)
    assert fake.log[-1] == ("exit", BASE + 64)  # type: ignore[attr-defined]


def test_a_thread_that_belongs_to_no_task_any_more_is_ended(world: World) -> None:
    """A report that was under way when its task ended gets the one answer that is left."""
    child = world.fork(world.init)
    world.exit(child)
    thread = world.begin(child, "getpid")
    assert thread.log[-1] == ("exit", 0)


def test_exit_group_ends_running_and_waiting_threads(world: World) -> None:
    child = world.fork(world.init)
    running, waiting = new_thread(world, child), new_thread(world, child)
    world.begin(waiting, "pause")
    world.begin(child, "exit_group", 1)
    assert child.memory.space.killed  # type: ignore[attr-defined]
    assert not waiting.group.tasks.get(waiting.tid)
    from pysc.sentry.platform.interface import Kind

    assert running.tid in child.group.tasks
    world.event(running, Kind.GONE)
    assert child.group.exited
    assert world.call(world.init, "wait4", child.tid, BASE, 0, 0) == child.tid


def test_a_host_process_that_dies_takes_the_guest_s_with_it(world: World) -> None:
    from pysc.sentry.platform.interface import Kind

    child = world.fork(world.init)
    world.event(child, Kind.GONE)
    assert world.call(world.init, "wait4", child.tid, BASE, 0, 0) == child.tid
    assert status_of(world, world.init) == SIGKILL


def test_orphans_go_to_init_or_the_nearest_subreaper(world: World) -> None:
    parent = world.fork(world.init)
    child = world.fork(parent)
    world.exit(parent)
    assert child.group.parent is world.init.group
    assert child.thread.ids[2] == world.init.tid  # type: ignore[attr-defined]

    reaper = world.fork(world.init)
    assert world.call(reaper, "prctl", 36, 1) == 0
    parent = world.fork(reaper)
    child = world.fork(parent)
    world.exit(parent)
    assert child.group.parent is reaper.group


def test_zombies_are_handed_over_too(world: World) -> None:
    parent = world.fork(world.init)
    child = world.fork(parent)
    world.exit(child, 5)
    world.exit(parent)
    assert {child.tid, parent.tid} <= set(world.init.group.children)
    assert world.call(world.init, "wait4", child.tid, BASE, 0, 0) == child.tid


def test_a_vfork_parent_waits_for_exec_or_exit(world: World) -> None:
    parent = world.fork(world.init)
    thread = world.begin(parent, "vfork")
    assert thread.stopped
    child = next(iter(parent.group.children.values())).leader
    assert child.memory is parent.memory
    world.exit(child, 0)
    assert world.result(parent) == child.tid


def test_killing_a_vfork_parent_ends_its_wait(world: World) -> None:
    parent = world.fork(world.init)
    world.begin(parent, "vfork")
    child = next(iter(parent.group.children.values())).leader
    assert world.call(world.init, "kill", parent.tid, SIGKILL) == 0
    assert parent.group.exited
    assert not child.group.exited


def test_stops_and_continues_are_reported_once(world: World) -> None:
    child = world.fork(world.init)
    assert world.call(world.init, "kill", child.tid, SIGSTOP) == 0
    from pysc.sentry.platform.interface import Kind

    world.event(child, Kind.PREEMPTED)
    assert world.waits(child)
    assert world.call(world.init, "wait4", ANY, BASE, WUNTRACED, 0) == child.tid
    assert status_of(world, world.init) == SIGSTOP << 8 | 0x7F
    assert world.call(world.init, "wait4", ANY, BASE, WUNTRACED | WNOHANG, 0) == 0
    assert world.call(world.init, "kill", child.tid, SIGCONT) == 0
    assert not world.waits(child)
    assert world.call(world.init, "wait4", ANY, BASE, WCONTINUED, 0) == child.tid
    assert status_of(world, world.init) == 0xFFFF


def test_a_stopped_process_can_be_killed(world: World) -> None:
    from pysc.sentry.platform.interface import Kind

    child = world.fork(world.init)
    world.call(world.init, "kill", child.tid, SIGSTOP)
    world.event(child, Kind.PREEMPTED)
    world.call(world.init, "kill", child.tid, SIGKILL)
    assert world.call(world.init, "wait4", ANY, BASE, 0, 0) == child.tid
    assert status_of(world, world.init) == SIGKILL


def test_the_end_of_init_ends_all(world: World) -> None:
    child = world.fork(world.init)
    waiting = world.fork(world.init)
    world.begin(waiting, "pause")
    world.exit(world.init, 6)
    assert world.kernel.exit_status == 6 << 8
    assert waiting.tid not in world.kernel.tasks
    assert child.killed


def test_init_ignores_what_it_does_not_handle(world: World) -> None:
    child = world.fork(world.init)
    assert world.call(child, "kill", 1, SIGTERM) == 0
    assert world.call(child, "kill", 1, SIGKILL) == 0
    assert not world.init.killed
    assert not world.init.group.pending.mask


def test_who_is_in_a_call_but_does_not_wait_yet_runs(world: World) -> None:
    child, copied = world.fork(world.init), Completion[None]()

    async def copy_in(address: int, size: int) -> bytes:
        await copied
        return struct.pack("<qq", 100, 0)[:size]

    child.thread.copy_in = copy_in  # type: ignore[assignment]
    world.begin(child, "nanosleep", BASE, 0)
    assert _state(world.init, child) == b"R"
    copied.resolve(None)
    world.settle()
    assert _state(world.init, child) == b"S"
    world.begin(world.init, "vfork")
    assert _state(child, world.init) == b"D"


def test_pdeathsig(world: World) -> None:
    parent = world.fork(world.init)
    child = world.fork(parent)
    assert world.call(child, "prctl", 1, SIGTERM) == 0
    world.exit(parent)
    assert child.group.pending.has(SIGTERM)


@pytest.mark.parametrize(
    "flags",
    [CLONE_THREAD, CLONE_SIGHAND, CLONE_THREAD | CLONE_VM, CLONE_PARENT],
)
def test_bad_combinations(world: World, flags: int) -> None:
    assert world.call(world.init, "clone", flags, 0, 0, 0, 0) == -EINVAL.errno


def test_clone3_refuses_what_it_does_not_know(world: World) -> None:
    from pysc.cabi.linux.errors import E2BIG

    world.write(world.init, 0, struct.pack("<12Q", *[0] * 4, SIGCHLD, 0, 0, 0, 0, 0, 0, 1))
    assert world.call(world.init, "clone3", BASE, 96) == -E2BIG.errno
    assert world.call(world.init, "clone3", BASE, 56) == -EINVAL.errno
    assert world.call(world.init, "clone3", BASE, 64) in world.kernel.tasks
