"""Pseudo-terminals: both sides, and the session behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pysc.cabi.linux import termios as abi
from pysc.cabi.linux.errors import EAGAIN, EINVAL, EIO, ENOENT, ENOTTY, EPERM, ESRCH
from pysc.cabi.linux.fcntl import O_NONBLOCK, O_RDWR
from pysc.cabi.linux.poll import POLLERR, POLLHUP, POLLIN, POLLOUT
from pysc.cabi.linux.signals import SIG_IGN, SIGCONT, SIGHUP, SIGINT, SIGTTIN, SIGTTOU, SIGWINCH
from pysc.sentry.fs.devpts import DevPts, Master, Slave
from pysc.sentry.kernel.line_discipline import Termios
from pysc.sentry.kernel.pending import SigAction
from pysc.sentry.kernel.scheduler import Interrupted
from pysc.sentry.kernel.session import ProcessGroup
from pysc.sentry.kernel.siginfo import SigInfo
from tests.unit.sentry.ipc.helpers import FakeTask, Runner

A = FakeTask.BASE


class Group(ProcessGroup):
    """A process group that notes what it is sent."""

    def __init__(self, pgid: int, session: Any) -> None:
        super().__init__(pgid, session)
        self.sent: list[int] = []
        self.is_orphan = False

    @property
    def orphaned(self) -> bool:
        return self.is_orphan

    def send(self, info: SigInfo) -> None:
        self.sent.append(info.signo)


class World:
    """A task that leads a session, and a terminal."""

    def __init__(self) -> None:
        self.run = Runner()
        self.task: Any = FakeTask()
        self.session: Any = SimpleNamespace(sid=1, leader=None, groups={}, tty=None, foreground=None)
        self.shell, self.job = Group(1, self.session), Group(7, self.session)
        self.task.group.session = self.session
        self.task.group.process_group = self.shell
        self.task.kernel.process_groups = {1: self.shell, 7: self.job}
        self.fs = DevPts(0o620, 0o666, gid=5)
        place: Any = SimpleNamespace(
            inode=self.fs.ptmx, mount=None, dentry=SimpleNamespace(parent=None, inode=self.fs.ptmx)
        )
        self.master = self.fs.open_master(1000, place, O_RDWR)
        self.master.get()
        self.inode = self.master.inode
        self.inode.locked = False
        self.slave = self.open()
        self.tty = self.master.inode.tty

    def open(self, flags: int = O_RDWR) -> Slave:
        place: Any = SimpleNamespace(inode=self.inode, dentry=SimpleNamespace(inode=self.inode))
        slave = Slave(self.inode, flags, place)
        slave.get()
        return slave

    def do(self, coroutine: Any) -> Any:
        return self.run.run(coroutine, self.task)

    def start(self, coroutine: Any) -> Any:
        return self.run.start(coroutine, self.task)

    def type(self, keys: bytes) -> None:
        assert self.do(self.master.write(keys)) == len(keys)
        self.run.settle()

    def shown(self) -> bytes:
        data: bytes = self.do(self.master.read(1 << 20))
        self.run.settle()
        return data

    def control(self) -> None:
        self.session.leader = self.task.group
        self.tty.control(self.task)

    def raw(self, least: int, time: int) -> None:
        cc = bytearray(abi.DEFAULT_CC)
        cc[abi.VMIN], cc[abi.VTIME] = least, time
        self.tty.set_termios(Termios(iflag=0, oflag=0, lflag=0, cc=bytes(cc)))


@pytest.fixture
def world() -> World:
    return World()


def test_a_line_is_read_when_it_is_ended(world: World) -> None:
    reading = world.start(world.slave.read(100))
    world.type(b"hel")
    assert not reading.done
    assert not world.slave.poll() & POLLIN
    world.type(b"lo\r")
    assert reading.result() == b"hello\n"
    assert world.shown() == b"hello\r\n"
    assert world.do(world.slave.write(b"a\nb")) == 3
    assert world.shown() == b"a\r\nb"


def test_nonblocking(world: World) -> None:
    world.slave.flags |= O_NONBLOCK
    with pytest.raises(EAGAIN):
        world.do(world.slave.read(1))
    world.master.flags |= O_NONBLOCK
    with pytest.raises(EAGAIN):
        world.do(world.master.read(1))


@pytest.mark.parametrize(("size", "first"), [(10, b"abc"), (2, b"ab")])
def test_vmin_bytes_are_waited_for(world: World, size: int, first: bytes) -> None:
    world.raw(3, 0)
    reading = world.start(world.slave.read(size))
    world.type(b"a")
    assert not reading.done
    world.type(b"bc")
    assert reading.result() == first


def test_vtime_is_waited_for_the_first_byte_or_between(world: World) -> None:
    world.raw(0, 0)
    assert world.do(world.slave.read(10)) == b""
    world.raw(0, 1)
    reading = world.start(world.slave.read(10))
    assert not reading.done
    assert world.run.scheduler.deadline()
    world.type(b"x")
    assert reading.result() == b"x"
    world.raw(5, 1)
    reading = world.start(world.slave.read(10))
    assert not world.run.scheduler.deadline(), "no time runs before the first byte"
    world.type(b"ab")
    assert world.run.scheduler.deadline()
    while not reading.done:
        world.run.scheduler.run_ready()
    assert reading.result() == b"ab"


def test_keys_signal_the_foreground(world: World) -> None:
    world.control()
    world.session.foreground = world.job
    world.type(b"lost\x03")
    assert world.job.sent == [SIGINT]
    assert not world.shell.sent
    world.type(b"\n")
    world.session.foreground = world.shell
    assert world.do(world.slave.read(10)) == b"\n"
    assert world.shown() == b"^C\r\n", "the signal flushed what was shown and not read"


def test_background_readers_are_stopped(world: World) -> None:
    world.control()
    world.session.foreground = world.job
    with pytest.raises(Interrupted):
        world.do(world.slave.read(1))
    assert world.shell.sent == [SIGTTIN]
    world.shell.is_orphan = True
    with pytest.raises(EIO):
        world.do(world.slave.read(1))
    world.shell.is_orphan = False
    world.task.handlers[SIGTTIN] = SigAction(handler=SIG_IGN)
    with pytest.raises(EIO):
        world.do(world.slave.read(1))


def test_background_writers_are_stopped_only_with_tostop(world: World) -> None:
    world.control()
    world.session.foreground = world.job
    assert world.do(world.slave.write(b"x")) == 1
    world.tty.set_termios(Termios(lflag=Termios().lflag | abi.TOSTOP))
    with pytest.raises(Interrupted):
        world.do(world.slave.write(b"x"))
    assert world.shell.sent == [SIGTTOU]
    world.task.handlers[SIGTTOU] = SigAction(handler=SIG_IGN)
    assert world.do(world.slave.write(b"x")) == 1


def test_output_stops_and_goes_on(world: World) -> None:
    world.type(b"\x13")
    writing = world.start(world.slave.write(b"held"))
    assert not writing.done
    assert not world.slave.poll() & POLLOUT
    world.type(b"\x11")
    assert writing.result() == 4
    assert world.shown() == b"held"


def test_writers_wait_for_the_screen(world: World) -> None:
    data = b"line\n" * 30_000
    writing = world.start(world.slave.write(data))
    shown = b""
    while not writing.done:
        shown += world.shown()
    assert writing.result() == len(data)
    while len(shown) < len(data) + 30_000:
        shown += world.shown()
    assert shown == data.replace(b"\n", b"\r\n")


def test_typists_wait_for_readers(world: World) -> None:
    world.raw(1, 0)
    world.master.flags |= O_NONBLOCK
    sent = 0
    for _ in range(100):
        try:
            sent += world.do(world.master.write(b"x" * 4096))
        except EAGAIN:
            break
    assert sent == 65536 + 4095
    assert not world.master.poll() & POLLOUT
    received = 0
    while received < sent:
        received += len(world.do(world.slave.read(10_000)))
    assert world.master.poll() & POLLOUT


def test_the_end_of_the_controlling_side_hangs_up(world: World) -> None:
    world.control()
    world.task.mask = (1 << 64) - 1
    world.session.foreground = world.job
    world.master.put()
    assert world.job.sent == [SIGHUP]
    pending = world.task.group.pending
    assert pending.has(SIGHUP)
    assert pending.has(SIGCONT)
    assert world.session.tty is None
    assert world.do(world.slave.read(1)) == b""
    with pytest.raises(EIO):
        world.do(world.slave.write(b"x"))
    with pytest.raises(EIO):
        world.do(world.slave.ioctl(world.task, abi.TCGETS, A))
    assert world.slave.poll() == POLLIN | POLLOUT | 0x140 | POLLERR | POLLHUP
    with pytest.raises(ENOENT):
        world.do(world.fs.root.lookup(b"0"))


def test_the_last_user_of_the_terminal_ends_the_controlling_side(world: World) -> None:
    other = world.open()
    world.do(other.write(b"bye"))
    world.slave.put()
    assert not world.master.poll() & POLLHUP
    other.put()
    assert world.master.poll() & POLLHUP
    assert world.shown() == b"bye"
    with pytest.raises(EIO):
        world.do(world.master.read(1))
    again = world.open()
    assert not world.master.poll() & POLLHUP
    again.put()


def test_session_requests(world: World) -> None:
    task, slave = world.task, world.slave
    with pytest.raises(ENOTTY):
        world.do(slave.ioctl(task, abi.TIOCGPGRP, A))
    with pytest.raises(EPERM):
        world.do(slave.ioctl(task, abi.TIOCSCTTY, 0))
    world.session.leader = task.group
    world.do(slave.ioctl(task, abi.TIOCSCTTY, 0))
    world.do(slave.ioctl(task, abi.TIOCSCTTY, 0))
    world.do(slave.ioctl(task, abi.TIOCGPGRP, A))
    assert int.from_bytes(task.peek(A, 4), "little") == 1
    task.put(A, (7).to_bytes(4, "little"))
    world.do(slave.ioctl(task, abi.TIOCSPGRP, A))
    assert world.tty.foreground is world.job
    world.session.foreground = world.shell
    task.put(A, (8).to_bytes(4, "little"))
    with pytest.raises(ESRCH):
        world.do(slave.ioctl(task, abi.TIOCSPGRP, A))
    task.put(A, abi.WINSIZE.pack(24, 80, 0, 0))
    world.do(world.master.ioctl(task, abi.TIOCSWINSZ, A))
    assert world.shell.sent == [SIGWINCH]
    world.do(slave.ioctl(task, abi.TIOCGWINSZ, A + 8))
    assert task.peek(A, 8) == task.peek(A + 8, 8)
    with pytest.raises(EIO):
        world.do(slave.ioctl(task, abi.TIOCSTI, A))
    world.do(slave.ioctl(task, abi.TIOCNOTTY, 0))
    assert world.session.tty is None
    assert world.shell.sent == [SIGWINCH, SIGHUP, SIGCONT]


def test_modes_go_through_the_guests_structure(world: World) -> None:
    task = world.task
    world.do(world.slave.ioctl(task, abi.TCGETS, A))
    fields = list(abi.TERMIOS.unpack(task.peek(A, abi.TERMIOS.size)))
    fields[3] &= ~abi.ICANON
    task.put(A, abi.TERMIOS.pack(*fields))
    world.type(b"dropped")
    world.do(world.slave.ioctl(task, abi.TCSETSF, A))
    assert not world.tty.discipline.canonical
    assert not len(world.tty.discipline)


def test_an_instance(world: World) -> None:
    fs = DevPts.with_options({b"newinstance": b"", b"ptmxmode": b"0666", b"mode": b"620", b"gid": b"5", b"max": b"2"})
    assert fs.ptmx.mode & 0o777 == 0o666
    place: Any = SimpleNamespace(inode=fs.ptmx, dentry=SimpleNamespace(inode=fs.ptmx))
    first, second = (fs.open_master(1000, place, O_RDWR) for _ in range(2))
    assert isinstance(first, Master)
    first.get()
    assert (second.inode.index, second.inode.uid, second.inode.gid) == (1, 1000, 5)
    assert [entry.name for entry in world.do(fs.root.entries())] == [b"ptmx", b"0", b"1"]
    with pytest.raises(EIO):
        world.do(second.inode.open(world.task, place, O_RDWR))
    first.put()
    assert fs.open_master(0, place, O_RDWR).inode.index == 0
    for bad in ({b"mode": b"9"}, {b"gid": b"x"}, {b"unknown": b"1"}):
        with pytest.raises(EINVAL):
            DevPts.with_options(bad)
