"""What two processes do: one makes a busy kernel and saves it, the other, which has its descriptors, goes on with it.

``python -m tests.unit.sentry.state.scenario PLACE`` begins; PLACE is a directory to make.  With ``SEED COUNT`` the
second process does not go on: it tries rows that have been changed, and says what became of them.
"""

from __future__ import annotations

import gc
import os
import random
import struct
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from pysc.sentry.kernel.delivery import thaw
from pysc.sentry.state.forms import BadState
from pysc.sentry.state.kinds import Kinds
from tests.unit.sentry.kernel.busy import Busy, make_busy
from tests.unit.sentry.kernel.kernel_world import BASE, World
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
    os.execv(sys.executable, [sys.executable, "-m", __spec__.name, str(place), *more, said])


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


def try_changed(place: Path, seed: int, count: int) -> dict[str, int]:
    """Load rows that have been changed, each time in a process of its own; return how often what became of them."""
    kinds, rows = Kinds(), (place / "rows").read_bytes()
    told: Counter[str] = Counter()
    gc.disable()
    for number in range(count):
        chance = random.Random(f"{seed}.{number}")
        pid = os.fork()
        if pid == 0:
            try:
                save_world(kinds, load_world(kinds, changed(rows, chance)), Describer())
                os._exit(0)
            except BadState:
                os._exit(1)  # while it has what was made
            except BaseException:
                print(f"seed {seed}, number {number}", file=sys.stderr)
                traceback.print_exc()
            os._exit(2)
        status = os.waitpid(pid, 0)[1]
        told[{0: "taken", 256: "refused"}.get(status, f"status {status}")] += 1
    return dict(told)


def changed(rows: bytes, chance: random.Random) -> bytes:
    """Return rows with one thing changed, or a few."""
    state = msgspec.msgpack.decode(rows)
    many = len(state[-1])
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        holder, index = state, chance.randrange(len(state))
        while isinstance(holder[index], list) and holder[index] and chance.random() < 0.9:
            holder, index = holder[index], chance.randrange(len(holder[index]))
        holder[index] = _other(holder[index], many, chance)
        if chance.random() < 0.1:
            del holder[index]
    return msgspec.msgpack.encode(state)


def _other(value: Any, rows: int, chance: random.Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return chance.choice(
                (0, 1, -1, value ^ 1, chance.randrange(rows + 2), 1 << 31, (1 << 63) - 1, (1 << 64) - 1)
            )
        case bytes() if value:
            at = chance.randrange(len(value))
            return chance.choice((b"", value[:at], value[:at] + bytes([chance.randrange(256)]) + value[at + 1 :]))
        case list() if value:
            return chance.choice(([], value + value[:1], value[1:], chance.sample(value, len(value))))
        case _:
            return chance.choice((None, 0, 1, b"x", "x", [], [0], 1.5))


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
    place, more = Path(sys.argv[1]), sys.argv[2:]
    if len(more) % 2 == 0:
        begin(place, more)
    elif len(more) == 1:
        go_on(place, msgspec.json.decode(more[0], type=Told))
        print("it has gone on")
    else:
        print(msgspec.json.encode(try_changed(place, int(more[0]), int(more[1]))).decode())
