"""Message queues: who gets what, and what is kept.  tests/guests/sysvmsg.c has the rest."""

from __future__ import annotations

import pytest

from pysc.cabi.linux import ipc as abi
from pysc.cabi.linux.errors import E2BIG, EACCES, EAGAIN, EIDRM, EINVAL, ENOMEM, ENOMSG
from pysc.sentry.ipc import msg
from pysc.sentry.ipc.msg import MessageQueue
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.delivery import freeze, thaw
from pysc.sentry.kernel.task import Task
from tests.unit.sentry.kernel.kernel_world import BASE, World

CREATE = abi.IPC_CREAT | 0o600
NOWAIT = abi.IPC_NOWAIT


def make(world: World) -> MessageQueue:
    return world.kernel.ipc.msg.table.obtain(world.call(world.init, "msgget", 0, CREATE))


def send(world: World, queue: MessageQueue, type_: int, data: bytes, task: Task | None = None) -> int:
    task = task or world.init
    world.write(task, 0, type_.to_bytes(8, "little") + data)
    return world.call(task, "msgsnd", queue.id, BASE, len(data), NOWAIT)


def receive(world: World, task: Task, queue: MessageQueue, type_: int, size: int = 100, flags: int = 0) -> bool:
    """Let a task begin msgrcv(2); return whether it waits."""
    world.begin(task, "msgrcv", queue.id, BASE + 0x8000, size, type_, flags)
    return world.waits(task)


def got(world: World, task: Task) -> tuple[int, bytes]:
    size = world.result(task)
    assert size >= 0
    return int.from_bytes(world.read(task, 0x8000, 8), "little"), world.read(task, 0x8008, size)


def test_the_first_that_wants_it_gets_it(world: World) -> None:
    queue = make(world)
    tasks = [world.fork(world.init) for _ in range(4)]
    wanted = ((2, 100), (-3, 2), (0, 100), (3, 100))
    assert all(receive(world, task, queue, *each) for task, each in zip(tasks, wanted, strict=True))
    assert send(world, queue, 3, b"three") == 0  # too long for the second
    assert [world.waits(task) for task in tasks] == [True, False, False, True]
    assert world.result(tasks[1]) == -E2BIG.errno
    assert got(world, tasks[2]) == (3, b"three")
    assert (queue.cbytes, len(queue.messages), queue.lrpid) == (0, 0, tasks[2].group.tgid)
    assert send(world, queue, 1, b"kept") == 0
    assert (queue.cbytes, len(queue.messages)) == (4, 1)
    assert len(queue.receivers) == 2


@pytest.mark.parametrize("first", ["message", "freeze"])
def test_a_message_given_to_a_frozen_receiver_is_its_own(world: World, first: str) -> None:
    queue = make(world)
    task = world.fork(world.init)
    receive(world, task, queue, 0)
    if first == "freeze":  # of which the call has not heard yet
        freeze(world.kernel)
    queue.send(msg.Message(7, b"seven"), 1)
    freeze(world.kernel)
    world.settle()
    thaw(world.kernel)
    world.settle()
    assert got(world, task) == (7, b"seven")
    assert not queue.messages


def test_room_is_bytes_and_messages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = make(world)
    queue.qbytes = 10
    assert [send(world, queue, 1, b"x" * 6), send(world, queue, 1, b"x" * 5)] == [0, -EAGAIN.errno]
    assert send(world, queue, 1, b"x" * 4) == 0
    assert send(world, queue, 1, b"") == 0
    queue.qbytes = 3
    assert send(world, queue, 1, b"") == -EAGAIN.errno
    queue.qbytes = 1 << 40
    monkeypatch.setattr(msg, "MESSAGES_MOST", 4)
    assert [send(world, queue, 1, b""), send(world, queue, 1, b"")] == [0, -EAGAIN.errno]


def test_who_waits_for_room_goes_on_when_there_is_some(world: World) -> None:
    queue = make(world)
    queue.qbytes = 4
    assert send(world, queue, 1, b"full") == 0
    tasks = [world.fork(world.init) for _ in range(3)]
    for task in tasks:
        world.write(task, 0, (2).to_bytes(8, "little") + b"next")
        world.begin(task, "msgsnd", queue.id, BASE, 4, 0)
        assert world.waits(task)
    assert not receive(world, world.init, queue, 1)
    assert sorted(world.waits(task) for task in tasks) == [False, True, True]
    queue.qbytes = 8
    queue.look_again()
    world.settle()
    assert sorted(world.waits(task) for task in tasks) == [False, False, True]
    assert world.call(world.init, "msgctl", queue.id, abi.IPC_RMID, 0) == 0
    world.settle()
    assert sorted(world.result(task) for task in tasks) == [-EIDRM.errno, 0, 0]


def test_who_may_not_read_any_more_does_not_wait_on(world: World) -> None:
    queue = make(world)
    queue.mode = 0o644
    task, other = world.fork(world.init), world.fork(world.init)
    task.creds = Credentials.of(1000, 1000)
    assert receive(world, task, queue, 0)
    assert receive(world, other, queue, 9)
    status = bytearray(queue.status())
    status[20:24] = (0o600).to_bytes(4, "little")
    world.write(world.init, 0, bytes(status))
    assert world.call(world.init, "msgctl", queue.id, abi.IPC_SET, BASE) == 0
    world.settle()
    assert world.result(task) == -EACCES.errno
    assert world.waits(other)
    queue.look_again()
    assert world.call(world.init, "msgctl", queue.id, abi.IPC_RMID, 0) == 0
    world.settle()
    assert world.result(other) == -EIDRM.errno


def test_copies_stay(world: World) -> None:
    queue = make(world)
    for number in range(3):
        send(world, queue, 3 - number, b"%d" % number)
    copy = abi.MSG_COPY | NOWAIT
    assert not receive(world, world.init, queue, 1, flags=copy)
    assert got(world, world.init) == (2, b"1")
    assert len(queue.messages) == 3
    for type_, flags, error in (
        (3, copy, ENOMSG),
        (-1, copy, ENOMSG),
        (0, abi.MSG_COPY, EINVAL),
        (0, copy | abi.MSG_EXCEPT, EINVAL),
    ):
        receive(world, world.init, queue, type_, flags=flags)
        assert world.result(world.init) == -error.errno
    receive(world, world.init, queue, 0, size=0, flags=copy)
    assert world.result(world.init) == -E2BIG.errno


def test_a_large_message_is_not_put_with_the_reply(world: World) -> None:
    queue, size = make(world), 70_000
    world.kernel.ipc.msg.msgmax = queue.qbytes = 1 << 20
    queue.send(msg.Message(1, bytes(size)), 1)
    assert not receive(world, world.init, queue, 0, size=size)
    assert world.result(world.init) == size


def test_messages_outlive_processes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = make(world)
    monkeypatch.setattr("pysc.sentry.syscalls.msg.memory_is_short", lambda: True)
    assert send(world, queue, 1, b"x") == -ENOMEM.errno
    assert not queue.messages


def test_what_is_removed_before_a_frozen_wait_goes_on_was_there(world: World) -> None:
    queue = make(world)
    queue.qbytes = 0
    receiver, sender = world.fork(world.init), world.fork(world.init)
    receive(world, receiver, queue, 0)
    world.write(sender, 0, (1).to_bytes(8, "little"))
    world.begin(sender, "msgsnd", queue.id, BASE, 0, 0)
    freeze(world.kernel)
    world.settle()
    world.kernel.ipc.msg.remove(queue)
    thaw(world.kernel)
    world.settle()
    assert [world.result(task) for task in (receiver, sender)] == [-EIDRM.errno] * 2
    assert send(world, queue, 1, b"") == -EINVAL.errno
