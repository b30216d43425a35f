"""What ``make`` looks for before it builds: as an ordinary user it can only name it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / ".ci" / "packages"
NOBODY = 65534


def ask(purpose: str, python: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    """Run it as somebody who can install nothing."""
    user = NOBODY if os.geteuid() == 0 else None
    return subprocess.run(
        ["/bin/sh", "-s", purpose, python],
        input=PACKAGES.read_text(), env={"PATH": path}, cwd="/", user=user, group=user,
        extra_groups=None if user is None else [], text=True, capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("purpose", ["run", "test"])
def test_nothing_is_missing_where_all_is_there(purpose: str) -> None:
    """The tests run here, so all of it is."""
    done = ask(purpose, "/usr/bin/python3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_missing_is_named_in_one_line() -> None:
    with tempfile.TemporaryDirectory() as place:  # where nobody gets, unlike to tmp_path
        os.chmod(place, 0o755)
        for name in ("sh", "ls", "grep", "id"):
            os.symlink(f"/usr/bin/{name}", f"{place}/{name}")
        done = ask("run", "python3", place)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("pysc needs these Debian packages: apt-get install gcc make ")


def test_a_python_that_is_not_there() -> None:
    done = ask("run", "/nowhere/python3")
    assert (done.returncode, done.stderr) == (
        1, "pysc needs Python 3.11 or newer; /nowhere/python3 is missing: set PYTHON=\n",
    )  # fmt: skip
