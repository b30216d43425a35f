"""What paths lead to around mounts, over files that the host had before: the same on the host and in every mode."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.builds import compile_guest
from tests.support.sandbox import Sandbox, on_host


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder outside of /tmp: the lower side of a sandbox's root has it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        top = Path(name)
        top.chmod(0o755)  # the kernel may look at it directly, so fast paths do
        (top / "sub" / "x").mkdir(parents=True)
        (top / "old").mkdir()
        (top / "sub" / "f").write_bytes(b"ffff")
        (top / "sub" / "g").write_bytes(b"gg")
        (top / "sub" / "x" / "y").touch()
        (top / "old" / "inner").touch()
        yield top


@pytest.mark.every_mode
def test_mounts(
    folder: Path, sandbox: Sandbox, shared_folder: Path, need: Callable[[str], str], root_user: None
) -> None:
    need("cc")
    program = compile_guest(Path(__file__).with_name("mounts.c"), "static", shared_folder)
    native, inside = on_host(program, folder), sandbox.run(program, folder)
    assert native.status == 0, native.explain()
    assert (inside.status, inside.text) == (native.status, native.text), inside.explain()
