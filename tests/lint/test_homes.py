"""What Linux defines has one home each: nothing that a module of cabi/linux defines is defined again."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.sources import ROOT

PACKAGES = ("cabi", "sentry", "gofer", "netstackd", "supervisor", "urpc")


def constants(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names of a module's constants, and their values as they are written."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name.isupper():
                yield name, ast.unparse(value)


def test_constants_are_not_defined_again() -> None:
    homes = {
        (name, value): path for path in sorted((ROOT / "cabi/linux").glob("*.py")) for name, value in constants(path)
    }
    again = [
        f"{path.relative_to(ROOT)}: {name}, which is {homes[name, value].name}'s"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, value in constants(path)
        if homes.get((name, value), path) != path
    ]
    assert len(homes) > 500
    assert not again
