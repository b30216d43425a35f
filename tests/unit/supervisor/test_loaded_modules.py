"""What a start must not load: each of these costs milliseconds of every start and memory of every sandbox."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "_ctypes", "_hashlib", "anyio", "asyncio", "cffi", "dataclasses", "hashlib", "inspect", "logging", "pathlib",
    "pyroute2", "random", "rich", "secrets", "shutil", "ssl", "subprocess", "tempfile", "threading",
    "typing_extensions", "uvloop",
}  # fmt: skip
SPAWNER = ("pysc.supervisor.spawner", "pysc.sentry.main", "pysc.gofer.main", "pysc.netstackd.main")
COMMAND = ("pysc.supervisor.cli", "pysc.supervisor.commands.run", "pysc.supervisor.commands.do")
PROGRAM = """
import importlib, sys
from pysc.__main__ import load_msgspec
load_msgspec()
from pysc.cabi import filters
filters.load = lambda *_: b""  # compiling a filter, where an installation has not, loads ctypes
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sys.modules)
"""


@pytest.mark.parametrize("modules", [SPAWNER, COMMAND], ids=["spawner", "command"])
def test_a_start_loads_nothing_heavy(modules: tuple[str, ...]) -> None:
    ran = subprocess.run([sys.executable, "-P", "-c", PROGRAM, *modules], check=True, capture_output=True, text=True)
    loaded = set(ran.stdout.split())
    assert set(modules) <= loaded
    assert not loaded & HEAVY
