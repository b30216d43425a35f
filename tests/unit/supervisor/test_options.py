"""Where the states of containers are."""

from __future__ import annotations

import os

import pytest

from pysc.supervisor.options import GlobalOptions, state_root


@pytest.mark.parametrize(
    ("root", "runtime", "found"),
    [
        ("/states", "/run/user/5", "/states"),
        ("", "/run/user/5", "/run/user/5/pysc"),
        ("", "", None),
        ("", "run", None),  # "must be absolute", says the XDG base directory specification
    ],
)
def test_the_state_directory(root: str, runtime: str, found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    without = "/run/pysc" if os.geteuid() == 0 else f"/tmp/pysc-{os.geteuid()}"
    assert state_root(GlobalOptions(root=root)) == (found or without)
