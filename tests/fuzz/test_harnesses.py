"""The C that reads what guests and files say, tried with random input: a harness beside this file for each part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.sanitized import CABI, run_sanitized

HERE = Path(__file__).parent
DISPATCH = CABI / "dispatch"
SHIM = CABI / "shim"
ATTRIBUTES = SHIM / "attributes.c"


@pytest.fixture(autouse=True)
def compiler(need: Callable[[str], str]) -> None:
    """Probe for the compiler."""
    need("cc")


def test_objects(tmp_path: Path) -> None:
    sources = [DISPATCH / f"{name}.c" for name in ("objects", "fdtable", "pipes", "contents", "dcache", "locks")]
    run_sanitized(HERE / "objects.c", [*sources, ATTRIBUTES], tmp_path)


def test_dcache(tmp_path: Path, root_user: None) -> None:
    sources = [DISPATCH / f"{name}.c" for name in ("objects", "contents", "dcache", "locks", "shown", "walk")]
    tree = tmp_path / "tree"
    tree.mkdir()
    run_sanitized(HERE / "dcache.c", [*sources, ATTRIBUTES], tmp_path, tree)


def test_fast_paths(tmp_path: Path) -> None:
    run_sanitized(HERE / "fast_paths.c", [*sorted(DISPATCH.glob("*.c")), ATTRIBUTES], tmp_path)


def test_saved(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "tree" / "a" / "file").write_text("text")
    (tmp_path / "tree" / "link").symlink_to("a")
    run_sanitized(HERE / "saved.c", [*sorted(DISPATCH.glob("*.c")), ATTRIBUTES], tmp_path, tmp_path / "tree")


def test_records(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("a", "a/b", "b", "a" * 100, "b" * 199):
        (tree / name).mkdir(parents=True)
    sources = [SHIM / f"{name}.c" for name in ("host", "path", "listing")]
    run_sanitized(HERE / "records.c", [*sources, ATTRIBUTES], tmp_path, tree)


def test_workers(tmp_path: Path) -> None:
    sources = [SHIM / f"{name}.c" for name in ("workers", "host", "path", "listing")]
    run_sanitized(HERE / "workers.c", [*sources, ATTRIBUTES], tmp_path)


def test_listing(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / "tree" / "a" / f"directory-{number}").mkdir(parents=True)
    run_sanitized(HERE / "listing.c", [*sorted(DISPATCH.glob("*.c")), ATTRIBUTES], tmp_path, tmp_path / "tree")
