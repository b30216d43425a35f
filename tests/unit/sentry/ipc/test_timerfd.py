"""Timers and signals as files."""

from __future__ import annotations

from typing import Any

import pytest

from pysc.cabi.linux.clock import CLOCK_MONOTONIC, CLOCK_REALTIME, ITIMERSPEC
from pysc.cabi.linux.errors import EAGAIN, EINVAL
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.cabi.linux.poll import POLLIN
from pysc.cabi.linux.signals import SIGRTMIN, SIGUSR1, SIGUSR2, sigmask
from pysc.sentry.fs.signalfd import SIGNALFD_SIGINFO, SignalFile
from pysc.sentry.fs.timerfd import CLOCKS, TimerFile
from pysc.sentry.kernel.siginfo import SigInfo
from pysc.sentry.kernel.signals import send_signal
from pysc.sentry.syscalls import timerfd as calls
from tests.unit.sentry.ipc.helpers import FakeTask, Runner

MS = 1_000_000
A = FakeTask.BASE


def spin(run: Runner, outcome: Any) -> None:
    while not outcome.done:
        run.scheduler.run_ready()


def ticks(data: bytes) -> int:
    return int.from_bytes(data, "little")


def test_fires_once() -> None:
    run = Runner()
    timer = TimerFile(run.scheduler, CLOCK_MONOTONIC, 0)
    assert timer.setting() == (0, 0)
    timer.set(2 * MS, 0, absolute=False)
    assert 0 < timer.setting()[0] <= 2 * MS
    reading = run.start(timer.read(8))
    assert not reading.done
    spin(run, reading)
    assert ticks(reading.result()) == 1
    assert timer.setting() == (0, 0)
    timer.flags |= O_NONBLOCK
    with pytest.raises(EAGAIN):
        run.run(timer.read(8))
    with pytest.raises(EINVAL):
        run.run(timer.read(7))


def test_intervals_that_nobody_read_are_counted() -> None:
    run = Runner()
    timer = TimerFile(run.scheduler, CLOCK_REALTIME, 0)
    timer.set(CLOCKS[CLOCK_REALTIME]() - 10 * MS, MS, absolute=True)
    while not timer.poll() & POLLIN:
        run.scheduler.run_ready()
    assert ticks(run.run(timer.read(8))) >= 10
    left, interval = timer.setting()
    assert 0 < left <= MS
    assert interval == MS


def test_disarming_and_release_leave_no_timer() -> None:
    run = Runner()
    timer = TimerFile(run.scheduler, CLOCK_MONOTONIC, 0)
    timer.get()
    timer.set(MS, MS, absolute=False)
    timer.set(0, 0, absolute=False)
    assert run.scheduler.deadline() is None
    timer.set(MS, 0, absolute=False)
    timer.put()
    assert run.scheduler.deadline() is None


def test_calls() -> None:
    run = Runner()
    task: Any = FakeTask()
    task.kernel.scheduler = run.scheduler
    fd = calls.timerfd_create(task, CLOCK_MONOTONIC, 0)
    with pytest.raises(EINVAL):
        calls.timerfd_create(task, 77, 0)
    task.put(A, ITIMERSPEC.pack(0, 5, 100, 0))
    run.run(calls.timerfd_settime(task, fd, 0, A, A + 64))
    assert task.peek(A + 64, 32) == bytes(32)
    calls.timerfd_gettime(task, fd, A)
    assert ITIMERSPEC.unpack(task.peek(A, 32))[:3] == (0, 5, 99)
    task.put(A, ITIMERSPEC.pack(0, 1_000_000_000, 0, 0))
    with pytest.raises(EINVAL):
        run.run(calls.timerfd_settime(task, fd, 0, A, 0))


def test_signals_are_read_by_whoever_has_them_pending() -> None:
    run = Runner()
    task: Any = FakeTask()
    task.mask = (1 << 64) - 1
    file = SignalFile(run.scheduler, sigmask(SIGUSR1, SIGRTMIN + 3), 0)
    reading = run.start(file.read(1024), task)
    assert not reading.done
    send_signal(task.group, SigInfo.kill(SIGUSR2, 5, 6))
    run.settle()
    assert not reading.done
    send_signal(task.group, SigInfo.kill(SIGUSR1, 5, 6))
    run.settle()
    fields = SIGNALFD_SIGINFO.unpack(reading.result())
    assert (fields[0], fields[3], fields[4]) == (SIGUSR1, 5, 6)
    assert not file.poll()
    for value in (1, 2):
        send_signal(task, SigInfo(SIGRTMIN + 3, -1, "rt", value=value))
    assert file.poll() & POLLIN
    data = run.run(file.read(1024), task)
    assert [item[12] for item in SIGNALFD_SIGINFO.iter_unpack(data)] == [1, 2]
    with pytest.raises(EINVAL):
        run.run(file.read(127), task)
