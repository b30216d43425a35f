"""The kernel on a fake platform."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.frozen import FreezeAtEachPark
from tests.unit.sentry.kernel.kernel_world import World


@pytest.fixture(params=["plain", "frozen"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Return a kernel; a frozen one begins each call that waits again, which no guest may notice."""
    world = World()
    if request.param == "frozen":
        world.kernel.scheduler.pending_interrupt = FreezeAtEachPark()
    yield world
    world.close()
