"""A busy kernel, saved, and gone on with by another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import ROOT
from tests.unit.sentry.state.alterations import ALTERATIONS

ALTERED = 100


def run(*arguments: str) -> str:
    """Run the two processes of the scenario; return what they say."""
    command = [sys.executable, "-m", "tests.unit.sentry.state.scenario", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert not done.stderr, done.stderr
    return done.stdout


def test_another_process_goes_on(tmp_path: Path) -> None:
    """What it has made says the same when it is saved, and all that guests waited for comes."""
    assert run(str(tmp_path / "place")) == "it has gone on\n"


@pytest.mark.parametrize("seed", range(2))
def test_altered_states_are_taken_or_refused(seed: int, tmp_path: Path) -> None:
    """And nothing else becomes of them: what is taken can be saved again."""
    told = json.loads(run(str(tmp_path / "place"), "random", str(seed), str(ALTERED)))
    assert told.keys() == {"taken", "refused"}
    assert sum(told.values()) == ALTERED


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    told = json.loads(run(str(tmp_path / "place"), "each"))
    wrong = {
        alter.__name__: told[alter.__name__] for alter, why in ALTERATIONS.items() if why not in told[alter.__name__]
    }
    assert not wrong
