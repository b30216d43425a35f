from __future__ import annotations

import pytest

from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.kernel.credentials import Credentials
from tests.support.vfs_world import World


@pytest.fixture
def root() -> World:
    """A privileged task on an empty tmpfs."""
    return World(Tmpfs(mode=0o755))


@pytest.fixture
def user(root: World) -> World:
    """An ordinary user's task in the same place."""
    other = World(root.namespace.root.fs, Credentials.of(1000, 1000, (2000,)))
    other.namespace = root.namespace
    other.fs = root.fs.copy()
    return other
