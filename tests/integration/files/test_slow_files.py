"""A file system that takes its time holds up who uses it, and nobody else."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.files.bundles import Bundle
from tests.support import slowfs
from tests.support.builds import compile_guest
from tests.support.needs import missing
from tests.support.sandbox import Outcome, run

DELAY = 0.6
PATIENCE = DELAY / 2
"""No call of anybody else's takes so long: one that waited for the file would."""


SLOWFS = (sys.executable, "-P", slowfs.__file__)


@pytest.fixture(scope="session")
def fuse(root_user: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Probe for FUSE, and an overlay of it."""
    slow, below = tmp_path_factory.mktemp("slow"), tmp_path_factory.mktemp("below")
    tried = run([*SLOWFS, slow, f"--below={below}", "--", "cat", below / "a"])
    if tried.status:
        missing(f"no FUSE here: {tried.stderr.decode().strip()[-200:]}")


@pytest.fixture
def slow(bundle: Bundle, fuse: None, shared_folder: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """Return a function that runs slow.c in a sandbox with a slow mount."""
    shutil.copy(compile_guest(Path(__file__).parent / "slow.c", "static", shared_folder), bundle.root / "bin" / "slow")
    for name in ("slow", "below"):
        (tmp_path / name).mkdir(mode=0o755)
    (bundle.root / "mnt").mkdir()

    def start(operation: str, *delays: str, flags: tuple[str, ...] = (), overlay: bool = False) -> Outcome:
        bundle.bind(tmp_path / ("below" if overlay else "slow"), "/mnt", "ro" if overlay else "rw")
        command = bundle.command(f"exec /bin/slow {operation} /mnt", flags)
        options = [f"--below={tmp_path / 'below'}"] if overlay else []
        return run([*SLOWFS, str(tmp_path / "slow"), *options, *delays, "--", *command])

    return start


def check(outcome: Outcome) -> None:
    assert outcome.status == 0, outcome.explain()
    calls, longest = outcome.text.split()
    assert int(calls) >= 1000, outcome.explain()
    assert float(longest) < PATIENCE, outcome.explain()


@pytest.mark.parametrize(
    ("operation", "slow_ones"),
    [
        ("read", "read"),
        ("stat", "lookup"),
        ("stat", "getattr"),
        ("open", "open"),
        ("list", "readdir"),
        ("write", "write"),
        ("write", "fsync"),
        ("statfs", "statfs"),
    ],
)
def test_others_go_on(slow: Callable[..., Outcome], operation: str, slow_ones: str) -> None:
    check(slow(operation, f"{slow_ones}={DELAY}"))


@pytest.mark.parametrize("flag", ["--fastpath=off", "--file-access-direct=off"])
def test_others_go_on_in_other_modes(slow: Callable[..., Outcome], flag: str) -> None:
    check(slow("read", f"read={DELAY}", flags=(flag,)))


def test_shared_descriptions_move_once(slow: Callable[..., Outcome]) -> None:
    outcome = slow("share", f"read={DELAY / 2}")
    assert outcome.status == 0, outcome.explain()


def test_waiting_for_a_file_ends_by_kill(slow: Callable[..., Outcome]) -> None:
    outcome = slow("kill", "read=3600")
    assert outcome.status == 0, outcome.explain()


def test_one_that_turns_out_to_be_slow(slow: Callable[..., Outcome]) -> None:
    """What no magic number tells the watchdog finds out, at the first call, and says."""
    outcome = slow("twice", f"read={DELAY}", flags=("--debug",), overlay=True)
    check(outcome)
    assert b"in a call of the host's on a file, after: " in outcome.stderr, outcome.explain()
