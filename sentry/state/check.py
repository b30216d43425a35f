"""What rows of the right types can still have wrong, so that code would go round for ever or free a thing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.sentry.fs.dcache import Dcache
from pysc.sentry.fs.memory_file import Budget
from pysc.sentry.fs.path import Dentry, Mount
from pysc.sentry.kernel.account import Account
from pysc.sentry.kernel.thread_group import ThreadGroup
from pysc.sentry.state.forms import BadState
from pysc.sentry.state.kinds import Kinds
from pysc.sentry.state.references import Face

UP: Final[dict[type, Callable[[Any], Any]]] = {
    Account: lambda it: it._heir,
    Budget: lambda it: it.parent,
    Dentry: lambda it: None if it.parent is it else it.parent,
    Mount: lambda it: it.parent,
    ThreadGroup: lambda it: it.parent,
}
"""Objects that name one above them: the way up has an end."""

INDICES: Final = {"_counter": "_counter_index", "_epoll": "_epoll_index"}
"""Where an object has the index of its structure, if not in ``index``."""


def check(kinds: Kinds, made: Iterable[object]) -> None:
    """Look at all objects of a state.  BadState."""
    ending: set[int] = set()
    shown: set[tuple[int, int]] = set()
    for it in made:
        kind = kinds.by_class.get(type(it))
        if kind is None:
            continue  # in a table
        for slot, form in kind.fields:
            if isinstance(form, Face) and form.owned:
                _has_index(it, getattr(it, slot), INDICES.get(slot, "index"))
        up = UP.get(type(it))
        if up is not None:
            _ends(it, up, ending)
        if isinstance(it, (Dentry, Dcache)) and it.index >= 0:
            _is_alone(it, shown)


def _has_index(it: object, structure: Any, slot: str) -> None:
    if getattr(it, slot) != structure.header.index:
        raise BadState(f"a {type(it).__name__} has another structure than it says")


def _ends(it: Any, up: Callable[[Any], Any], ending: set[int]) -> None:
    way: set[int] = set()
    while it is not None and id(it) not in ending:
        if id(it) in way:
            raise BadState(f"a {type(it).__name__} is above itself")
        way.add(id(it))
        it = up(it)
    ending |= way


def _is_alone(it: Dentry | Dcache, shown: set[tuple[int, int]]) -> None:
    kind = lib.PYSC_OBJECT_DENTRY if isinstance(it, Dentry) else lib.PYSC_OBJECT_DCACHE
    if lib.pysc_object_next(objects.OBJECTS, kind, it.index) != it.index:
        raise BadState(f"there is no {type(it).__name__} {it.index}")
    if (kind, it.index) in shown:
        raise BadState(f"{type(it).__name__} {it.index} stands twice")
    shown.add((kind, it.index))
