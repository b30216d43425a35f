"""The container's terminal over a terminal of the host."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import tty
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pysc.cabi.linux.errors import EIO
from pysc.cabi.linux.poll import POLLIN
from pysc.cabi.linux.signals import SIGINT, SIGWINCH
from pysc.sentry.fs.hosttty import HostTerminal
from pysc.sentry.fs.ttyfile import TtyFile
from tests.unit.sentry.ipc.helpers import FakeTask, Runner
from tests.unit.sentry.ipc.test_hostfile import Watches
from tests.unit.sentry.ipc.test_tty import Group


class World:
    """A terminal of the host, in raw mode as the supervisor leaves it, and ours over it."""

    def __init__(self) -> None:
        self.outside, inner = pty.openpty()
        tty.setraw(inner)
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.run = Runner()
        self.watches: Any = Watches()
        self.terminal = HostTerminal(inner, self.watches, (0, 0))
        self.file = TtyFile(self.terminal.tty, os.O_RDWR)
        self.task: Any = FakeTask()
        session = SimpleNamespace(sid=1, leader=None, groups={}, tty=None, foreground=None)
        self.group = Group(1, session)
        self.task.group.session, self.task.group.process_group = session, self.group
        self.terminal.tty.control(self.task)

    def type(self, keys: bytes) -> None:
        os.write(self.outside, keys)
        self.watches.turn(self.run, 5)

    def shown(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            found += os.read(self.outside, size - len(found))
        return found


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.watches.epoll.close()
    for fd in (made.outside, made.terminal.fd):
        try:
            os.close(fd)
        except OSError:
            pass


def test_keys_lines_and_screen(world: World) -> None:
    reading = world.run.start(world.file.read(100), world.task)
    world.type(b"lo\x7fs\r")
    assert world.shown(8) == b"lo\b \bs\r\n"
    assert reading.result() == b"ls\n"
    assert world.run.run(world.file.write(b"out\n"), world.task) == 4
    assert world.shown(5) == b"out\r\n"


def test_signals_go_to_the_group_inside(world: World) -> None:
    world.type(b"\x03")
    assert world.group.sent == [SIGINT]
    assert world.terminal.tty.winsize == (24, 80, 0, 0)
    world.terminal.resize(50, 100)
    world.terminal.resize(50, 100)
    assert world.group.sent == [SIGINT, SIGWINCH]


def test_a_screen_that_takes_nothing_makes_writers_wait_and_loses_nothing(world: World) -> None:
    data = b"0123456789abcde\n" * 20_000
    writing = world.run.start(world.file.write(data), world.task)
    assert not writing.done
    shown = b""
    while not writing.done:
        shown += os.read(world.outside, 65536)
        world.watches.turn(world.run)
    expected = data.replace(b"\n", b"\r\n")
    os.set_blocking(world.outside, False)
    while len(shown) < len(expected):
        world.watches.turn(world.run)
        try:
            shown += os.read(world.outside, 65536)
        except BlockingIOError:
            continue
    assert shown == expected


def test_the_last_output_is_shown_without_a_loop(world: World) -> None:
    os.set_blocking(world.outside, False)
    written, writing = 0, None
    while writing is None or writing.done:
        writing = world.run.start(world.file.write(b"x" * 1000), world.task)
        written += 1000
    world.run.interrupt(writing)
    kept = 16384 - world.terminal.room
    assert kept > 1000
    shown = 0
    try:
        while True:
            shown += len(os.read(world.outside, 65536))
    except BlockingIOError:
        pass
    world.terminal.finish()
    assert world.terminal.room == 16384
    os.set_blocking(world.outside, True)
    assert world.shown(kept) == b"x" * kept
    assert written - 1000 <= shown + kept <= written


def test_the_end_of_the_outer_terminal_hangs_up(world: World) -> None:
    os.close(world.outside)
    world.watches.turn(world.run, 5)
    assert world.terminal.tty.hung_up
    assert world.run.run(world.file.read(10), world.task) == b""
    assert world.file.poll() & POLLIN
    with pytest.raises(EIO):
        world.run.run(world.file.write(b"x"), world.task)
    assert not world.watches.callbacks
