"""Rows of the kernel's objects: all that can be reached from some, in a kernel that is frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pysc.cabi.saved import dump_objects
from pysc.sentry.fs.file import referenced
from pysc.sentry.state.forms import OBJECTS_MAX
from pysc.sentry.state.kinds import Kinds, Placed
from pysc.sentry.state.schema import FIXED, GLOBALS
from pysc.sentry.state.tables import named, places

Describe = Callable[[str, Any], bytes]
"""Says of what is this process's, by the name of its class, how another one comes by it."""


class _Saver:
    __slots__ = ("_numbers", "describe", "found")

    def __init__(self, describe: Describe) -> None:
        self.describe = describe
        self.found: list[object] = []
        self._numbers: dict[int, int] = {}

    def number(self, it: object) -> int:
        number = self._numbers.get(id(it))
        if number is None:
            self.found.append(it)
            number = self._numbers[id(it)] = len(self.found)
        return number


def save(kinds: Kinds, root: object, describe: Describe) -> bytes:
    """Return the state of ``root``, of all that can be reached from it, and of what modules have.

    The platform's spaces have told what fast paths have mapped.

    TypeError, ValueError, AttributeError: something has state that no row has, or more than 2²⁴ objects.
    """
    referenced.see_at(-1)  # what fast paths have opened becomes objects
    saver = _Saver(describe)
    placed = {id(value): place for place, value in places()}
    fixed = [saver.number(named(name)) for name in FIXED]
    top = saver.number(root)
    of_modules = kinds.globals.save([named(name) for name in GLOBALS], saver)
    rows: list[msgspec.Struct] = []
    for it in saver.found:  # grows meanwhile
        kind = kinds.by_class.get(type(it))
        if id(it) in placed:
            rows.append(Placed(placed[id(it)]))
        elif kind is None:
            raise TypeError(f"{type(it).__module__}.{type(it).__qualname__} has no rows")
        else:
            rows.append(kind.row(*[form.take(it, slot, saver) for slot, form in kind.fields]))
    if len(rows) > OBJECTS_MAX:
        raise ValueError(f"there are {len(rows)} objects, more than {OBJECTS_MAX}")
    return msgspec.msgpack.encode(kinds.state(list(dump_objects()), fixed, top, of_modules, rows))
