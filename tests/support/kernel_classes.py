"""The sentry's classes, as tests walk them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from enum import Enum

from tests.support.sources import ROOT, modules


def kernel_classes() -> Iterator[type]:
    """Give the sentry's classes of which there are objects that change."""
    for path in modules("sentry"):
        name = ".".join(("pysc", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and value.__module__ == name and not issubclass(value, (BaseException, Enum)):
                yield value
