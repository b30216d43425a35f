"""``pysc``, whose daemons say in their log what they import once they are locked down: no file can be opened then."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pysc.supervisor.cli import main
from pysc.supervisor.prefork import prefork

DAEMONS = ("sentry", "gofer", "netstackd")


class Finder:
    """Is asked for what is not loaded."""

    def __init__(self, daemon: str) -> None:
        self._daemon = daemon

    def find_spec(self, name: str, *_rest: Any) -> None:
        os.write(2, f"late import of the {self._daemon}: {name}\n".encode())


def watch(daemon: str) -> None:
    """Have a daemon's lock_down() begin with the look-out."""
    confinement: ModuleType = importlib.import_module(f"pysc.{daemon}.confinement")
    lock_down: Callable[..., None] = confinement.lock_down

    def locked(*arguments: int) -> None:
        lock_down(*arguments)
        sys.meta_path.insert(0, Finder(daemon))  # type: ignore[arg-type]
        if os.environ.get("PYSC_LATE"):  # a proof that it would be seen
            try:
                import colorsys  # noqa: F401
            except ImportError:
                pass

    confinement.lock_down = locked  # type: ignore[attr-defined]


if __name__ == "__main__":
    for name in DAEMONS:
        watch(name)
    prefork(sys.argv[1:])
    sys.exit(main(sys.argv[1:]))
