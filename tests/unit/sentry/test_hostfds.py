"""Files leave descriptors of the host's to processes, and these to what is opened for a moment."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest

from pysc.cabi import objects
from pysc.cabi.linux.errors import ENFILE
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.hostfds import Held, Of, close, hold, is_for_process
from tests.support.vfs_world import World


@pytest.fixture(autouse=True)
def limit() -> Iterator[int]:
    """As few descriptors as leave no more than one for a file."""
    first = os.open("/", os.O_RDONLY)
    os.close(first)
    few = 2 * (first + 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    objects.ask_descriptors()
    yield few
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    objects.ask_descriptors()


def test_files(limit: int) -> None:
    kept = hold(os.open("/", os.O_RDONLY), Held(Of.LISTING))
    with pytest.raises(ENFILE):
        hold(os.open("/", os.O_RDONLY), Held(Of.LISTING))
    close(hold(os.open("/", os.O_RDONLY), Held(Of.GUEST)))
    close(kept)
    close(hold(os.open("/", os.O_RDONLY), Held(Of.LISTING)))  # the refused one was closed
    assert not is_for_process(limit - 1)


def test_large_files_in_memory() -> None:
    """What does not fit into its structure has a descriptor: that there is none is an error of the guest's, no bug."""
    world = World(Tmpfs())
    world.put_file(b"/a", b"")
    world.put_file(b"/b", b"")
    assert world.call("truncate", b"/a", 1 << 20) == 0
    assert world.call("truncate", b"/b", 1 << 20) == -ENFILE.errno
    assert world.call("truncate", b"/b", 1 << 10) == 0
