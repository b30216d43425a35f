"""The table of images: what it holds, when it is full, and what it says once a call of the host's has failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.sanitized import run_sanitized


def test_calls_that_fail(need: Callable[[str], str], tmp_path: Path) -> None:
    need("cc")
    run_sanitized(Path(__file__).with_name("memory_gate.c"), [], tmp_path)
