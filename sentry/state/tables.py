"""What modules have, by its place: tables are there in each process, so what stands in one needs no row of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

PACKAGES: Final = ("pysc.sentry.fs.proc.", "pysc.sentry.fs.sysfs")


def named(name: str) -> Any:
    """Return what a module has, by its name below ``pysc``."""
    module, _, word = name.rpartition(".")
    return getattr(importlib.import_module(f"pysc.{module}"), word)


def places() -> Iterator[tuple[str, Any]]:
    """Give all tables, and what is in them, with their places."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith(PACKAGES):
            for word, value in sorted(vars(module).items()):
                if isinstance(value, Mapping) and not word.startswith("__"):
                    yield from _below(f"{name}.{word}", value)


def _below(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield place, value
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _below(f"{place}/{key.decode() if isinstance(key, bytes) else key}", entry)
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            if isinstance(below := getattr(value, field), Mapping):
                yield from _below(f"{place}/", below)
