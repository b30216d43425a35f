"""POSIX message queues: who gets what, and what is kept and counted.  tests/guests/mqueue.c has the rest."""

from __future__ import annotations

import gc
from time import time_ns

import pytest

from pysc.cabi.linux import mqueue as abi
from pysc.cabi.linux.clock import SECOND, SIGEV_SIGNAL, SIGEVENT, SIGEVENT_SIZE, TIMESPEC
from pysc.cabi.linux.errors import EAGAIN, EINVAL, EMFILE, EMSGSIZE, ENOMEM, ENOSPC, EROFS, ETIMEDOUT
from pysc.cabi.linux.fcntl import O_CREAT, O_NONBLOCK, O_RDWR
from pysc.cabi.linux.resource import RLIMIT_MSGQUEUE, RLIMIT_SIGPENDING
from pysc.cabi.linux.signals import SIGKILL, SIGRTMIN, SIGUSR1, sigmask
from pysc.sentry.fs.mounting import make as make_filesystem
from pysc.sentry.ipc.mqueue import Limits, Queue, QueueFile
from pysc.sentry.ipc.objects import MESSAGE_MOST
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.delivery import freeze, thaw
from pysc.sentry.kernel.pending import SigAction
from pysc.sentry.kernel.scheduling import Scheduling
from pysc.sentry.kernel.siginfo import SigInfo
from pysc.sentry.kernel.signals import send_signal
from pysc.sentry.kernel.task import Task
from tests.unit.sentry.kernel.kernel_world import BASE, World

ROOM = 0x8000
"""Where received messages are put, from BASE on; their priorities before."""


def open_(
    world: World, name: bytes = b"q", messages: int = 2, size: int = 8, flags: int = 0, task: Task | None = None
) -> int:
    task = task or world.init
    world.write(task, 0, name + b"\0")
    world.write(task, 0x100, abi.MQ_ATTR.pack(0, messages, size, 0))
    return world.call(task, "mq_open", BASE, O_RDWR | O_CREAT | flags, 0o600, BASE + 0x100)


def queue_of(world: World, fd: int) -> Queue:
    file = world.init.fds.get(fd)
    assert isinstance(file, QueueFile)
    return file.queue


def send(world: World, task: Task, fd: int, data: bytes, priority: int = 0) -> int | None:
    """Return the result, or None if it waits."""
    world.write(task, 0, data)
    world.begin(task, "mq_timedsend", fd, BASE, len(data), priority, 0)
    return None if world.waits(task) else world.result(task)


def receive(world: World, task: Task, fd: int, size: int = 8) -> bytes | int | None:
    """Return the message, an error, or None if it waits."""
    world.begin(task, "mq_timedreceive", fd, BASE + ROOM, size, BASE + ROOM - 4, 0)
    return None if world.waits(task) else got(world, task)


def got(world: World, task: Task) -> bytes | int:
    size = world.result(task)
    return size if size < 0 else world.read(task, ROOM, size)


def test_a_message_goes_to_who_is_least_nice_and_has_waited_longest(world: World) -> None:
    fd = open_(world)
    tasks = [world.fork(world.init) for _ in range(4)]
    for task, nice in zip(tasks, (5, 0, 0, -3), strict=True):
        task.scheduling = Scheduling(nice=nice)
        assert receive(world, task, fd) is None
    for data, index in ((b"a", 3), (b"b", 1), (b"c", 2), (b"d", 0)):
        assert send(world, world.init, fd, data) == 0
        assert got(world, tasks[index]) == data
    queue = queue_of(world, fd)
    assert (queue.messages, queue.receivers, queue.qsize) == ([], {}, 0)


def test_room_goes_to_the_message_of_who_waits(world: World) -> None:
    fd = open_(world, messages=1)
    tasks = [world.fork(world.init) for _ in range(2)]
    assert send(world, world.init, fd, b"full") == 0
    assert [send(world, task, fd, b"%d" % number, number) for number, task in enumerate(tasks)] == [None, None]
    assert receive(world, world.init, fd) == b"full"
    assert world.result(tasks[0]) == 0
    assert world.waits(tasks[1])
    assert queue_of(world, fd).qsize == 1
    assert receive(world, world.init, fd) == b"0"
    assert receive(world, world.init, fd) == b"1"
    assert not queue_of(world, fd).senders


@pytest.mark.parametrize("first", ["message", "freeze"])
def test_a_message_given_to_a_frozen_receiver_is_its_own(world: World, first: str) -> None:
    fd = open_(world)
    task = world.fork(world.init)
    assert receive(world, task, fd) is None
    if first == "freeze":  # of which the call has not heard yet
        freeze(world.kernel)
    queue_of(world, fd).send(b"seven", 7, world.init)
    freeze(world.kernel)
    world.settle()
    thaw(world.kernel)
    world.settle()
    assert got(world, task) == b"seven"
    assert world.read(task, ROOM - 4, 4) == (7).to_bytes(4, "little")
    assert not queue_of(world, fd).messages


def test_a_message_that_a_frozen_sender_got_rid_of_is_not_sent_again(world: World) -> None:
    fd = open_(world, messages=1)
    task = world.fork(world.init)
    assert send(world, world.init, fd, b"full") == 0
    assert send(world, task, fd, b"once") is None
    assert queue_of(world, fd).take() == (b"full", 0)
    freeze(world.kernel)
    world.settle()
    thaw(world.kernel)
    world.settle()
    assert world.result(task) == 0
    assert queue_of(world, fd).take() == (b"once", 0)
    assert not queue_of(world, fd).messages


def test_frozen_waits_go_on(world: World) -> None:
    fd = open_(world, messages=1)
    receiver, sender = world.fork(world.init), world.fork(world.init)
    assert receive(world, receiver, fd) is None
    freeze(world.kernel)
    world.settle()
    assert len(queue_of(world, fd).receivers) == 1
    thaw(world.kernel)
    world.settle()
    assert [send(world, world.init, fd, data) for data in (b"one", b"two")] == [0, 0]
    assert got(world, receiver) == b"one"
    assert send(world, sender, fd, b"three") is None
    freeze(world.kernel)
    world.settle()
    thaw(world.kernel)
    world.settle()
    assert world.waits(sender)
    assert [receive(world, world.init, fd) for _ in range(2)] == [b"two", b"three"]
    assert world.result(sender) == 0


def test_who_waits_keeps_the_place_when_frozen_until_it_is_killed(world: World) -> None:
    fd = open_(world)
    tasks = [world.fork(world.init) for _ in range(3)]
    assert [receive(world, task, fd) for task in tasks] == [None] * 3
    before = list(queue_of(world, fd).receivers)
    freeze(world.kernel)
    world.settle()
    thaw(world.kernel)
    world.settle()
    assert list(queue_of(world, fd).receivers) == before
    freeze(world.kernel)
    world.settle()
    send_signal(tasks[0].group, SigInfo.kernel(SIGKILL))
    thaw(world.kernel)
    world.settle()
    assert list(queue_of(world, fd).receivers) == before[1:]
    assert send(world, world.init, fd, b"a") == 0
    assert got(world, tasks[1]) == b"a"
    assert world.waits(tasks[2])


def test_a_message_that_comes_with_a_signal_is_not_lost(world: World) -> None:
    fd = open_(world)
    task = world.fork(world.init)
    task.handlers[SIGUSR1] = SigAction(0x1000)
    assert receive(world, task, fd) is None
    send_signal(task.group, SigInfo.kernel(SIGUSR1))
    world.kernel.scheduler.run_ready()  # it has looked, and is to be interrupted next
    queue_of(world, fd).send(b"kept", 0, world.init)
    world.settle()
    assert got(world, task) == b"kept"


def test_an_end_of_waiting_is_by_the_wall_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = open_(world)
    end = time_ns() + 3600 * SECOND
    world.write(world.init, 0x200, TIMESPEC.pack(end // SECOND, end % SECOND))
    world.begin(world.init, "mq_timedreceive", fd, BASE + ROOM, 8, 0, BASE + 0x200)
    assert world.waits(world.init)
    monkeypatch.setattr("pysc.sentry.syscalls.mq.time_ns", lambda: end)
    world.wait_until(lambda: not world.waits(world.init))
    assert world.result(world.init) == -ETIMEDOUT.errno
    assert not queue_of(world, fd).receivers


def test_what_users_have_is_counted_until_it_is_gone(world: World) -> None:
    mqueue = world.kernel.ipc.mqueue
    world.init.group.set_limit(RLIMIT_MSGQUEUE, 1000, 1000)
    cost = 2 * (8 + 48) + 2 * 48
    fds = [open_(world, b"%d" % number) for number in range(1000 // cost)]
    assert open_(world, b"more") == -EMFILE.errno
    assert mqueue.charged == {0: len(fds) * cost}
    other = world.fork(world.init)
    other.creds = Credentials.of(1000, 1000)
    assert open_(world, b"other", task=other) > 0
    assert mqueue.charged == {0: len(fds) * cost, 1000: cost}
    world.exit(other)
    world.write(world.init, 0, b"0\0")
    assert world.call(world.init, "mq_unlink", BASE) == 0
    assert open_(world, b"more") == -EMFILE.errno  # it is open still
    assert world.call(world.init, "close", fds[0]) == 0
    gc.collect()
    assert open_(world, b"more") == fds[0]
    assert mqueue.queues == len(fds) + 1


def test_limits_are_for_the_unprivileged(world: World) -> None:
    limits = world.kernel.ipc.mqueue.limits
    limits.queues_max, limits.msg_max, limits.msgsize_max = 1, 4, 128
    limits.msg_default = 3
    user = world.fork(world.init)
    user.creds = Credentials.of(1000, 1000)
    assert limits.sizes(user, None) == (3, 128)
    for sizes in ((5, 8), (4, 129), (0, 8), (4, 0), (-1, 8)):
        assert open_(world, b"u", *sizes, task=user) == -EINVAL.errno
    assert open_(world, b"u", 4, 128, task=user) >= 0
    assert open_(world, b"v", task=user) == -ENOSPC.errno
    assert open_(world, b"v", 5, 129) >= 0
    for sizes in ((abi.HARD_MSGMAX + 1, 1), (1, MESSAGE_MOST + 1), (1, 1 << 62)):
        assert open_(world, b"w", *sizes) == -EINVAL.errno
    world.init.group.set_limit(RLIMIT_MSGQUEUE, 1 << 62, 1 << 62)
    assert open_(world, b"w", abi.HARD_MSGMAX, MESSAGE_MOST) >= 0


def test_what_is_written_to_proc_are_the_limits(world: World) -> None:
    assert world.kernel.ipc.mqueue.limits == Limits()
    proc = make_filesystem(world.kernel, b"proc")

    def write(name: bytes, text: bytes) -> int:
        async def change() -> None:
            inode = proc.root
            for part in (b"sys", b"fs", b"mqueue", name):
                inode = await inode.lookup(part)
            inode.source.change(world.init, text)  # type: ignore[attr-defined]

        try:
            world.wait_for(change())
        except EINVAL:
            return -EINVAL.errno
        return 0

    assert [write(b"msg_max", text) for text in (b"7\n", b"0", b"65537", b"x")] == [0, *[-EINVAL.errno] * 3]
    assert [write(b"msgsize_max", text) for text in (b"127", b"128")] == [-EINVAL.errno, 0]
    assert [write(b"queues_max", text) for text in (b"-1", b"0")] == [-EINVAL.errno, 0]
    assert world.kernel.ipc.mqueue.limits == Limits(msg_max=7, msgsize_max=128, queues_max=0)


def test_messages_and_queues_outlive_processes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = open_(world)
    monkeypatch.setattr("pysc.sentry.syscalls.mq.memory_is_short", lambda: True)
    assert send(world, world.init, fd, b"x") == -ENOMEM.errno
    assert not queue_of(world, fd).messages
    monkeypatch.setattr("pysc.sentry.ipc.mqueue.memory_is_short", lambda: True)
    assert open_(world, b"other") == -ENOSPC.errno
    assert world.kernel.ipc.mqueue.queues == 1
    assert world.kernel.ipc.mqueue.root.children.keys() == {b"q"}


def test_a_large_message_is_not_put_with_the_reply(world: World) -> None:
    size = 70_000
    fd = open_(world, size=size)
    queue_of(world, fd).send(b"x" * size, 0, world.init)
    assert receive(world, world.init, fd, size - 1) == -EMSGSIZE.errno
    assert receive(world, world.init, fd, size) == b"x" * size


def test_another_program_of_the_process_is_not_told(world: World) -> None:
    fd = open_(world)
    world.init.mask = sigmask(SIGUSR1)
    world.write(world.init, 0, SIGEVENT.pack(5, SIGUSR1, SIGEV_SIGNAL, 0).ljust(SIGEVENT_SIZE, b"\0"))
    for programs, told in ((0, True), (1, False)):
        assert world.call(world.init, "mq_notify", fd, BASE) == 0
        world.init.group.exec_id += programs
        queue_of(world, fd).send(b"x", 0, world.init)
        assert queue_of(world, fd).notification is None
        assert bool(world.init.group.pending.mask) is told
        world.init.group.pending.remove(sigmask(SIGUSR1))
        queue_of(world, fd).take()


def test_who_sends_does_not_mind_that_nobody_can_be_told(world: World) -> None:
    fd = open_(world)
    world.init.mask = sigmask(SIGRTMIN)
    world.init.group.set_limit(RLIMIT_SIGPENDING, 0, 0)
    world.write(world.init, 0, SIGEVENT.pack(5, SIGRTMIN, SIGEV_SIGNAL, 0).ljust(SIGEVENT_SIZE, b"\0"))
    assert world.call(world.init, "mq_notify", fd, BASE) == 0
    assert send(world, world.init, fd, b"x") == 0
    assert queue_of(world, fd).notification is None
    assert not world.init.group.pending.mask


def test_nothing_is_made_or_removed_where_nothing_may_be_written(world: World) -> None:
    fd = open_(world, flags=O_NONBLOCK)
    world.kernel.ipc.mqueue.readonly = True
    assert open_(world, b"other") == -EROFS.errno
    world.write(world.init, 0, b"q\0")
    assert world.call(world.init, "mq_unlink", BASE) == -EROFS.errno
    assert receive(world, world.init, fd) == -EAGAIN.errno
