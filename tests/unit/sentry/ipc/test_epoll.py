"""epoll(7): alone, and beside the host's."""

from __future__ import annotations

import os
import select
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysc.cabi.linux.errors import EEXIST, EINTR, EINVAL, ELOOP, ENOENT, EPERM, LinuxError
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.cabi.linux.poll import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLL_EVENT,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLONESHOT,
    POLLIN,
    POLLOUT,
)
from pysc.sentry.fs.epoll import TELLS, EpollFile, EpollItem
from pysc.sentry.fs.eventfd import EventFile
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.pipe import make_pipe
from pysc.sentry.syscalls import epoll as calls
from tests.unit.sentry.ipc.helpers import FakeTask, Runner

A = FakeTask.BASE
ONE = (1).to_bytes(8, "little")


def epoll() -> EpollFile:
    file = EpollFile()
    file.get()
    return file


def counter() -> EventFile:
    file = EventFile(0, False, O_NONBLOCK)
    file.get()
    return file


def test_level_edge_and_oneshot() -> None:
    run = Runner()
    level, edge, once = counter(), counter(), counter()
    ep = epoll()
    ep.add(0, level, POLLIN, 10)
    ep.add(1, edge, POLLIN | EPOLLET, 11)
    ep.add(2, once, POLLIN | EPOLLONESHOT, 12)
    assert ep.collect(9) == []
    for file in (once, edge, level):
        run.run(file.write(ONE))
    assert ep.collect(9) == [(POLLIN, 12), (POLLIN, 11), (POLLIN, 10)]
    assert ep.collect(9) == [(POLLIN, 10)]
    for file in (once, edge):
        run.run(file.write(ONE))
    assert sorted(ep.collect(9)) == [(POLLIN, 10), (POLLIN, 11)]
    ep.modify(2, once, POLLIN | EPOLLONESHOT, 13)
    run.run(level.read(8))
    assert ep.collect(9) == [(POLLIN, 13)]


def test_reports_are_fair() -> None:
    run = Runner()
    files = [counter() for _ in range(4)]
    ep = epoll()
    for index, file in enumerate(files):
        run.run(file.write(ONE))
        ep.add(index, file, POLLIN, index)
    assert [[data for _, data in ep.collect(2)] for _ in range(3)] == [[0, 1], [2, 3], [0, 1]]


def test_items_end_with_the_description_not_the_descriptor() -> None:
    run = Runner()
    task: Any = FakeTask()
    file, ep = counter(), epoll()
    fd = task.install(file)
    ep.add(fd, file, POLLIN, 1)
    file.put()
    other = task.install(file)
    task.fds.close(task, fd)
    run.run(file.write(ONE))
    assert ep.collect(9) == [(POLLIN, 1)]
    task.fds.close(task, other)
    assert ep.collect(9) == []
    assert ep.watched() == []
    assert not file.wait


def test_errors() -> None:
    ep, file = epoll(), counter()
    ep.add(3, file, POLLIN, 1)
    with pytest.raises(EEXIST):
        ep.add(3, file, POLLIN, 1)
    ep.add(4, file, POLLIN, 1)
    with pytest.raises(ENOENT):
        ep.remove(5, file)
    with pytest.raises(EPERM):
        ep.add(6, FileDescription(0), POLLIN, 1)
    with pytest.raises(EINVAL):
        ep.add(7, ep, POLLIN, 1)
    with pytest.raises(EINVAL):
        ep.add(8, epoll(), POLLIN | EPOLLEXCLUSIVE, 1)
    ep.add(9, file, POLLIN | EPOLLEXCLUSIVE, 1)
    with pytest.raises(EINVAL):
        ep.modify(9, file, POLLIN, 1)


def test_nesting_is_bounded_and_without_circles() -> None:
    chain = [epoll() for _ in range(6)]
    for inner, outer in pairwise(chain[:5]):
        outer.add(0, inner, POLLIN, 0)
    with pytest.raises(ELOOP):
        chain[5].add(0, chain[4], POLLIN, 0)
    with pytest.raises(ELOOP):
        chain[0].add(0, chain[2], POLLIN, 0)
    file, run = counter(), Runner()
    chain[0].add(1, file, POLLIN, 5)
    assert not chain[4].poll()
    run.run(file.write(ONE))
    assert chain[4].poll() & POLLIN
    run.run(file.read(8))
    assert not chain[4].poll()


def test_many_ways_up_are_not_all_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoll of a layer watches all of the layer below: 20 ** 5 ways from the file to the top."""
    layers = [[epoll() for _ in range(20)] for _ in range(5)]
    for below, above in pairwise(layers):
        for outer in above:
            for fd, inner in enumerate(below):
                outer.add(fd, inner, POLLIN, fd)
    file, run = counter(), Runner()
    for inner in layers[0]:
        inner.add(100, file, POLLIN, 0)
    marked = 0
    mark_ready = EpollFile.mark_ready

    def count(ep: EpollFile, item: EpollItem) -> None:
        nonlocal marked
        marked += 1
        mark_ready(ep, item)

    monkeypatch.setattr(EpollFile, "mark_ready", count)
    for _ in range(3):
        run.run(file.write(ONE))
        assert all(ep.poll() & POLLIN for layer in layers for ep in layer)
        run.run(file.read(8))
        assert not any(ep.poll() for layer in layers for ep in layer)
    assert marked < 50_000


def test_watchers_hear_until_they_look_and_again_afterwards() -> None:
    inner, outer, file, run = epoll(), epoll(), counter(), Runner()
    outer.add(0, inner, POLLIN, 7)
    inner.add(1, file, POLLIN | EPOLLET, 5)
    for _ in range(3 * TELLS):
        run.run(file.write(ONE))
    for _ in range(3 * TELLS):
        assert outer.collect(4) == [(POLLIN, 7)]
        assert inner.collect(4) == [(POLLIN, 5)]
        assert outer.collect(4) == []
        run.run(file.write(ONE))


def test_wait() -> None:
    run = Runner()
    task: Any = FakeTask()
    epfd = run.run(_value(calls.epoll_create1(task, 0)))
    file = counter()
    fd = task.install(file)
    task.put(A, EPOLL_EVENT.pack(POLLIN, 77))
    run.run(calls.epoll_ctl(task, epfd, EPOLL_CTL_ADD, fd, A))
    with pytest.raises(EINVAL):
        run.run(calls.epoll_wait(task, epfd, A, 0, -1))
    first = run.start(calls.epoll_wait(task, epfd, A, 4, -1))
    second = run.start(calls.epoll_wait(task, epfd, A, 4, -1))
    run.run(file.write(ONE))
    run.settle()
    assert first.result() == 1
    assert EPOLL_EVENT.unpack(task.peek(A, 12)) == (POLLIN, 77)
    assert second.result() == 1, "level-triggered: still ready for the next"
    run.run(file.read(8))
    third = run.start(calls.epoll_wait(task, epfd, A, 4, -1))
    run.interrupt(third)
    with pytest.raises(EINTR):
        third.result()
    assert run.run(calls.epoll_wait(task, epfd, A, 4, 0)) == 0
    run.run(calls.epoll_ctl(task, epfd, EPOLL_CTL_DEL, fd, 0))
    with pytest.raises(EINVAL):
        run.run(calls.epoll_ctl(task, fd, EPOLL_CTL_MOD, epfd, A))


async def _value(value: int) -> int:
    return value


MODES = st.sampled_from([0, EPOLLET, EPOLLONESHOT, EPOLLET | EPOLLONESHOT])
EVENTS = st.sampled_from([0, POLLIN, POLLOUT, POLLIN | POLLOUT])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), EVENTS, MODES),
        st.tuples(st.just("mod"), st.integers(0, 3), EVENTS, MODES),
        st.tuples(st.just("del"), st.integers(0, 3)),
        st.tuples(st.just("write"), st.integers(0, 2)),
        st.tuples(st.just("read"), st.integers(0, 2)),
        st.tuples(st.just("close"), st.just(2)),
        st.tuples(st.just("wait"), st.integers(1, 3)),
    ),
    min_size=8,
    max_size=60,
)


@given(STEPS)
@settings(max_examples=150)
def test_same_as_the_host(steps: list[tuple[Any, ...]]) -> None:
    """Two counters and a pipe, in any order of operations, give the same reports in the same order."""
    run = Runner()
    reader, writer = make_pipe(O_NONBLOCK)
    ours: list[Any] = [counter(), counter(), writer, reader]
    for file in ours[2:]:
        file.get()
    host_reader, host_writer = os.pipe2(os.O_NONBLOCK)
    theirs = [os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK), host_writer, host_reader]
    ep = epoll()
    host = select.epoll()
    closed = False
    try:
        for name, *args in steps:
            index = args[0] if args else 0
            if closed and index == 2 and name != "wait":
                continue
            mine: Any = None
            native: Any = None
            try:
                match name:
                    case "add":
                        ep.add(index, ours[index], args[1] | args[2], index)
                    case "mod":
                        ep.modify(index, ours[index], args[1] | args[2], index)
                    case "del":
                        ep.remove(index, ours[index])
                    case "write":
                        mine = run.run(ours[index].write(ONE))
                    case "read":
                        mine = run.run((reader if index == 2 else ours[index]).read(8))
                    case "close":
                        ours[2].put()
                    case "wait":
                        mine = [(data, events) for events, data in ep.collect(index)]
            except LinuxError as error:
                mine = error.errno
            try:
                match name:
                    case "add":
                        host.register(theirs[index], args[1] | args[2])
                    case "mod":
                        host.modify(theirs[index], args[1] | args[2])
                    case "del":
                        host.unregister(theirs[index])
                    case "write":
                        native = os.write(theirs[index], ONE)
                    case "read":
                        native = os.read(host_reader if index == 2 else theirs[index], 8)
                    case "close":
                        os.close(theirs[2])
                        closed = True
                    case "wait":
                        native = [(theirs.index(fd), events) for fd, events in host.poll(0, index)]
            except OSError as error:
                native = error.errno
            assert mine == native, (name, args)
    finally:
        host.close()
        for index, fd in enumerate(theirs):
            if index != 2 or not closed:
                os.close(fd)
