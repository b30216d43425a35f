"""A busy kernel, saved, and gone on with by another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import ROOT

CHANGED = 100


def run(*arguments: str) -> str:
    """Run the two processes of the scenario; return what they say."""
    command = [sys.executable, "-m", "tests.unit.sentry.state.scenario", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert not done.stderr, done.stderr
    return done.stdout


def test_another_process_goes_on(tmp_path: Path) -> None:
    """What it has made says the same when it is saved, and all that guests waited for comes."""
    assert run(str(tmp_path / "rows")) == "it has gone on\n"


@pytest.mark.parametrize("seed", range(2))
def test_changed_rows_are_taken_or_refused(seed: int, tmp_path: Path) -> None:
    """And nothing else becomes of them: what is taken can be saved again."""
    told = json.loads(run(str(tmp_path / "rows"), str(seed), str(CHANGED)))
    assert told.keys() == {"taken", "refused"}
    assert sum(told.values()) == CHANGED
