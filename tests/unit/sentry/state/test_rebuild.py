"""What a class makes anew in the process that goes on, where a guest would only notice that things are slow or late."""

from __future__ import annotations

import fcntl
import os
import pty
from typing import Any

import pytest

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.mount import MS_NOEXEC, MS_NOSYMFOLLOW
from pysc.cabi.linux.poll import IN
from pysc.sentry.fs import notify, path
from pysc.sentry.fs.epoll import EpollFile
from pysc.sentry.fs.eventfd import EventFile
from pysc.sentry.fs.hosttty import HostTerminal
from pysc.sentry.fs.inotify import InotifyFile
from pysc.sentry.fs.path import MountNamespace
from pysc.sentry.fs.pipe import Pipe
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.hostfds import Held, Of, hold
from pysc.sentry.ipc.shm import Attachment, Attachments
from pysc.sentry.kernel.host_locks import HostLocks
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.kernel.scheduler import Scheduler, Timer
from pysc.sentry.kernel.signals import pending_interrupt
from pysc.sentry.syscalls.x86_64 import X86_64
from tests.unit.sentry.kernel.kernel_world import FakePlatform


class Calls:
    """Notes what is called of what it stands for, and with what."""

    def __init__(self, real: Any = None) -> None:
        self._real = real
        self.made: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.made.append((name, *args))
            return None if self._real is None else getattr(self._real, name)(*args)

        return call


def hears(kind: int, index: int, face: object) -> bool:
    """Whether a face hears of moves."""
    return objects._listeners[kind].pop(index, None) is face


def test_who_is_watched_hears_of_moves_and_says_who_waits() -> None:
    pipe, event, epoll = Pipe(), EventFile(0, False, 0), EpollFile()
    pipe.read_poll.watch(print)
    event.wait.watch(print)
    for kind in (objects.PIPE, objects.COUNTER, objects.EPOLL):
        objects._listeners[kind].clear()
    for face in (pipe, event, epoll):
        face.rebuild()
    assert pipe._c.waits == lib.PYSC_WAITS_POLL
    assert event._counter.waits == 1
    assert hears(objects.PIPE, pipe.index, pipe)
    assert hears(objects.COUNTER, event._counter_index, event)
    assert hears(objects.EPOLL, epoll._epoll_index, epoll)


def test_timers_come_in_their_order() -> None:
    scheduler = Scheduler()
    scheduler._timers = [Timer(deadline, lambda: None) for deadline in (3, 2, 1)]
    scheduler.rebuild()
    assert scheduler.deadline() == 1


def test_a_kernel_interrupts_who_parks() -> None:
    kernel = Kernel(FakePlatform(), X86_64)  # type: ignore[arg-type]  # a fake one
    kernel.scheduler.pending_interrupt = lambda _owner: None
    kernel.rebuild()
    assert kernel.scheduler.pending_interrupt is pending_interrupt


def test_fast_paths_know_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = MountNamespace.of(Tmpfs()).root
    mount._flags = MS_NOEXEC | MS_NOSYMFOLLOW  # this process's fast paths would leave links to us from then on
    calls = Calls()
    monkeypatch.setattr(path, "lib", calls)
    mount.rebuild()
    assert calls.made == [
        ("pysc_mount_note", objects.OBJECTS, mount.id, False),
        ("pysc_links_leave", objects.OBJECTS),
    ]


def test_fast_paths_leave_what_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    file, fs = InotifyFile(0), Tmpfs()
    file.add(fs.root, notify.IN_ACCESS)
    calls = Calls(lib)
    monkeypatch.setattr(notify, "lib", calls)
    file.rebuild()
    assert calls.made == [("pysc_objects_watch", objects.OBJECTS, 1), ("pysc_reads_watch", objects.OBJECTS, 1)]
    file.release()
    lib.pysc_objects_watch(objects.OBJECTS, -1)  # it was told twice
    lib.pysc_reads_watch(objects.OBJECTS, -1)


def test_spaces_leave_segments_to_the_kernel() -> None:
    space = Calls()
    attachments = Attachments(space)  # type: ignore[arg-type]  # one that notes
    attachments._ranges = [Attachment(0x1000, 0x2000, 0, None), Attachment(0x5000, 0x6000, 0, None)]  # type: ignore[arg-type]
    attachments.rebuild()
    assert space.made == [("set_attached", 0x1000, 0x6000)]


def test_locks_are_held_on_the_host(tmp_path: os.PathLike[str]) -> None:
    name = os.path.join(tmp_path, "file")
    locks = HostLocks(hold(os.open(name, os.O_RDWR | os.O_CREAT), Held(Of.FILE)), writable=True)
    locks._held = [(0, 9, 2)]
    locks.rebuild()
    other = os.open(name, os.O_RDWR)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 5)
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 10)
    finally:
        os.close(other)
        locks.close()


def test_a_terminal_is_watched() -> None:
    ours, theirs = pty.openpty()
    platform = Calls()
    terminal = HostTerminal(hold(theirs, Held(Of.STANDARD)), platform, (24, 80))  # type: ignore[arg-type]  # one that notes
    del terminal._poller
    platform.made.clear()
    terminal.rebuild()
    os.write(ours, b"x\n")
    assert terminal._poller.poll(1000)[0][1] & IN
    assert [name for name, *_ in platform.made] == ["watch"]
    os.close(ours)
