"""Pipes and FIFOs, alone and beside the host's own."""

from __future__ import annotations

import os
import select
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysc.cabi.linux.errors import EAGAIN, EBUSY, EINVAL, ENOMEM, ENXIO, EPERM, EPIPE
from pysc.cabi.linux.fcntl import O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY
from pysc.cabi.linux.poll import POLLERR, POLLHUP, POLLIN, POLLOUT
from pysc.sentry.fs.pipe import Pipe, PipeFile, make_pipe, open_fifo
from pysc.sentry.kernel.scheduler import Interrupted
from tests.unit.sentry.ipc.helpers import Runner

INODE = SimpleNamespace(locks=None, fs=SimpleNamespace(watchers={}))
PLACE: Any = SimpleNamespace(inode=INODE, dentry=SimpleNamespace(inode=INODE))
"""Where a FIFO is."""


def ends(flags: int = 0) -> tuple[PipeFile, PipeFile]:
    reader, writer = make_pipe(flags)
    reader.get()
    writer.get()
    return reader, writer


def test_reader_waits_for_writer_and_sees_the_end() -> None:
    run = Runner()
    reader, writer = ends()
    first = run.start(reader.read(100))
    assert not first.done
    assert run.run(writer.write(b"hello")) == 5
    run.settle()
    assert first.result() == b"hello"
    second = run.start(reader.read(100))
    writer.put()
    run.settle()
    assert second.result() == b""


def test_one_byte_wakes_one_reader() -> None:
    run = Runner()
    reader, writer = ends()
    readers = [run.start(reader.read(1)) for _ in range(3)]
    run.run(writer.write(b"a"))
    run.settle()
    assert [r.done for r in readers] == [True, False, False]
    run.run(writer.write(b"bc"))
    run.settle()
    assert [r.result() for r in readers] == [b"a", b"b", b"c"]


def test_writes_up_to_pipe_buf_are_atomic() -> None:
    run = Runner()
    _, writer = ends(O_NONBLOCK)
    run.run(writer.write(bytes(65536 - 100)))
    with pytest.raises(EAGAIN):
        run.run(writer.write(bytes(101)))
    assert run.run(writer.write(bytes(5000))) == 100


def test_blocked_writer_goes_on_as_room_appears_and_says_what_it_moved_when_interrupted() -> None:
    run = Runner()
    reader, writer = ends()
    outcome = run.start(writer.write(b"x" * 200_000))
    assert not outcome.done
    assert len(run.run(reader.read(1 << 20))) == 65536
    run.settle()
    assert not outcome.done
    run.interrupt(outcome)
    with pytest.raises(Interrupted) as interrupted:
        outcome.result()
    assert interrupted.value.moved == 131072
    again = run.start(writer.write(b"y" * 65537))
    run.interrupt(again)
    with pytest.raises(Interrupted):
        again.result()


def test_no_reader_is_epipe() -> None:
    run = Runner()
    reader, writer = ends()
    blocked = run.start(writer.write(bytes(70000)))
    reader.put()
    run.settle()
    assert blocked.result() == 65536
    with pytest.raises(EPIPE):
        run.run(writer.write(b"x"))
    assert writer.poll() & POLLERR


def test_packets_keep_their_borders_and_lose_the_rest() -> None:
    run = Runner()
    reader, writer = ends(O_DIRECT)
    for packet in (b"abc", b"defg"):
        run.run(writer.write(packet))
    assert run.run(reader.read(100)) == b"abc"
    assert run.run(reader.read(2)) == b"de"
    assert len(reader.pipe) == 0
    assert reader.pipe.room == 65536


def test_resize() -> None:
    run = Runner()
    reader, writer = ends(O_NONBLOCK)
    assert reader.pipe.resize(5000, False) == 8192
    assert run.run(writer.write(bytes(10000))) == 8192
    with pytest.raises(EBUSY):
        reader.pipe.resize(1, False)
    with pytest.raises(EPERM):
        reader.pipe.resize((1 << 20) + 1, False)
    with pytest.raises(EPERM):
        reader.pipe.resize(1 << 31, False)
    assert reader.pipe.resize((1 << 20) + 1, True) == 1 << 21
    assert reader.pipe.resize(1 << 28, True) == 1 << 28
    for size in ((1 << 28) + 1, 1 << 31):
        with pytest.raises(ENOMEM):
            reader.pipe.resize(size, True)
    with pytest.raises(EINVAL):
        reader.pipe.resize((1 << 31) + 1, True)


def test_fifo_rendezvous() -> None:
    run = Runner()
    pipe = Pipe()
    with pytest.raises(ENXIO):
        run.run(open_fifo(pipe, O_WRONLY | O_NONBLOCK, PLACE))
    reading = run.start(open_fifo(pipe, O_RDONLY, PLACE))
    assert not reading.done
    writer = run.run(open_fifo(pipe, O_WRONLY, PLACE))
    run.settle()
    reader = reading.result()
    run.run(writer.write(b"hi"))
    assert run.run(reader.read(9)) == b"hi"


def test_fifo_interrupted_open_leaves_nothing() -> None:
    run = Runner()
    pipe = Pipe()
    opening = run.start(open_fifo(pipe, O_WRONLY, PLACE))
    assert pipe.writers == 1
    run.interrupt(opening)
    with pytest.raises(Interrupted):
        opening.result()
    assert (pipe.readers, pipe.writers) == (0, 0)


def test_fifo_opened_nonblocking_has_no_hangup_before_its_first_writer() -> None:
    run = Runner()
    pipe = Pipe()
    reader = run.run(open_fifo(pipe, O_RDONLY | O_NONBLOCK, PLACE))
    assert not reader.poll()
    writer = run.run(open_fifo(pipe, O_WRONLY, PLACE))
    writer.get()
    writer.put()
    assert reader.poll() == POLLHUP
    both = run.run(open_fifo(pipe, O_RDWR, PLACE))
    assert both.poll() & POLLOUT


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 5).map(lambda pages: pages * 4096)),
        st.tuples(st.just("read"), st.integers(1, 6).map(lambda pages: pages * 4096)),
        st.tuples(st.just("read"), st.integers(1, 5000)),
        st.tuples(st.just("close"), st.integers(0, 1)),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=60)
def test_same_as_the_host(steps: list[tuple[str, int]]) -> None:
    """Whole pages in, anything out: then Linux's accounting by pages shows only in where a full pipe has room again."""
    run = Runner()
    ours = list(ends(O_NONBLOCK))
    theirs = list(os.pipe2(os.O_NONBLOCK))
    closed = [False, False]
    counter = 0
    try:
        for what, size in steps:
            if what == "close":
                if not closed[size]:
                    closed[size] = True
                    ours[size].put()
                    os.close(theirs[size])
                continue
            if closed[what == "write"]:
                continue
            if what == "write":
                data = bytes([counter % 256]) * size
                counter += 1
                mine: object
                host: object
                pages_used = -(-len(ours[0].pipe) // 4096)
                data = data[: max(4096, min(size, 65536 - pages_used * 4096))]
                if len(ours[0].pipe) % 4096 and pages_used >= 15:
                    continue
                try:
                    mine = run.run(ours[1].write(data))
                except (EAGAIN, EPIPE) as error:
                    mine = error.errno
                try:
                    host = os.write(theirs[1], data)
                except OSError as error:
                    host = error.errno
            else:
                try:
                    mine = run.run(ours[0].read(size))
                except EAGAIN as error:
                    mine = error.errno
                try:
                    host = os.read(theirs[0], size)
                except OSError as error:
                    host = error.errno
            assert mine == host
            for index in range(2):
                if not closed[index]:
                    poller = select.poll()
                    poller.register(theirs[index], POLLIN | POLLOUT)
                    events = dict(poller.poll(0)).get(theirs[index], 0)
                    assert ours[index].poll() & (POLLIN | POLLOUT | POLLHUP | POLLERR) == events
    finally:
        for index in range(2):
            if not closed[index]:
                os.close(theirs[index])
