"""Fixtures of the platform's unit tests."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pysc.sentry.platform.space import SystrapSpace
from pysc.sentry.platform.systrap import Systrap


@pytest.fixture
def blank_space() -> Iterator[SystrapSpace]:
    """The space of a blank process that has reported."""
    platform = Systrap()
    platform.start()
    try:
        deadline = time.monotonic() + 10
        while not any(space.born.done for space in platform.spaces.values()):
            assert time.monotonic() < deadline
            platform.wait(10**9)
        yield next(iter(platform.spaces.values()))
    finally:
        platform.stop()


@pytest.fixture
def blank(blank_space: SystrapSpace) -> int:
    """Its host pid."""
    return blank_space.host_pid
