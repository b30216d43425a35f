"""C harnesses: built with the sources that they try, under the address and undefined-behaviour sanitizers, and run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.sources import ROOT

CABI = ROOT / "cabi"
FLAGS = (
    "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
    *(f"-I{CABI / folder}" for folder in ("dispatch", "shim", "channel", "guest")),
)  # fmt: skip


def run_sanitized(harness: Path, sources: list[Path], folder: Path, *arguments: Path) -> None:
    """Build ``harness`` with ``sources`` in ``folder`` and run it: it prints "done" when all of its checks held."""
    program = folder / harness.stem
    command: list[str | Path] = ["cc", *FLAGS, "-o", program, harness, *sources]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find -lasan" in built.stderr:
        pytest.skip("no sanitizers here")
    assert not built.returncode, built.stderr
    ran = subprocess.run([program, *arguments], capture_output=True, timeout=50, check=False)
    assert (ran.returncode, ran.stdout) == (0, b"done\n"), ran.stderr.decode(errors="replace")
