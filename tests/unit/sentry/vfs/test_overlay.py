"""The overlay: the lower side never changes, and nobody can tell where a file is but by EXDEV."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EPERM, EXDEV
from pysc.sentry.fs.data import Data
from pysc.sentry.fs.hostfs import HostFilesystem
from pysc.sentry.fs.overlay import Overlay
from pysc.sentry.fs.overlay_inode import OverlayFile
from pysc.sentry.fs.regular import RegularFile
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.fs.tree import Tree
from tests.support.vfs_world import BUFFER, World


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/f").write_bytes(b"lower" * 30_000)
    (tmp_path / "d/hard").hardlink_to(tmp_path / "d/f")
    (tmp_path / "d/e/deep").write_bytes(b"deep")
    (tmp_path / "l").symlink_to("d/f")
    return tmp_path


@pytest.fixture
def world(lower: Path) -> World:
    fd = os.open(lower, os.O_RDONLY | os.O_DIRECTORY)

    async def attach() -> HostFilesystem:
        return await HostFilesystem.attach(Tree(0, fd, None), shared=False)

    host = World(Tmpfs()).run(attach())
    return World(Overlay(host, Tmpfs()))


def snapshot(folder: Path) -> dict[str, object]:
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def test_nothing_reaches_the_lower_side(world: World, lower: Path) -> None:
    before = snapshot(lower)
    world.put_file(b"/d/f", b"new")
    world.call("unlink", b"/d/hard")
    world.call("unlink", b"/d/e/deep")
    world.call("rmdir", b"/d/e")
    world.call("chmod", b"/d", 0o700)
    world.call("mkdir", b"/d/e", 0o711)
    world.call("rename", b"/l", b"/d/e/l")
    assert snapshot(lower) == before
    assert world.get_file(b"/d/f") == b"new"
    assert world.listdir(b"/d") == [b"e", b"f"]
    assert world.listdir(b"/d/e") == [b"l"]


def test_a_number_for_life(world: World) -> None:
    before = world.stat(b"/d/f")
    world.call("chmod", b"/d/f", 0o600)
    after = world.stat(b"/d/f")
    assert before[:3] == after[:3]
    assert before[11:13] == after[11:13]  # times are kept, ctime apart
    fd = world.open(b"/d", 0o200000)
    size = world.call("getdents64", fd, BUFFER, 4096)
    data, at, numbers = world.peek(size), 0, {}
    while at < size:
        length = int.from_bytes(data[at + 16 : at + 18], "little")
        name = data[at + 19 : at + length].partition(b"\0")[0]
        numbers[name] = int.from_bytes(data[at : at + 8], "little")
        at += length
    assert numbers[b"f"] == after[1]


def test_an_open_file_sees_the_copy(world: World) -> None:
    fd = world.open(b"/d/f")
    writer = world.open(b"/d/f", 1)
    world.call("pwrite64", writer, world.poke(b"UPPER"), 5, 0)
    assert world.read(fd, 10) == b"UPPERlower"
    world.call("close", fd)
    world.call("close", writer)
    assert world.get_file(b"/d/f") == b"UPPER" + b"lower" * 29_999


def test_hard_links_stay_one_file(world: World) -> None:
    writer = world.open(b"/d/f", 1)
    world.call("pwrite64", writer, world.poke(b"UPPER"), 5, 0)
    assert world.get_file(b"/d/hard")[:5] == b"UPPER"
    assert world.stat(b"/d/hard")[1] == world.stat(b"/d/f")[1]


def test_truncating_copies_nothing(world: World) -> None:
    world.put_file(b"/d/f", b"")
    fs = world.namespace.root.fs
    assert isinstance(fs, Overlay)
    assert fs.upper.budget.used == 0


def test_directories_of_the_lower_side_stay_where_they_are(world: World) -> None:
    assert world.call("rename", b"/d/e", b"/x") == -EXDEV.errno
    world.call("mkdir", b"/fresh", 0o755)
    world.put_file(b"/fresh/f", b"x")
    assert world.call("rename", b"/fresh", b"/d/moved") == 0
    assert world.get_file(b"/d/moved/f") == b"x"


def test_a_directory_made_again_is_empty(world: World) -> None:
    world.call("unlink", b"/d/e/deep")
    world.call("rmdir", b"/d/e")
    world.call("mkdir", b"/d/e", 0o755)
    assert world.listdir(b"/d/e") == []
    assert world.call("stat", b"/d/e/deep", BUFFER) == -2


def test_marks_cannot_be_seen_or_made(world: World) -> None:
    world.call("chmod", b"/d/f", 0o600)
    assert world.call("listxattr", b"/d/f", BUFFER, 100) == 0
    for attribute in (b"trusted.overlay.opaque", b"user.pysc.owner"):
        name = world.poke(attribute + b"\0", BUFFER + 100)
        assert world.call("setxattr", b"/d", name, BUFFER, 1, 0) == -EPERM.errno
        assert world.call("removexattr", b"/d", name) == -EPERM.errno
    assert world.call("mknod", b"/w", 0o020000, 0) == -EPERM.errno


def test_what_was_kept_of_the_lower_file_is_never_right_again() -> None:
    """fstat(2) is answered with what was kept while versions add up to the same: however often the copy changes."""
    shown, below, above = Data(), Data(), Data()
    shown.set_other(below)
    for _ in range(100):
        below.touch()
    shown.keep(bytes(144))
    shown.set_other(above)
    for _ in range(300):
        assert lib.pysc_data_version(objects.OBJECTS, shown.c) not in (0, shown.c.kept_version)
        above.touch()


def test_what_was_kept_is_wrong_when_a_name_comes_or_goes(world: World) -> None:
    """Also of a file that stays where it is, on the lower side, and whoever has asked for it while that was done."""
    file = world.fds.get(world.open(b"/d/f"))
    assert isinstance(file, RegularFile)
    assert isinstance(file.inode, OverlayFile)
    data = file.inode.data()
    data.keep(bytes(144))
    file.inode.relink(-1)
    assert lib.pysc_data_version(objects.OBJECTS, data.c) != data.c.kept_version
