"""What is closed is gone at once: nothing waits for the collector of cycles."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.clock import CLOCK_MONOTONIC
from pysc.cabi.linux.fcntl import O_RDWR
from pysc.cabi.linux.poll import POLLIN
from pysc.sentry.fs.devpts import DevPts, Slave
from pysc.sentry.fs.epoll import EpollFile
from pysc.sentry.fs.eventfd import EventFile
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.pipe import make_pipe
from pysc.sentry.fs.timerfd import TimerFile
from pysc.sentry.net.message import Message
from pysc.sentry.net.unix import UnixSocket
from tests.unit.sentry.ipc.helpers import FakeTask, Runner


def pipes(run: Runner, task: Any) -> list[FileDescription]:
    return list(make_pipe(0))


def stream_with_data(run: Runner, task: Any) -> list[FileDescription]:
    first, second = (UnixSocket(task.kernel.net, abi.SOCK_STREAM) for _ in range(2))
    first.pair(second, task)
    run.run(first.send(task, Message(b"x"), 0), task)
    return [first, second]


def datagrams(run: Runner, task: Any) -> list[FileDescription]:
    server, client = (UnixSocket(task.kernel.net, abi.SOCK_DGRAM) for _ in range(2))
    run.run(server.bind(task, b"\1\0\0name"), task)
    run.run(client.connect(task, b"\1\0\0name"), task)
    return [server, client]


def unaccepted(run: Runner, task: Any) -> list[FileDescription]:
    server, client = (UnixSocket(task.kernel.net, abi.SOCK_STREAM) for _ in range(2))
    run.run(server.bind(task, b"\1\0\0name"), task)
    server.listen(task, 5)
    run.run(client.connect(task, b"\1\0\0name"), task)
    return [server, client]


def watched(run: Runner, task: Any) -> list[FileDescription]:
    epoll, outer, counter = EpollFile(), EpollFile(), EventFile(1, False, 0)
    epoll.add(0, counter, POLLIN, 0)
    outer.add(1, epoll, POLLIN, 0)
    return [counter, outer, epoll]


def armed(run: Runner, task: Any) -> list[FileDescription]:
    timer = TimerFile(run.scheduler, CLOCK_MONOTONIC, 0)
    timer.set(1 << 40, 1, absolute=False)
    return [timer]


INSTANCE = DevPts()
"""File systems stay."""


def terminal(run: Runner, task: Any) -> list[FileDescription]:
    place: Any = SimpleNamespace(inode=INSTANCE.ptmx, dentry=SimpleNamespace(inode=INSTANCE.ptmx))
    master = INSTANCE.open_master(0, place, O_RDWR)
    below: Any = SimpleNamespace(inode=master.inode, dentry=SimpleNamespace(inode=master.inode))
    return [Slave(master.inode, O_RDWR, below), master]


@pytest.mark.parametrize("make", [pipes, stream_with_data, datagrams, unaccepted, watched, armed, terminal])
@pytest.mark.parametrize("backwards", [False, True])
def test_no_cycle_outlives_its_end(make: Callable[[Runner, Any], list[FileDescription]], backwards: bool) -> None:
    run, task = Runner(), FakeTask()
    files = make(run, task)
    for file in files:
        file.get()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        if backwards:
            files.reverse()
        for file in files:
            file.put()
        run.scheduler.deadline()  # drops what was cancelled
        del file, files
        gc.collect()
        ours = [item for item in gc.garbage if type(item).__module__.startswith("pysc.")]
        assert not ours
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
