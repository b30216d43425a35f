"""Objects of rows: in two steps, since they name each other in circles; then what is not in rows is made anew."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, TypeVar

import msgspec

from pysc.cabi.linux.errors import EINVAL
from pysc.cabi.saved import load_objects
from pysc.sentry.chance import draw_names_key
from pysc.sentry.state.check import check
from pysc.sentry.state.forms import BadState
from pysc.sentry.state.kinds import Kind, Kinds, Placed
from pysc.sentry.state.references import Reference
from pysc.sentry.state.schema import FIXED, GLOBALS
from pysc.sentry.state.tables import named, places

T = TypeVar("T")
Restore = Callable[[str, bytes], Any]
"""Returns what was described; the same for the same description."""


class _Loader:
    __slots__ = ("_made", "_owned", "restore")

    def __init__(self, made: list[Any], restore: Restore) -> None:
        self.restore = restore
        self._made = made
        self._owned: set[tuple[str, int]] = set()

    def object(self, number: int) -> Any:
        if not 0 < number <= len(self._made):
            raise BadState(f"there is no row {number}")
        return self._made[number - 1]

    def own(self, kind: str, index: int) -> None:
        if (kind, index) in self._owned:
            raise BadState(f"two objects own {kind} {index}")
        self._owned.add((kind, index))


def load_untrusted(kinds: Kinds, saved: bytes, root: type[T], restore: Restore) -> T:
    """Return the object that was saved.  The process has no kernel yet, but the tables of its machine (sysfs.py).

    BadState; ENOMEM.
    """
    try:
        state: Any = kinds.decoder.decode(saved)
        draw_names_key()
        load_objects(state.structures)
    except (ValueError, RecursionError) as error:  # msgspec's are such, too
        raise BadState(str(error)) from None
    made: list[Any] = []
    try:
        made.extend(_begun(kinds, state))  # what there is, if there is no more
        return _filled(kinds, state, made, _Loader(made, restore), root)
    except BadState as error:
        error.made = made
        raise
    except (TypeError, OverflowError, EINVAL) as error:  # a key that cannot be one, a number that is too large
        raise BadState(str(error), made) from None


def _begun(kinds: Kinds, state: Any) -> Iterator[Any]:
    """Give an object for each row, in which nothing is yet."""
    fixed = dict(zip(state.fixed, FIXED, strict=False))
    if len(fixed) != len(FIXED):
        raise BadState("other objects of modules")
    table = dict(places())
    for number, row in enumerate(state.rows, 1):
        if isinstance(row, Placed):
            if row.place not in table:
                raise BadState(f"there is no {row.place}")
            yield table[row.place]
            continue
        cls = kinds.by_row[type(row)].cls
        if number not in fixed:
            yield _new(cls)
        elif type(it := named(fixed[number])) is cls:
            yield it
        else:
            raise BadState(f"row {number} is not of a {type(it).__name__}")


def _filled(kinds: Kinds, state: Any, made: list[Any], loader: _Loader, root: type[T]) -> T:
    for it, row in zip(made, state.rows, strict=True):
        if not isinstance(row, Placed):
            _fill(it, kinds.by_row[type(row)], row, loader)
    top: T = Reference((root,)).load(state.root, loader)
    of_modules = kinds.globals.load(state.globals, loader)
    check(kinds, made)
    for name, value in zip(GLOBALS, of_modules, strict=True):
        _put(name, named(name), value)
    for it in made:
        if hasattr(it, "rebuild"):
            it.rebuild()
    return top


def _new(cls: type) -> Any:
    if issubclass(cls, msgspec.Struct):
        return cls(*[None] * len(cls.__struct_fields__))
    return cls.__new__(cls)


def _fill(it: Any, kind: Kind, row: msgspec.Struct, loader: _Loader) -> None:
    for cls in kind.begun:
        cls.__init__(it)  # type: ignore[misc]  # that class's, which takes nothing
    for slot, form in kind.fields:
        form.put(it, slot, getattr(row, slot), loader)


def _put(name: str, there: Any, value: Any) -> None:
    """Let a module have what it had."""
    if isinstance(there, count):
        module, _, word = name.rpartition(".")
        setattr(importlib.import_module(f"pysc.{module}"), word, value)
    elif isinstance(there, deque):
        there.extend(value)
    else:
        there.update(value)
