"""The typed face of the compiled shim is the shim's."""

from __future__ import annotations

import ast
from pathlib import Path

from pysc import cabi
from pysc.cabi._shim import ffi, lib
from pysc.cabi.workers import Op


def declared() -> dict[str, int | None]:
    """Return what ``_shim.pyi`` says lib has: names, and of functions the number of arguments."""
    stub = ast.parse((Path(cabi.__path__[0]) / "_shim.pyi").read_text())
    [lib_class] = [node for node in stub.body if isinstance(node, ast.ClassDef)]
    found: dict[str, int | None] = {}
    for node in lib_class.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = len(node.args.posonlyargs or node.args.args) - 1
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = None
    return found


def test_names_and_arguments() -> None:
    compiled: dict[str, int | None] = {}
    for name in dir(lib):
        kind = ffi.typeof(getattr(lib, name)) if callable(getattr(lib, name)) else None
        compiled[name] = None if kind is None else len(kind.args)
    assert declared() == compiled


def test_operations_of_workers() -> None:
    assert {f"PYSC_OP_{op.name}": op.value for op in Op} == {
        name: getattr(lib, name) for name in dir(lib) if name.startswith("PYSC_OP_")
    }
