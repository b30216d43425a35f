"""All objects of the kernel's that can be reached from one, and what stands in their slots."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pysc.sentry.fs.proc import base
from pysc.sentry.fs.proc.process import LinkEntry, ProcessEntry
from pysc.sentry.kernel.scheduler import Routine
from pysc.sentry.syscalls.table import SyscallTable

TABLES: Final = (SyscallTable, ProcessEntry, LinkEntry, base._Function, base._Link, base._Table)
"""Rows of tables that modules have: what is in them is code, and a name finds them again."""
CONTAINERS: Final = (list, tuple, set, frozenset, deque)


def slots(value: object) -> Iterator[tuple[str, Any]]:
    """Give the attributes that an instance has of its own, by name."""
    for kind in type(value).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            mangled = (
                f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            )
            if name != "__weakref__" and hasattr(value, mangled):
                yield name, getattr(value, mangled)
    for name in getattr(value, "__struct_fields__", ()):
        yield name, getattr(value, name)
    yield from getattr(value, "__dict__", {}).items()


def reachable(*roots: object) -> Iterator[tuple[object, str, Any]]:
    """Give (object, slot, value) for each slot of each of our objects; of what a container has, for each element."""
    seen: dict[int, object] = {}
    left = list(roots)
    while left:
        holder = left.pop()
        if id(holder) in seen:
            continue
        seen[id(holder)] = holder
        if isinstance(holder, types.MethodType):
            left.append(holder.__self__)
        elif type(holder).__module__.startswith("pysc.") and not isinstance(holder, (type, *TABLES)):
            for name, value in slots(holder):
                for part in parts(value):
                    yield holder, name, part
                    left.append(part)
            left.extend(part for part in parts(holder) if part is not holder)
        elif isinstance(holder, (*CONTAINERS, Mapping)):
            left.extend(parts(holder))


def parts(value: Any) -> Iterator[Any]:
    """Give what a value is made of: itself, or what the containers have that it is."""
    if isinstance(value, TABLES):
        yield value
    elif isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield from parts(key)
            yield from parts(item)
    elif isinstance(value, CONTAINERS):
        for item in list(value):
            yield from parts(item)
    else:
        yield value


def is_hidden_state(holder: object, slot: str, value: object) -> bool:
    """Whether a value has state that no slot shows: who saved the object could not save that."""
    if isinstance(value, types.FunctionType):
        return value.__closure__ is not None or value.__name__ == "<lambda>"
    if isinstance(value, (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)):
        return not (isinstance(holder, Routine) and slot == "_coroutine")  # which is begun again from its record
    return isinstance(value, functools.partial)
