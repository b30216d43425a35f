"""The strict type checker accepts ``calls.py``: the types that callers get are the ones that are promised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.sources import ROOT


def test_promised_types(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "mypy", "--strict", "--warn-unused-ignores", "--explicit-package-bases"]
    cache = ["--cache-dir", str(tmp_path)]
    checked = subprocess.run(
        [*command, *cache, "tests/typing/calls.py"], cwd=ROOT, capture_output=True, text=True, timeout=55, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
