"""Calls that the guest half answers by itself, at the moments that a program meets once in a thousand times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.sanitized import CABI, run_sanitized


def test_a_signal_while_the_mask_changes(need: Callable[[str], str], tmp_path: Path) -> None:
    need("cc")
    run_sanitized(Path(__file__).with_name("native.c"), [CABI / "guest" / "native.c"], tmp_path)
