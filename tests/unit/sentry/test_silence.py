"""What is said of a gofer that does not answer."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pysc.sentry.silence import LONGEST, described
from pysc.urpc.fds import FileFd
from pysc.urpc.loop import Silence
from pysc.urpc.message import Request
from pysc.urpc.schema import gofer
from pysc.urpc.schema.gofer import Changes, File

TARGETS = {0: b"/", 3: b"/volume"}
FD = FileFd.lend(0)
ROOT = File(3, b"")


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (gofer.Open(File(0, b"etc/passwd"), os.O_RDWR), "Open of /etc/passwd"),
        (gofer.Open(File(3, b"d/\xff\n"), os.O_RDWR), "Open of /volume/d/\\xff\n"),  # a log escapes the newline
        (gofer.Attach(3), "Attach of /volume"),
        (gofer.Attach(0), "Attach of /"),
        (gofer.Attach(9), "Attach of ?"),
        (gofer.GetXattr(File(3, b"f"), b"user.x"), "GetXattr of /volume/f"),
        (gofer.MakeDirectory(File(3, b"d"), b"new", 0o755, 0, 0), "MakeDirectory of /volume/d/new"),
        (gofer.Walk(ROOT, [b"a", b"b"]), "Walk of /volume/a/b"),
        (gofer.ListDirectory(ROOT), "ListDirectory of /volume"),
        (gofer.Rename(ROOT, b"old", File(3, b"d"), b"new"), "Rename of /volume/old"),
        (gofer.Link(File(3, b"f"), ROOT, b"new"), "Link of /volume/f"),
        (gofer.SetOpenAttributes(3, FD, Changes()), "SetOpenAttributes of an open file below /volume"),
        (gofer.Sync(0, FD), "Sync of an open file below /"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Request) else "",
)
def test_what_waits(request_: Request[Any], what: str) -> None:
    line = described(Silence(request_, 5.2, 0, True), TARGETS)
    assert line.startswith(f"{what} has not been answered for 5 s: the gofer is connected")


def test_why_and_who_else() -> None:
    line = described(Silence(gofer.Attach(0), 61.0, 7, False), TARGETS)
    assert "for 61 s (7 more wait, too): the last gofer is gone" in line


def test_of_long_paths_the_end_is_shown() -> None:
    line = described(Silence(gofer.Open(File(0, b"x/" * 10000 + b"end"), 0), 5.0, 0, True), TARGETS)
    assert line.startswith("Open of ...")
    assert "/end has" in line
    assert len(line) < LONGEST + 200
