"""docs/engine-rules.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILES = {
    "programs": ROOT / "tests/integration/engine/test_programs.py",
    "hostile": ROOT / "tests/integration/engine/test_hostile.py",
    "keyhole": ROOT / "tests/unit/platform/test_keyhole.py",
    "blank": ROOT / "tests/unit/platform/test_blank.py",
}


def test_named_tests_exist() -> None:
    """The name after each file's mark is a test function there, and its parameter is mentioned in the file."""
    named = re.findall(r"\*(\w+)\* `(\w+)(?:\[([\w-]+)\])?`", (ROOT / "docs/engine-rules.md").read_text())
    assert len(named) > 40
    for file, function, parameter in named:
        text = FILES[file].read_text()
        assert f"def test_{function}(" in text, (file, function)
        if parameter:
            assert f'"{parameter}"' in text, (file, parameter)
