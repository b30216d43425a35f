"""Event counters."""

from __future__ import annotations

import pytest

from pysc.cabi.linux.errors import EAGAIN, EINVAL
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.cabi.linux.poll import POLLERR, POLLIN, POLLOUT
from pysc.sentry.fs.eventfd import EventFile
from tests.unit.sentry.ipc.helpers import Runner


def number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def test_counts_and_waits() -> None:
    run = Runner()
    file = EventFile(3, False, 0)
    assert run.run(file.read(8)) == number(3)
    reading = run.start(file.read(8))
    assert not reading.done
    run.run(file.write(number(5)))
    run.settle()
    assert reading.result() == number(5)
    with pytest.raises(EINVAL):
        run.run(file.read(7))


def test_semaphore_gives_one_at_a_time() -> None:
    run = Runner()
    file = EventFile(2, True, O_NONBLOCK)
    assert run.run(file.read(8)) == run.run(file.read(8)) == number(1)
    with pytest.raises(EAGAIN):
        run.run(file.read(8))


def test_overflow_waits_and_signal_sticks() -> None:
    run = Runner()
    file = EventFile(0, False, 0)
    run.run(file.write(number(2**64 - 2)))
    assert file.poll() == POLLIN
    writing = run.start(file.write(number(1)))
    assert not writing.done
    run.run(file.read(8))
    run.settle()
    assert writing.result() == 8
    assert file.poll() == POLLIN | POLLOUT
    with pytest.raises(EINVAL):
        run.run(file.write(number(2**64 - 1)))
    file.signal(2**64)
    assert file.poll() & POLLERR
