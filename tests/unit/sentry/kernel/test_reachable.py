"""What a checkpoint would have to save: everything that a busy kernel reaches shows its state in slots."""

from __future__ import annotations

from collections import Counter

from pysc.sentry.fs.dcache import caches
from pysc.sentry.fs.file import referenced
from pysc.sentry.fs.path import mounts
from tests.support.reachable import is_hidden_state, reachable
from tests.unit.sentry.kernel.busy import make_busy
from tests.unit.sentry.kernel.kernel_world import World


def hidden(world: World) -> list[str]:
    """Find state that no slot shows."""
    return [
        f"{type(holder).__module__}.{type(holder).__qualname__}.{slot} is {value!r}"
        for holder, slot, value in reachable(world.kernel, referenced, caches, mounts)
        if is_hidden_state(holder, slot, value)
    ]


def test_a_closure_is_found(world: World) -> None:
    assert not hidden(world)
    timer = world.kernel.scheduler.call_at(1 << 62, lambda: None)
    assert len(hidden(world)) == 1
    timer.cancel()
    assert not hidden(world)


def test_no_state_is_hidden_in_functions(world: World) -> None:
    make_busy(world)
    assert not hidden(world), "\n".join(hidden(world))
    kinds = Counter(type(value).__name__ for _, _, value in reachable(world.kernel))
    for kind in ("Task", "ThreadGroup", "PipeFile", "EpollItem", "Routine", "Timer", "Dentry", "FileLocks", "Mount"):
        assert kinds[kind], f"{kind} was not reached"
