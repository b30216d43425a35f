"""Semaphores: what waits, in which order it goes on, and what is undone.  tests/guests/sysvsem.c has the rest."""

from __future__ import annotations

import struct
from array import array

import pytest

from pysc.cabi.linux import ipc as abi
from pysc.cabi.linux.errors import E2BIG, EAGAIN, EFBIG, EIDRM, EINTR, ENOMEM
from pysc.cabi.linux.signals import SIGKILL, SIGUSR1
from pysc.sentry.ipc import sem
from pysc.sentry.ipc.sem import SemaphoreSet
from pysc.sentry.kernel.delivery import freeze, thaw
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.kernel.siginfo import SigInfo
from pysc.sentry.kernel.signals import SigAction, send_signal
from pysc.sentry.kernel.task import Task
from tests.unit.sentry.kernel.kernel_world import BASE, World

CREATE = abi.IPC_CREAT | 0o600
MILLISECOND = 1_000_000


def make(world: World, *values: int) -> SemaphoreSet:
    number = world.call(world.init, "semget", 0, len(values), CREATE)
    known = world.kernel.ipc.sem.table.obtain(number)
    known.values[:] = array("H", values)
    return known


def begin(world: World, task: Task, known: SemaphoreSet, *operations: tuple[int, int, int]) -> bool:
    """Let a task begin semop(2); return whether it waits."""
    world.write(task, 0, b"".join(abi.SEMBUF.pack(*operation) for operation in operations))
    world.begin(task, "semop", known.id, BASE, len(operations))
    return world.waits(task)


def semop(world: World, known: SemaphoreSet, number: int, change: int, flags: int = 0) -> int:
    assert not begin(world, world.init, known, (number, change, flags))
    return world.result(world.init)


def test_they_go_on_in_order_and_at_once(world: World) -> None:
    known = make(world, 0)
    tasks = [world.fork(world.init) for _ in range(3)]
    assert [begin(world, task, known, (0, -1, 0)) for task in tasks] == [True] * 3
    assert world.call(world.init, "semctl", known.id, 0, abi.GETNCNT, 0) == 3
    semop(world, known, 0, 2)
    assert list(known.values) == [0]
    assert [world.waits(task) for task in tasks] == [False, False, True]
    assert world.result(tasks[0]) == 0
    assert list(known.pids) == [tasks[1].group.tgid]
    world.call(world.init, "semctl", known.id, 0, abi.SETVAL, 1)
    assert not world.waits(tasks[2])
    assert not known.waiting


def test_who_needs_more_keeps_its_place(world: World) -> None:
    known = make(world, 0)
    large, small, later = (world.fork(world.init) for _ in range(3))
    begin(world, large, known, (0, -2, 0))
    begin(world, small, known, (0, -1, 0))
    semop(world, known, 0, 1)
    assert [world.waits(task) for task in (large, small)] == [True, False]
    begin(world, later, known, (0, -2, 0))
    semop(world, known, 0, 2)
    assert [world.waits(task) for task in (large, later)] == [False, True]


def test_one_waits_where_it_is_blocked(world: World) -> None:
    known = make(world, 0, 0, 5)
    task = world.fork(world.init)
    begin(world, task, known, (2, 3, 0), (0, -1, 0), (1, -1, 0))
    assert list(known.waiting) == [0]
    semop(world, known, 0, 1)
    assert list(known.waiting) == [1]
    assert list(known.values) == [1, 0, 5]
    semop(world, known, 1, 1)
    assert list(known.values) == [0, 0, 8]
    assert world.result(task) == 0


def test_one_waits_for_what_it_has_changed_itself(world: World) -> None:
    known = make(world, 3)
    task = world.fork(world.init)
    assert begin(world, task, known, (0, -1, 0), (0, 0, 0))
    semop(world, known, 0, -2)
    assert world.result(task) == 0
    assert list(known.values) == [0]


def test_an_operation_that_may_not_wait_ends_the_wait(world: World) -> None:
    known = make(world, 0, 0)
    task = world.fork(world.init)
    begin(world, task, known, (0, -1, 0), (1, -1, abi.IPC_NOWAIT))
    semop(world, known, 0, 1)
    assert world.result(task) == -EAGAIN.errno
    assert list(known.values) == [1, 0]
    assert not known.waiting


def test_numbers_are_checked(world: World) -> None:
    known = make(world, 0)
    world.write(world.init, 0, bytes(6000))
    assert world.call(world.init, "semop", known.id, BASE, 501) == -E2BIG.errno
    world.write(world.init, 0, abi.SEMBUF.pack(65535, 1, 0))
    assert world.call(world.init, "semop", known.id, BASE, 1) == -EFBIG.errno
    world.write(world.init, 0, abi.SEMBUF.pack(0, -32768, abi.IPC_NOWAIT))
    assert world.call(world.init, "semop", known.id, BASE, 1) == -EAGAIN.errno


def test_a_signal_ends_the_wait_whatever_the_handler_wants(world: World) -> None:
    known = make(world, 0)
    task = world.fork(world.init)
    task.handlers[SIGUSR1] = SigAction(0x1000, 0x10000000, 0, 0)  # SA_RESTART
    begin(world, task, known, (0, -1, 0))
    send_signal(task, SigInfo.kernel(SIGUSR1))
    world.settle()
    assert world.result(task) == -EINTR.errno
    assert not known.waiting


def test_what_was_done_before_the_signal_is_not_lost(world: World) -> None:
    known = make(world, 0)
    task = world.fork(world.init)
    task.handlers[SIGUSR1] = SigAction(0x1000, 0, 0, 0)
    begin(world, task, known, (0, -1, 0))
    known._set(0, 1, 1)
    known.settle(world.kernel)
    assert list(known.values) == [0]
    send_signal(task, SigInfo.kernel(SIGUSR1))  # before it has run
    world.settle()
    assert world.result(task) == 0
    assert list(known.values) == [0]


def deadline(task: Task) -> int:
    """Return when the wait of a task's call ends."""
    assert task.routine is not None
    assert task.routine._timer is not None
    return task.routine._timer.deadline


def test_a_freeze_loses_neither_the_wait_nor_its_time(world: World) -> None:
    known = make(world, 0)
    tasks = [world.fork(world.init) for _ in range(2)]
    for task in tasks:
        world.write(task, 0, abi.SEMBUF.pack(0, -1, 0))
        world.write(task, 64, struct.pack("<qq", 0, 80 * MILLISECOND))
        world.begin(task, "semtimedop", known.id, BASE, 1, BASE + 64)
    before = deadline(tasks[1])
    freeze(world.kernel)
    world.settle()
    known._set(0, 1, 1)
    known.settle(world.kernel)
    world.settle()
    thaw(world.kernel)
    world.settle()
    assert [world.waits(task) for task in tasks] == [False, True]
    assert world.result(tasks[0]) == 0
    assert deadline(tasks[1]) == before
    world.wait_until(lambda: not world.waits(tasks[1]))
    assert world.result(tasks[1]) == -EAGAIN.errno
    assert now() >= before


def test_who_is_killed_while_frozen_waits_no_longer(world: World) -> None:
    known = make(world, 0)
    task = world.fork(world.init)
    begin(world, task, known, (0, -1, 0))
    freeze(world.kernel)
    world.settle()
    world.kernel.ipc.sem.semopm = 0  # of no importance to what has begun
    assert known.count_waiting(0, for_zero=False) == 1
    send_signal(task.group, SigInfo.kernel(SIGKILL))
    world.settle()
    thaw(world.kernel)
    world.settle()
    assert not known.waiting
    known._set(0, 1, 1)
    assert list(known.values) == [1]


def test_removal_ends_the_wait(world: World) -> None:
    known = make(world, 0, 0)
    tasks = [world.fork(world.init) for _ in range(2)]
    for number, task in enumerate(tasks):
        begin(world, task, known, (number, -1, 0))
    semop(world, known, 0, 1, abi.SEM_UNDO)
    tasks.append(world.fork(world.init))
    begin(world, tasks[2], known, (1, -1, 0))
    assert world.call(world.init, "semctl", known.id, 0, abi.IPC_RMID, 0) == 0
    world.settle()
    assert [world.result(task) for task in tasks] == [0, -EIDRM.errno, -EIDRM.errno]
    assert world.init.undo is not None
    assert not world.init.undo.sets
    assert world.kernel.ipc.sem.count == 0


def test_the_end_of_a_process_undoes_much_piece_by_piece(world: World) -> None:
    """Some others have their turn in between, and who waits goes on."""
    count = 3 * sem.STEPS
    known = make(world, *[0] * count)
    task, waiting = world.fork(world.init), world.fork(world.init)
    for start in range(0, count, sem.STEPS):
        assert not begin(world, task, known, *((start + n, 2, abi.SEM_UNDO) for n in range(sem.STEPS)))
    assert list(known.values) == [2] * count
    begin(world, waiting, known, (0, 0, 0))
    world.begin(task, "exit_group", 0)
    assert list(known.values) == [0] * count
    assert not world.waits(waiting)
    assert not known.undos
    assert task.undo is None


def test_a_few_are_undone_before_anybody_hears_of_the_end(world: World) -> None:
    known = make(world, 5)
    task = world.fork(world.init)
    begin(world, task, known, (0, -5, abi.SEM_UNDO))
    assert task.undo is not None
    task.undo.leave(world.kernel, 77)
    assert (list(known.values), list(known.pids)) == ([5], [77])
    task.undo = None


def test_many_that_can_go_on_do_so_piece_by_piece(world: World) -> None:
    known = make(world, 0)
    tasks = [world.fork(world.init) for _ in range(4)]
    for task in tasks:
        world.write(task, 0, abi.SEMBUF.pack(0, -1, 0) + abi.SEMBUF.pack(0, 0, 0) * 1)
    operations = [(0, 1, 0), (0, -1, 0)] * 100
    for task in tasks:
        assert begin(world, task, known, (0, -1, 0), *operations)
    known._set(0, 4, 1)
    known.settle(world.kernel)
    assert len(known._due) == 2  # looked at later
    world.settle()
    assert not known._due
    assert not any(world.waits(task) for task in tasks)
    assert list(known.values) == [0]


def test_no_memory_for_what_would_be_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    known = make(world, 1)
    monkeypatch.setattr(sem, "memory_is_out", lambda: True)
    assert semop(world, known, 0, -1, abi.SEM_UNDO) == -ENOMEM.errno
    assert list(known.values) == [1]
    assert semop(world, known, 0, -1) == 0


def test_threads_share_what_is_undone(world: World) -> None:
    known = make(world, 1)
    task = world.fork(world.init)
    thread = world.kernel.tasks[world.call(task, "clone", 0x50F00, BASE, 0, 0, 0)]
    begin(world, thread, known, (0, -1, abi.SEM_UNDO))
    world.begin(thread, "exit", 0)
    assert list(known.values) == [0]
    assert world.call(task, "unshare", 0x40000) == 0
    assert list(known.values) == [1]
    assert task.undo is None
    world.exit(task)
    assert list(known.values) == [1]
