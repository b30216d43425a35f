"""The kernel on a fake platform."""

from __future__ import annotations

import pytest

from tests.unit.sentry.kernel.kernel_world import World


@pytest.fixture
def world() -> World:
    return World()
