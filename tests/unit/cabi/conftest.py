"""Fixtures of the unit tests of what is written in C."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pysc.cabi._dispatch import lib
from tests.unit.cabi.object_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A set of its own."""
    (tmp_path / "directory").mkdir()
    tree = os.open(tmp_path, os.O_PATH)
    world = World(tree)
    yield world
    lib.pysc_objects_free(world.objects)
    os.close(tree)
