"""What the compiler and the linker were told for C that reads what guests say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import ModuleType

import pytest

from pysc.cabi import _dispatch, _shim


@pytest.mark.parametrize(("module", "copies"), [(_dispatch, ["__memcpy_chk"]), (_shim, [])], ids=["dispatch", "shim"])
def test_extension_modules_are_hardened(module: ModuleType, copies: list[str], need: Callable[[str], str]) -> None:
    """Canaries, checked copies (where any has an unknown size), read-only tables, no executable stack."""
    assert module.__file__
    command = [need("readelf"), "--wide", "--dynamic", "--dyn-syms", "--program-headers", module.__file__]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for wanted in ("__stack_chk_fail", "BIND_NOW", "GNU_RELRO", *copies):
        assert wanted in said, wanted
    stack = next(line for line in said.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack
