"""Advisory locks, beside the host's."""

from __future__ import annotations

import fcntl
import os
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysc.cabi.linux.errors import EAGAIN, EDEADLK
from pysc.cabi.linux.fcntl import FLOCK, O_RDWR
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.hostfds import Held, Of, hold
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.host_locks import END, HostLocks
from pysc.sentry.kernel.locks import FileLocks, RecordLock
from pysc.sentry.kernel.scheduler import Interrupted
from tests.unit.sentry.ipc.helpers import Runner

F_OFD_GETLK, F_OFD_SETLK = 36, 37


def record(owner: Any, exclusive: bool, start: int, end: int = END) -> RecordLock:
    return RecordLock(1 if owner is None else owner.lock_owner, 1, exclusive, start, end)


def test_waiters_get_it_when_it_is_released() -> None:
    run, locks = Runner(), FileLocks()
    first, second = FDTable(), FDTable()
    run.run(locks.lock(record(first, True, 0, 9), {}, wait=False))
    with pytest.raises(EAGAIN):
        run.run(locks.lock(record(second, False, 9, 20), {}, wait=False))
    waiting = run.start(locks.lock(record(second, False, 9, 20), {}, wait=True))
    locks.unlock(first, 0, 4)
    run.settle()
    assert not waiting.done
    locks.release_owner(first)
    run.settle()
    waiting.result()
    assert [(lock.start, lock.end) for lock in locks.records()] == [(9, 20)]


def test_the_owner_can_ask_for_its_own() -> None:
    run, locks = Runner(), FileLocks()
    first, second = FDTable(), FDTable()
    run.run(locks.lock(record(first, True, 5, 9), {}, wait=False))
    held = locks.held(record(first, False, 9, 20))
    assert held is not None
    assert (held.start, held.end, held.exclusive) == (5, 9, True)
    assert locks.held(record(first, False, 10, 20)) is None
    assert locks.held(record(second, False, 0, 20)) is None


def test_deadlock_is_found() -> None:
    run, locks, other = Runner(), FileLocks(), FileLocks()
    first, second = FDTable(), FDTable()
    waits: dict[int, list[int]] = {}
    run.run(locks.lock(record(first, True, 0), waits, wait=False))
    run.run(other.lock(record(second, True, 0), waits, wait=False))
    waiting = run.start(locks.lock(record(second, True, 0), waits, wait=True))
    with pytest.raises(EDEADLK):
        run.run(other.lock(record(first, True, 0), waits, wait=True))
    run.interrupt(waiting)
    with pytest.raises(Interrupted):
        waiting.result()
    assert not waits


def test_flock() -> None:
    run, locks = Runner(), FileLocks()
    a, b = FileDescription(O_RDWR), FileDescription(O_RDWR)
    run.run(locks.flock(a, False, wait=False))
    run.run(locks.flock(b, False, wait=False))
    with pytest.raises(EAGAIN):
        run.run(locks.flock(a, True, wait=False))
    waiting = run.start(locks.flock(a, True, wait=True))
    locks.unflock(b)
    run.settle()
    waiting.result()
    with pytest.raises(EAGAIN):
        run.run(locks.flock(b, False, wait=False))


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK]),
        st.integers(0, 8),
        st.integers(0, 5),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=100)
def test_records_same_as_the_hosts(steps: list[tuple[int, int, int, int]]) -> None:
    """Locks of three descriptions: the same answers, and the same locks left."""
    run, locks = Runner(), FileLocks()
    owners = [FileDescription(O_RDWR) for _ in range(3)]
    with tempfile.NamedTemporaryFile() as file:
        fds = [os.open(file.name, os.O_RDWR) for _ in owners]
        prober = os.open(file.name, os.O_RDWR)
        try:
            for index, kind, start, length in steps:
                end = start + length - 1 if length else END
                mine = native = 0
                try:
                    if kind == fcntl.F_UNLCK:
                        locks.unlock(owners[index], start, end)
                    else:
                        run.run(locks.lock(record(owners[index], kind == fcntl.F_WRLCK, start, end), {}, wait=False))
                except EAGAIN as error:
                    mine = error.errno
                try:
                    fcntl.fcntl(fds[index], F_OFD_SETLK, FLOCK.pack(kind, 0, start, length, 0))
                except OSError as error:
                    native = error.errno or -1
                assert mine == native
                for byte in range(14):
                    ours = locks.conflict(record(None, True, byte, byte))
                    answer = FLOCK.unpack(fcntl.fcntl(prober, F_OFD_GETLK, FLOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0)))
                    assert (ours is None) == (answer[0] == fcntl.F_UNLCK)
                    if ours is not None:
                        assert ours.exclusive == (answer[0] == fcntl.F_WRLCK)
        finally:
            for fd in [*fds, prober]:
                os.close(fd)


def test_the_host_holds_the_strongest_of_all() -> None:
    run, locks = Runner(), FileLocks()
    first, second = FDTable(), FDTable()
    with tempfile.NamedTemporaryFile() as other, open(other.name, "r+b") as ours:
        locks.host = HostLocks(hold(os.dup(ours.fileno()), Held(Of.FILE)), writable=True)

        def taken(start: int, end: int, *, shared: bool = False) -> bool:
            kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
            asked = FLOCK.pack(kind, 0, start, end - start + 1, 0)
            return FLOCK.unpack(fcntl.fcntl(other, F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK

        run.run(locks.lock(record(first, False, 0, 9), {}, wait=False))
        run.run(locks.lock(record(second, False, 5, 19), {}, wait=False))
        assert [taken(0, 0), taken(19, 19), taken(20, 99), taken(0, 19, shared=True)] == [True, True, False, False]
        locks.unlock(first, 0, 9)
        assert [taken(0, 4), taken(5, 5)] == [False, True]
        run.run(locks.lock(record(second, True, 10, 12), {}, wait=False))
        assert [taken(5, 9, shared=True), taken(12, 12, shared=True)] == [False, True]

        fcntl.fcntl(other, F_OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, 0, 50, 10, 0))
        with pytest.raises(EAGAIN):
            run.run(locks.lock(record(second, False, 0, 55), {}, wait=False))
        assert [taken(0, 4), taken(5, 5), taken(13, 19, shared=True)] == [False, True, False]
        found = locks.host_conflict(record(first, True, 20, 99))
        assert found is not None
        assert (found.start, found.end, found.exclusive) == (50, 59, True)
        locks.callers = 1
        waiting = run.start(locks.lock(record(first, True, 50, 50), {}, wait=True))
        run.settle()
        assert not waiting.done
        fcntl.fcntl(other, F_OFD_SETLK, FLOCK.pack(fcntl.F_UNLCK, 0, 50, 10, 0))
        locks.release_owner(second)  # wakes: no need to wait for the next try
        run.settle()
        assert waiting.done
        locks.leave()
        assert taken(50, 50)
        locks.release_owner(first)
        assert locks.host is None
        assert not taken(0, 1000)
