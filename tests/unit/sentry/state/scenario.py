"""What two processes do: one makes a busy kernel and saves it, the other, which has its descriptors, goes on with it.

``python -m tests.unit.sentry.state.scenario PLACE`` begins; PLACE is a directory to make.  With ``each``, or ``random
SEED COUNT``, the second process does not go on: it tries rows that have been altered, and says what became of them.
"""

from __future__ import annotations

import gc
import json
import os
import struct
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from pysc.sentry.kernel.delivery import thaw
from pysc.sentry.state.forms import BadState
from pysc.sentry.state.kinds import Kinds
from tests.unit.sentry.kernel.busy import Busy, make_busy
from tests.unit.sentry.kernel.kernel_world import BASE, World
from tests.unit.sentry.state import alterations
from tests.unit.sentry.state.again import Describer, load_world, save_world
from tests.unit.sentry.state.files import Files, go_on_with, open_files


class Told(msgspec.Struct):
    """What the second process needs to know of the guests."""

    tids: dict[str, int]
    busy: tuple[tuple[int, int], tuple[int, int], int, int]
    deadline: int | None
    files: Files


def begin(place: Path, more: list[str]) -> None:
    """Be the first process."""
    world = World()
    place.mkdir()
    files = open_files(world, place)
    busy = make_busy(world)
    record = busy.waiting["nanosleep"].record
    assert record is not None
    describer = Describer()
    rows = save_world(Kinds(), world, describer)
    assert save_world(Kinds(), world, Describer()) == rows
    (place / "rows").write_bytes(rows)
    told = Told({name: task.tid for name, task in busy.waiting.items()}, busy[1:], record.deadline, files)
    for fd in (*describer.descriptors, files.writer):
        os.set_inheritable(fd, True)
    said = msgspec.json.encode(told).decode()
    os.execv(sys.executable, [sys.executable, "-m", __spec__.name, str(place), *more, "--", said])


def go_on(place: Path, told: Told) -> None:
    """Be the second one."""
    kinds, rows = Kinds(), (place / "rows").read_bytes()
    world = load_world(kinds, rows)
    assert save_world(kinds, world, Describer()) == rows
    record = world.kernel.tasks[told.tids["nanosleep"]].record
    assert record is not None
    assert record.deadline == told.deadline
    thaw(world.kernel)
    world.settle()
    let_go_on(world, Busy({name: world.kernel.tasks[tid] for name, tid in told.tids.items()}, *told.busy))
    go_on_with(world, told.files)


def load_each(states: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, str]]:
    """Load rows, each in a process of its own; give their names, and why they were refused."""
    kinds = Kinds()
    gc.disable()
    for name, rows in states:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                save_world(kinds, load_world(kinds, rows), Describer())
                os._exit(0)
            except BadState as error:
                os.write(writer, str(error).encode()[:4000])
                os._exit(0)  # while it has what was made
            except BaseException:
                print(name, file=sys.stderr)
                traceback.print_exc()
            os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as said:
            yield name, said.read().decode()
        assert os.waitpid(pid, 0)[1] == 0, name


def let_go_on(world: World, busy: Busy) -> None:
    """Let everybody have what they wait for."""
    init, waiting = world.init, busy.waiting
    assert all(world.waits(task) for task in waiting.values())

    assert world.call(init, "write", busy.empty[1], BASE, 2) == 2
    assert world.result(waiting["poll"]) == 1
    assert world.result(waiting["read"]) == 1

    assert world.call(init, "read", busy.full[0], BASE, 50_000) == 50_000
    assert world.result(waiting["write"]) == 100_000
    assert world.call(init, "read", busy.full[0], BASE, 60_000) == 50_000

    world.write(init, 0, struct.pack("<Q", 5))
    assert world.call(init, "write", busy.event, BASE, 8) == 8
    assert world.result(waiting["epoll_wait"]) > 0

    world.write(init, 0, struct.pack("<hhqqi4x", 2, 0, 0, 0, 0))
    assert world.call(init, "fcntl", busy.file, 6, BASE) == 0
    assert world.result(waiting["fcntl"]) == 0

    (grandchild,) = (group for group in world.kernel.groups.values() if group.parent is waiting["wait4"].group)
    world.exit(grandchild.leader, 3)
    assert world.result(waiting["wait4"]) == grandchild.tgid

    pid = waiting["pause"].tid
    assert world.call(init, "kill", pid, 9) == 0
    world.settle()
    assert world.call(init, "wait4", pid, BASE, 0, 0) == pid
    assert world.call(init, "lseek", busy.file, 0, 0) == 0
    assert world.call(init, "read", busy.file, BASE, 64) == 4
    assert world.read(init, 0, 4) == b"kept"
    assert world.waits(waiting["nanosleep"])
    assert world.kernel.scheduler.deadline() is not None


if __name__ == "__main__":
    place, *more = sys.argv[1:]
    match more:
        case ["--", said]:
            go_on(Path(place), msgspec.json.decode(said, type=Told))
            print("it has gone on")
        case ["random", seed, count, "--", _]:
            rows = (Path(place) / "rows").read_bytes()
            states = (
                (f"{seed}.{number}", alterations.at_random(rows, f"{seed}.{number}")) for number in range(int(count))
            )
            print(json.dumps(Counter("refused" if why else "taken" for _, why in load_each(states))))
        case ["each", "--", _]:
            states = alterations.each((Path(place) / "rows").read_bytes())
            print(json.dumps(dict(load_each(states))))
        case _:
            begin(Path(place), more)
