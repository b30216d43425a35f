"""poll(2) and select(2) with a fake task."""

from __future__ import annotations

from typing import Any

import pytest

from pysc.cabi.linux.clock import TIMESPEC
from pysc.cabi.linux.errors import EBADF, EINVAL
from pysc.cabi.linux.poll import POLLFD, POLLHUP, POLLIN, POLLNVAL, POLLOUT
from pysc.sentry.fs.pipe import PipeFile, make_pipe
from pysc.sentry.kernel.scheduler import Interrupted, Reason
from pysc.sentry.syscalls import poll as calls
from pysc.sentry.syscalls.waiting import TIMEVAL
from tests.unit.sentry.ipc.helpers import FakeTask, Runner

A = FakeTask.BASE


def setup() -> tuple[Runner, Any, PipeFile, PipeFile]:
    task = FakeTask()
    reader, writer = make_pipe(0)
    assert (task.install(reader), task.install(writer)) == (0, 1)
    return Runner(), task, reader, writer


def fds(task: Any, *requests: tuple[int, int]) -> None:
    task.put(A, b"".join(POLLFD.pack(fd, events, 0x55) for fd, events in requests))


def revents(task: Any, count: int) -> list[int]:
    return [item[2] for item in POLLFD.iter_unpack(task.peek(A, 8 * count))]


def test_poll_reports_what_holds_now() -> None:
    run, task, _, _ = setup()
    fds(task, (0, POLLIN), (1, POLLOUT), (9, POLLIN), (-1, POLLIN))
    assert run.run(calls.poll(task, A, 4, -1)) == 2
    assert revents(task, 4) == [0, POLLOUT, POLLNVAL, 0]


def test_poll_waits_for_a_wake_and_keeps_the_file() -> None:
    run, task, reader, writer = setup()
    fds(task, (0, POLLIN))
    waiting = run.start(calls.poll(task, A, 1, -1))
    assert not waiting.done
    assert reader.references == 2
    run.run(writer.write(b"x"))
    run.settle()
    assert waiting.result() == 1
    assert reader.references == 1


def test_poll_is_told_of_a_hangup_unasked() -> None:
    run, task, _, _ = setup()
    fds(task, (0, 0))
    waiting = run.start(calls.poll(task, A, 1, -1))
    task.fds.close(task, 1)
    run.settle()
    assert waiting.result() == 1
    assert revents(task, 1) == [POLLHUP]


@pytest.mark.parametrize("late", [False, True], ids=["frozen", "thawed"])
def test_a_poll_that_is_begun_again_after_a_freeze_sees_what_wakes_it(late: bool) -> None:
    """A number that was closed is told of when there is something of what it stood for, as without a freeze."""
    run, task, reader, writer = setup()
    fds(task, (0, POLLIN))
    waiting = run.start(calls.poll(task, A, 1, -1))
    run.interrupt(waiting, Reason.FREEZE)
    task.fds.close(task, 0)
    if not late:
        run.run(writer.write(b"x"))
    again = run.start(calls.poll(task, A, 1, -1))
    if late:
        assert not again.done
        assert reader.references == 1
        run.run(writer.write(b"x"))
        run.settle()
    assert again.result() == 1
    assert revents(task, 1) == [POLLNVAL]
    assert reader.references == 0


def test_poll_times_out() -> None:
    run, task, _, _ = setup()
    fds(task, (0, POLLIN))
    assert run.run(calls.poll(task, A, 1, 0)) == 0
    task.record = None
    waiting = run.start(calls.poll(task, A, 1, 1))
    while not waiting.done:
        run.scheduler.run_ready()
    assert waiting.result() == 0


def test_poll_limits_and_interrupts() -> None:
    run, task, _, _ = setup()
    with pytest.raises(EINVAL):
        run.run(calls.poll(task, A, 1025, 0))
    task.record = None
    fds(task, (0, POLLIN))
    waiting = run.start(calls.poll(task, A, 1, 1000))
    first = task.record
    run.interrupt(waiting)
    with pytest.raises(Interrupted):
        waiting.result()
    again = run.start(calls.poll(task, A, 1, 1000))
    assert task.record == first, "the deadline of the first run holds"
    run.interrupt(again)


def test_ppoll_changes_the_mask_and_writes_the_time_left() -> None:
    run, task, _, writer = setup()
    fds(task, (0, POLLIN))
    task.mask = 0b11
    task.put(A + 64, TIMESPEC.pack(100, 0))
    task.put(A + 96, (0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little"))
    waiting = run.start(calls.ppoll(task, A, 1, A + 64, A + 96, 8))
    assert task.saved_mask == 0b11
    assert task.mask == 0xFFFF_FFFF_FFFB_FEFF, "SIGKILL and SIGSTOP cannot be blocked"
    run.run(writer.write(b"x"))
    run.settle()
    assert waiting.result() == 1
    assert TIMESPEC.unpack(task.peek(A + 64, 16))[0] == 99
    with pytest.raises(EINVAL):
        run.run(calls.ppoll(task, A, 1, 0, A + 96, 4))


def test_select() -> None:
    run, task, _, writer = setup()
    task.put(A, (0b11).to_bytes(8, "little"))
    task.put(A + 8, (0b10).to_bytes(8, "little"))
    task.put(A + 24, TIMEVAL.pack(50, 0))
    assert run.run(calls.select(task, 2, A, A + 8, 0, A + 24)) == 1
    assert task.peek(A, 16) == bytes(8) + (0b10).to_bytes(8, "little")
    task.put(A, (0b01).to_bytes(8, "little"))
    task.record = None
    waiting = run.start(calls.select(task, 1, A, 0, 0, A + 24))
    run.run(writer.write(b"x"))
    run.settle()
    assert waiting.result() == 1
    assert TIMEVAL.unpack(task.peek(A + 24, 16))[0] == 49
    task.put(A, (0b100).to_bytes(8, "little"))
    with pytest.raises(EBADF):
        run.run(calls.select(task, 3, A, 0, 0, 0))
    with pytest.raises(EINVAL):
        run.run(calls.select(task, -1, 0, 0, 0, 0))


def test_select_looks_at_no_more_than_the_table_holds() -> None:
    run, task, _, _ = setup()
    task.put(A, (0b10).to_bytes(8, "little") + b"\xff" * 120)
    assert run.run(calls.select(task, 1 << 30, 0, A, 0, 0)) == 1
