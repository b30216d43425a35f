"""A gofer of an ordinary user: one id, a user namespace of its own."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EACCES, ENOENT, EPERM
from pysc.urpc.schema import gofer
from pysc.urpc.schema.gofer import Changes, File
from tests.component.gofer.conftest import USER, Export, Gofer, requests

ROOT = File(0, b"")


@pytest.fixture
def rootless(tree: Path, start: Callable[..., Gofer]) -> Gofer:
    return start(Export(os.fsencode(tree)), user=USER)


def test_files_are_the_users(rootless: Gofer, tree: Path) -> None:
    opened = rootless.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o640, 0, 0))
    opened.file.close()
    rootless.call(gofer.MakeDirectory(ROOT, b"dir", 0o2755, 0, 0))
    there = os.stat(tree / "file")
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (USER, USER, 0o640)
    # Attributes go through the gofer's own user namespace, and the tree shows the same file.
    assert HostAttributes.unpack_from(opened.attributes).uid == 0
    assert host.stat_at(rootless.trees[0], b"file").ino == there.st_ino


def test_other_ids_are_not_permitted_and_nothing_is_left(rootless: Gofer, tree: Path) -> None:
    for request in requests(
        gofer.Create(ROOT, b"file", os.O_RDWR, 0o640, 1000, 0),
        gofer.MakeDirectory(ROOT, b"dir", 0o755, 0, 1000),
        gofer.MakeSymlink(ROOT, b"link", b"t", 1000, 1000),
        gofer.MakeNode(ROOT, b"fifo", stat.S_IFIFO, 0o600, 5, 5),
    ):
        with pytest.raises(EPERM):
            rootless.call(request)
    assert os.listdir(tree) == []


def test_what_others_own_is_theirs(rootless: Gofer, tree: Path) -> None:
    (tree / "foreign").write_bytes(b"secret")
    (tree / "foreign").chmod(0o600)
    with pytest.raises(EACCES):
        rootless.call(gofer.Open(File(0, b"foreign"), os.O_RDONLY))
    with pytest.raises(EPERM):
        rootless.call(gofer.SetAttributes(File(0, b"foreign"), Changes(mode=0o777)))


def test_the_root_of_the_host_shows_no_kernel(start: Callable[..., Gofer]) -> None:
    made = start(Export(b"/", True), user=USER)
    for name in (b"proc/1", b"sys/kernel", b"dev/null"):
        with pytest.raises(FileNotFoundError):
            host.stat_at(made.trees[0], name)
        with pytest.raises(ENOENT):
            made.call(gofer.Open(File(0, name), os.O_RDONLY))
