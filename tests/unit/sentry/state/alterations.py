"""States that no kernel has written: one of a busy kernel, altered."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from pysc.sentry.state.kinds import Kinds, found
from pysc.sentry.state.schema import CLASSES


class State:
    """A decoded state, whose rows are found by class and slot."""

    def __init__(self, rows: bytes) -> None:
        self.parts: list[Any] = msgspec.msgpack.decode(rows)
        self.rows: list[list[Any]] = self.parts[-1]
        self._kinds = Kinds()

    def numbers(self, name: str, where: Callable[[list[Any]], bool] = lambda _row: True) -> list[int]:
        """Return the numbers of a class's rows."""
        tag = CLASSES[name].tag
        return [number for number, row in enumerate(self.rows, 1) if row[0] == tag and where(row)]

    def at(self, name: str, slot: str) -> int:
        """Return where a slot stands in rows of a class."""
        return 1 + [field for field, _ in self._kinds.by_class[found(name)].fields].index(slot)

    def put(self, number: int, name: str, slot: str, value: Any) -> None:
        """Change a slot of a row."""
        self.rows[number - 1][self.at(name, slot)] = value

    def get(self, number: int, name: str, slot: str) -> Any:
        """Return a slot of a row."""
        return self.rows[number - 1][self.at(name, slot)]


def _above_itself(state: State) -> None:
    at = state.at("fs.path.Dentry", "parent")
    child = next(number for number in state.numbers("fs.path.Dentry") if state.rows[number - 1][at] != number)
    state.put(state.rows[child - 1][at], "fs.path.Dentry", "parent", child)


def _owned_twice(state: State) -> None:
    first, second = state.numbers("fs.pipe.Pipe")[:2]
    for slot in ("_c", "index"):
        state.put(second, "fs.pipe.Pipe", slot, state.get(first, "fs.pipe.Pipe", slot))


def _another_structure(state: State) -> None:
    first, second = state.numbers("fs.pipe.Pipe")[:2]
    state.put(second, "fs.pipe.Pipe", "index", state.get(first, "fs.pipe.Pipe", "index"))


def _no_structure(state: State) -> None:
    state.put(state.numbers("fs.pipe.Pipe")[0], "fs.pipe.Pipe", "_c", 99_999)


def _shown_twice(state: State) -> None:
    at = state.at("fs.path.Dentry", "index")
    first, second = state.numbers("fs.path.Dentry", lambda row: row[at] >= 0)[:2]
    state.put(second, "fs.path.Dentry", "index", state.rows[first - 1][at])


def _not_shown(state: State) -> None:
    state.put(state.numbers("fs.path.Dentry")[-1], "fs.path.Dentry", "index", 1_000_000)


def _another_class(state: State) -> None:
    state.put(state.numbers("kernel.task.Task")[0], "kernel.task.Task", "group", state.numbers("fs.pipe.Pipe")[0])


def _no_terminal(state: State) -> None:
    """What a protocol does not fit."""
    at = state.at("fs.inode.Filesystem", "watchers")
    row = next(row for row in state.rows if row[0] == CLASSES["fs.tmpfs.Tmpfs"].tag and row[at])
    row[at] = [[state.numbers("fs.pipe.Pipe")[0], None]]


def _no_row(state: State) -> None:
    state.put(state.numbers("kernel.task.Task")[0], "kernel.task.Task", "group", len(state.rows) + 1)


def _no_place(state: State) -> None:
    next(row for row in state.rows if row[0] == 0)[1] = "pysc.sentry.fs.proc.system.nothing"


def _a_key_twice(state: State) -> None:
    state.get(state.numbers("kernel.kernel.Kernel")[0], "kernel.kernel.Kernel", "tasks")[1][0] = 1


def _called_back(state: State) -> None:
    at = state.at("kernel.scheduler.Timer", "callback")
    next(row for row in state.rows if row[0] == CLASSES["kernel.scheduler.Timer"].tag and row[at])[at][1] = "__init__"


def _another_root(state: State) -> None:
    state.parts[-3] = state.numbers("fs.pipe.Pipe")[0]


def _a_number_too_large(state: State) -> None:
    state.parts[-2][-1] = 1 << 63


def _no_structures(state: State) -> None:
    state.parts[0] = []


ALTERATIONS: Final[dict[Callable[[State], None], str]] = {
    _above_itself: "a Dentry is above itself",
    _owned_twice: "two objects own pipe",
    _another_structure: "a Pipe has another structure than it says",
    _no_structure: "there is no pipe 99999",
    _shown_twice: "stands twice",
    _not_shown: "there is no Dentry 1000000",
    _another_class: "is a Pipe, which does not belong there",
    _no_terminal: "is a Pipe, which does not belong there",
    _no_row: "there is no row",
    _no_place: "there is no pysc.sentry.fs.proc.system.nothing",
    _a_key_twice: "a key stands twice",
    _called_back: "is not called back",
    _another_root: "is a Pipe, which does not belong there",
    _a_number_too_large: "Expected `int` <= ",
    _no_structures: "there is no ",
}
"""And a part of what is said of each."""


def each(rows: bytes) -> Iterator[tuple[str, bytes]]:
    """Give the altered states, by the alteration's name."""
    for alter in ALTERATIONS:
        state = State(rows)
        alter(state)
        yield alter.__name__, msgspec.msgpack.encode(state.parts)


def at_random(rows: bytes, seed: str) -> bytes:
    """Return a state with one thing changed, or a few."""
    chance = random.Random(seed)
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
