"""Who may spin: no more processes than there are processors beside the one that serves them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from pysc.cabi._dispatch import ffi, lib

SPACES = 4
SOON = 5
"""Seconds within which it shows: it is looked at every 100 us (wait.c), but others may have the processor."""


class Spaces:
    """Four spaces of an engine, whose one thread each reports as it is told to."""

    def __init__(self) -> None:
        self.engine = lib.pysc_engine_new()
        shared = os.memfd_create("shared")
        os.ftruncate(shared, 4096)
        assert lib.pysc_engine_share(self.engine, shared) == 0
        os.close(shared)
        self.ends = ffi.new("struct pysc_space_ends *")
        self.sockets = []
        self.threads = []
        for number in range(SPACES):
            assert lib.pysc_space_new(self.engine, self.ends) == number
            self.sockets.append(socket.socket(fileno=os.dup(self.ends.guest_socket)))
            self.threads.append(lib.pysc_thread_add(self.engine, number, 0, 0))

    def report(self, number: int) -> None:
        """Have a thread report, as a guest half does, and take that."""
        channel = lib.pysc_space_channel(self.engine, number)
        slot = channel.slots[0]
        slot.kind, slot.nr = lib.PYSC_KIND_SYSCALL, 39
        slot.turn = lib.PYSC_TURN_SENTRY
        channel.pending[0] = 1
        if not channel.polled:
            self.sockets[number].send(bytes(8))
        events = ffi.new("struct pysc_event[]", 64)
        kinds = []
        while lib.PYSC_KIND_SYSCALL not in kinds:
            kinds += [events[i].kind for i in range(lib.pysc_wait(self.engine, 10**9, events, 64))]
        assert lib.pysc_reply(self.engine, self.threads[number], 0) == 0

    @property
    def spinners(self) -> list[int]:
        channels = [lib.pysc_space_channel(self.engine, number) for number in range(SPACES)]
        return [number for number, channel in enumerate(channels) if channel.polled & lib.PYSC_MAY_SPIN]

    def close(self) -> None:
        for end in self.sockets:
            end.close()
        lib.pysc_engine_free(self.engine)


@pytest.fixture
def processors() -> Iterator[int]:
    """As many as this thread may use: two of those that there are."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # an engine of an earlier test may have moved this thread
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        pytest.skip("needs two processors: with one nobody spins")
    os.sched_setaffinity(0, there[:2])
    yield 2
    os.sched_setaffinity(0, before)


def test_those_spin_that_report(processors: int) -> None:
    spaces = Spaces()
    try:
        for number in range(SPACES):
            spaces.report(number)
        assert len(spaces.spinners) == processors - 1
        for number in (3, 1, 2):
            deadline = time.monotonic() + SOON
            while spaces.spinners != [number]:
                spaces.report(number)
                assert time.monotonic() < deadline, spaces.spinners
    finally:
        spaces.close()
