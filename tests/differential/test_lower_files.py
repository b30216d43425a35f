"""Files that the host had before, as they change in a sandbox."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.builds import compile_guest
from tests.support.sandbox import Sandbox, on_host

HERE = Path(__file__).parent
SIZE = 100 << 20


@pytest.fixture
def folder(need: Callable[[str], str]) -> Iterator[Path]:
    """Return a folder outside of /tmp, which the kernel may look at directly: fast paths do."""
    need("cc")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.every_mode
def test_a_name_that_was_given_back_while_it_was_copied_up(folder: Path, sandbox: Sandbox, shared_folder: Path) -> None:
    (folder / "sub").mkdir()
    with (folder / "big").open("wb") as big:
        big.truncate(SIZE)
    ran = sandbox.run(compile_guest(HERE / "copyup.c", "static", shared_folder), folder)
    assert ran.text == f"before: {SIZE}\nafter: 3 3 new\n", ran.explain()


@pytest.mark.every_mode
def test_listings_in_pieces(folder: Path, sandbox: Sandbox, shared_folder: Path) -> None:
    program = compile_guest(HERE / "listings.c", "static", shared_folder)
    for number in range(6):
        (folder / str(number)).mkdir()
        for name in ["g0", *(f"f{i}" for i in range(400))]:
            (folder / str(number) / name).touch()
    inside, native = sandbox.run(program, folder), on_host(program, folder)
    assert (inside.status, inside.text) == (native.status, native.text), inside.explain()


@pytest.mark.every_mode
def test_one_file_opened_very_often(folder: Path, sandbox: Sandbox, shared_folder: Path) -> None:
    (folder / "file").write_bytes(b"text")
    ran = sandbox.run(compile_guest(HERE / "manyopen.c", "static", shared_folder), folder)
    assert ran.text == "opened 25000, forked 1, read 4\n", ran.explain()
