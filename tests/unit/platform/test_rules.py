"""docs/engine-rules.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILES = {
    "programs": ROOT / "tests/integration/engine/test_programs.py",
    "preempting": ROOT / "tests/integration/engine/test_preempting.py",
    "hostile": ROOT / "tests/integration/engine/test_hostile.py",
    "images": ROOT / "tests/integration/engine/test_images.py",
    "keyhole": ROOT / "tests/unit/platform/test_keyhole.py",
    "blank": ROOT / "tests/unit/platform/test_blank.py",
}


def test_named_tests_exist() -> None:
    """The name after each file's mark is a test function there, and its parameter is mentioned in the file."""
    named = re.findall(r"\*(\w+)\* `(\w+)(?:\[([\w-]+)\])?`", (ROOT / "docs/engine-rules.md").read_text())
    assert len(named) > 80
    for file, function, parameter in named:
        text = FILES[file].read_text()
        assert f"def test_{function}(" in text, (file, function)
        if parameter:
            assert f'"{parameter}"' in text, (file, parameter)


def test_named_files_exist() -> None:
    """Paths are below the repository's root, names alone are guest programs or sources of the engine."""
    text = (ROOT / "docs/engine-rules.md").read_text()
    for path in re.findall(r"`((?:tests|cabi)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
    folders = [
        ROOT / folder for folder in ("tests/guests", "tests/integration/kernel", "cabi", "sentry/platform", "docs")
    ]
    known = {path.name for folder in folders for path in folder.rglob("*")} | {"setup.py"}
    known |= {path.name for path in FILES.values()}
    for name in re.findall(r"`(\w+\.(?:c|h|S|py|md))`", text):
        assert name in known, name
