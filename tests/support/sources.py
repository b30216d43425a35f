"""Our sources, as the lint tests look at them: by component, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPONENTS = ("cabi", "gofer", "netstackd", "sentry", "supervisor", "urpc")


@dataclass(frozen=True)
class Import:
    """One import of a module: where it stands, what it names, and whether a function holds it."""

    path: Path
    line: int
    module: str
    inside_function: bool
    for_types_only: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: imports {self.module}"


def modules(component: str) -> list[Path]:
    """Return the Python files of one component."""
    return sorted(path for path in (ROOT / component).rglob("*.py") if "__pycache__" not in path.parts)


@cache
def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[Import]:
    """Find every import of a file; ``from pysc import x`` and ``from pysc.x import y`` name ``pysc.x``."""
    yield from _imports(path, parse(path), False, False)


def _package(path: Path, level: int) -> str:
    parts = path.relative_to(ROOT).parts[:-level]
    return ".".join(("pysc", *parts))


def _imports(path: Path, node: ast.AST, inside_function: bool, types_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = inside_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _imports(path, child, inside, True)
            continue
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(path, child.lineno, alias.name, inside, types_only)
        elif isinstance(child, ast.ImportFrom):
            base = f"{_package(path, child.level)}." if child.level else ""
            for alias in child.names:
                yield Import(path, child.lineno, f"{base}{child.module or ''}.{alias.name}", inside, types_only)
        yield from _imports(path, child, inside, types_only)
