"""A supervisor under test: bundles, a state directory, and the proof that nothing of it is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pysc.supervisor.cgroups import hierarchies

DOUBLE = Path(__file__).parent / "double.py"


class Runtime:
    """``pysc`` with a stand-in for the sentry, a state directory of its own, and a mark in its environment."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state = place / "state"
        self.mark = f"PYSC_TEST={place}"
        self.flags: list[str] = []
        self.modes: list[str] = []
        """Of the double: real-gofer, as-nobody."""

    def bundle(self, *args: str, name: str = "bundle", **changes: Any) -> Path:
        """Make a bundle whose program is ``args``; ``changes`` replace parts of its config.json."""
        bundle = self.place / name
        (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
        config = {
            "ociVersion": "1.0.2",
            "process": {"args": list(args), "cwd": "/"},
            "root": {"path": "rootfs"},
            **changes,
        }
        (bundle / "config.json").write_text(json.dumps(config))
        return bundle

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the whole command line."""
        return [
            sys.executable,
            "-P",
            str(DOUBLE),
            *self.modes,
            "--root",
            str(self.state),
            *self.flags,
            *map(str, arguments),
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment of the command: it carries the mark."""
        name, _, value = self.mark.partition("=")
        return os.environ | {name: value}

    def run(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(),
            **(
                {"stdin": subprocess.DEVNULL, "text": True, "capture_output": True, "timeout": 30, "check": False}
                | options
            ),
        )

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment(),
            text=True,
            **({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),
        )

    def read_state(self, container: str) -> dict[str, Any]:
        """Return the state file."""
        return json.loads((self.state / container / "state.json").read_text())

    def processes(self) -> list[int]:
        """Return the living processes that were started by commands of this runtime."""
        mark = self.mark.encode()
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                try:
                    if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") and _lives(int(entry)):
                        found.append(int(entry))
                except OSError:
                    continue
        return found

    def cgroups(self, container: str) -> list[Path]:
        """Return what is left of a container's cgroups."""
        own = {Path(hierarchy.mount + hierarchy.own) for hierarchy in hierarchies()}
        return [
            found for place in (*own, *(path.parent for path in own)) for found in place.glob(f"pysc-{container}-*")
        ]


class RealRuntime(Runtime):
    """``pysc`` as it is."""

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-P", "-m", "pysc", "--root", str(self.state), *self.flags, *map(str, arguments)]


def _lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def eventually(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    """Wait for a condition that another process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)
