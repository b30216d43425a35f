"""Standard input and output of the host."""

from __future__ import annotations

import os
import pty
import select
import socket
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pysc.cabi.linux.errors import EAGAIN, EPIPE
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.cabi.linux.poll import POLLIN, POLLOUT
from pysc.sentry.fs.epoll import EpollFile
from pysc.sentry.fs.hostfile import HostFile, HostStream, open_host_file
from pysc.sentry.hostfds import Held, Of, hold
from tests.unit.sentry.ipc.helpers import Runner


class Watches:
    """The part of a platform that watches descriptors."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.callbacks: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        self.epoll.register(fd, events)
        self.callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        self.epoll.unregister(fd)
        del self.callbacks[fd]

    def turn(self, run: Runner, patience: float = 0) -> int:
        ready = self.epoll.poll(patience)
        for fd, events in ready:
            self.callbacks[fd](events)
        run.settle()
        return len(ready)


@pytest.fixture
def watches() -> Iterator[Any]:
    fake = Watches()
    yield fake
    fake.epoll.close()


def pair(kind: str) -> tuple[int, int]:
    """Return a reading and a writing descriptor."""
    if kind == "pipe":
        return os.pipe()
    if kind == "socket":
        first, second = socket.socketpair()
        return first.detach(), second.detach()
    controller, terminal = pty.openpty()
    tty.setraw(terminal)
    return terminal, controller


@pytest.mark.parametrize("kind", ["pipe", "socket", "tty"])
def test_reading_waits_without_blocking(kind: str, watches: Any) -> None:
    run = Runner()
    reader, writer = pair(kind)
    file = HostStream(hold(reader, Held(Of.STANDARD)), watches)
    file.get()
    first = run.start(file.read(100))
    assert not first.done
    watches.turn(run)
    assert not first.done
    os.write(writer, b"hello")
    watches.turn(run, 5)  # a terminal's input arrives a little later
    assert first.result() == b"hello"
    assert os.get_blocking(reader)
    watches.turn(run)
    os.write(writer, b"more")
    watches.turn(run, 5)
    assert not watches.callbacks, "nobody waits: nothing is watched"
    assert run.run(file.read(2)) == b"mo"
    assert file.poll() & POLLIN
    file.flags |= O_NONBLOCK
    assert run.run(file.read(9)) == b"re"
    with pytest.raises(EAGAIN):
        run.run(file.read(9))
    file.put()
    os.close(writer)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_writing_all_takes_turns(kind: str, watches: Any) -> None:
    run = Runner()
    reader, writer = pair(kind)
    file = HostStream(hold(writer, Held(Of.STANDARD)), watches)
    file.get()
    data = bytes(range(256)) * 4096
    outcome = run.start(file.write(data))
    received = b""
    while not outcome.done:
        received += os.read(reader, 1 << 20)
        watches.turn(run)
    assert outcome.result() == len(data)
    file.put()
    while chunk := os.read(reader, 1 << 20):
        received += chunk
    assert received == data
    os.close(reader)


def test_closed_reader_is_epipe(watches: Any) -> None:
    run = Runner()
    reader, writer = os.pipe()
    file = HostStream(hold(writer, Held(Of.STANDARD)), watches)
    file.get()
    os.close(reader)
    with pytest.raises(EPIPE):
        run.run(file.write(b"x"))
    file.put()


def test_epoll_sees_it_without_spinning(watches: Any) -> None:
    run = Runner()
    reader, writer = os.pipe()
    file = HostStream(hold(reader, Held(Of.STANDARD)), watches)
    file.get()
    ep = EpollFile()
    ep.get()
    ep.add(0, file, POLLIN, 7)
    os.write(writer, b"x")
    assert watches.turn(run) == 1
    assert ep.collect(9) == [(POLLIN, 7)]
    assert watches.turn(run) == 0, "still readable, but told once"
    assert ep.collect(9) == [(POLLIN, 7)]
    run.run(file.read(9))
    assert ep.collect(9) == []
    os.write(writer, b"x")
    watches.turn(run)
    assert ep.collect(9) == [(POLLIN, 7)]
    file.put()
    assert not watches.callbacks
    os.close(writer)


def test_regular_files_share_their_position(tmp_path: Path, watches: Any) -> None:
    run = Runner()
    fd = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"before ")
    file = open_host_file(hold(os.dup(fd), Held(Of.STANDARD)), watches)
    assert isinstance(file, HostFile)
    assert not isinstance(file, HostStream)
    file.get()
    run.run(file.write(b"inside"))
    os.write(fd, b" after")
    assert run.run(file.pread(100, 0)) == b"before inside after"
    assert run.run(file.attributes()).size == 19
    assert not file.queues()
    file.put()
    os.close(fd)


def test_null(watches: Any) -> None:
    run = Runner()
    file = open_host_file(hold(os.open("/dev/null", os.O_RDWR), Held(Of.STANDARD)), watches)
    file.get()
    assert run.run(file.read(10)) == b""
    assert run.run(file.write(b"x" * 100_000)) == 100_000
    assert file.poll() & (POLLIN | POLLOUT) == POLLIN | POLLOUT
    assert file.queues() == (), "as regular files: epoll refuses it"
    file.put()
