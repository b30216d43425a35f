"""The watchdog: what it calls slow, what it calls a stall, and that it sleeps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pysc.cabi import objects
from pysc.cabi._dispatch import ffi, lib
from pysc.sentry.fs.superblock import DATA, NAMES, Superblock

PULSE = lib.pysc_objects_pulse(objects.OBJECTS)


@pytest.fixture
def superblock() -> Iterator[Superblock]:
    """Return a superblock that this thread, the loop, is about to call."""
    engine = lib.pysc_engine_new()
    error = ffi.new("int32_t *")
    status = os.open("/proc/thread-self/stat", os.O_RDONLY)
    watchdog = lib.pysc_watchdog_start(engine, objects.OBJECTS, status, -1, error)
    assert watchdog, os.strerror(error[0])
    PULSE.stalled = PULSE.asleep = PULSE.at = 0
    yield Superblock()
    PULSE.asleep = 0
    lib.pysc_watchdog_stop(watchdog)
    lib.pysc_engine_free(engine)
    PULSE.stalled = 0


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def turn() -> None:
    """What pysc_wait does when it is called, and when it returns."""
    PULSE.turn += 2


def eventually(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_blocked_call_is_slow(superblock: Superblock) -> None:
    def blocked() -> bool:
        superblock.inline(DATA, time.sleep, 0.01)
        return superblock.is_slow(DATA)

    eventually(blocked)
    assert not superblock.is_slow(NAMES)


def test_a_running_one_is_not(superblock: Superblock) -> None:
    superblock.inline(NAMES, compute, 0.03)
    turn()
    assert not superblock.is_slow(NAMES)


def test_many_quick_ones_are_not(superblock: Superblock) -> None:
    for _ in range(20):
        superblock.inline(NAMES, time.sleep, 0.0001)
        compute(0.001)
    assert not superblock.is_slow(NAMES)


def test_stalls_are_told(superblock: Superblock) -> None:
    compute(0.03)
    eventually(lambda: PULSE.stalled)
    assert PULSE.stalled >= 10_000_000
    turn()
    time.sleep(0.005)  # it is looking, maybe
    PULSE.stalled = 0
    for _ in range(20):
        turn()
        compute(0.002)
    assert not PULSE.stalled
    eventually(lambda: superblock.inline(NAMES, time.sleep, 0.03) or PULSE.stalled)
    assert PULSE.blocked > 0
    assert PULSE.stalled_at == superblock.number << 1 | NAMES


def test_it_sleeps_while_the_loop_does(superblock: Superblock) -> None:
    turn()
    PULSE.asleep = 1
    eventually(lambda: PULSE.dozing)
