"""Path resolution: what openat2(2) and path_resolution(7) promise."""

from __future__ import annotations

import pytest

from pysc.cabi.linux.errors import (
    EACCES,
    EEXIST,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOTDIR,
    EXDEV,
)
from pysc.cabi.linux.fcntl import (
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOFOLLOW,
    O_PATH,
    OPEN_HOW,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from tests.support.vfs_world import BUFFER, World


@pytest.fixture
def tree(root: World) -> World:
    root.call("mkdir", b"/d", 0o755)
    root.call("mkdir", b"/d/e", 0o755)
    root.put_file(b"/d/f", b"text")
    root.call("symlink", b"d/f", b"/to-f")
    root.call("symlink", b"/d/", b"/to-d")
    root.call("symlink", b"loop2", b"/loop1")
    root.call("symlink", b"loop1", b"/loop2")
    root.call("symlink", b"nowhere", b"/dangling")
    return root


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"", ENOENT),
        (b"/nope", ENOENT),
        (b"/nope/x", ENOENT),
        (b"/d/f/x", ENOTDIR),
        (b"/d/f/", ENOTDIR),
        (b"/d/f/.", ENOTDIR),
        (b"/d/f/..", ENOTDIR),
        (b"/to-f/", ENOTDIR),
        (b"/loop1", ELOOP),
        (b"/loop1/x", ELOOP),
        (b"/dangling", ENOENT),
        (b"/" + b"n" * 256, ENAMETOOLONG),
    ],
)
def test_stat_fails(tree: World, path: bytes, error: type) -> None:
    assert tree.call("stat", path, BUFFER) == -error.errno


@pytest.mark.parametrize(
    "path", [b"/", b"//", b"/..", b"/../..", b"/d/..", b".", b"/d/e/../../.", b"d/../.", b"/to-d/..", b"to-d//..//"]
)
def test_ways_to_the_root(tree: World, path: bytes) -> None:
    assert tree.stat(path)[:2] == tree.stat(b"/")[:2]


def test_forty_links_are_followed_and_no_more(root: World) -> None:
    root.put_file(b"/0")
    for number in range(1, 42):
        root.call("symlink", b"%d" % (number - 1), b"/%d" % number)
    assert root.call("stat", b"/40", BUFFER) == 0
    assert root.call("stat", b"/41", BUFFER) == -ELOOP.errno


def test_last_link_is_followed_by_stat_only(tree: World) -> None:
    assert tree.stat(b"/to-f")[1] == tree.stat(b"/d/f")[1]
    assert tree.stat(b"/to-f", follow=False)[3] & 0o170000 == 0o120000
    assert tree.stat(b"/to-d/", follow=False)[3] & 0o170000 == 0o040000


@pytest.mark.parametrize(
    ("path", "flags", "error"),
    [
        (b"/d", O_CREAT, EISDIR),
        (b"/d/new/", O_CREAT, EISDIR),
        (b"/d/f", O_CREAT | O_EXCL, EEXIST),
        (b"/dangling", O_CREAT | O_EXCL, EEXIST),
        (b"/to-f", O_NOFOLLOW, ELOOP),
        (b"/d/f", O_DIRECTORY, ENOTDIR),
        (b"/d", 1, EISDIR),
        (b"/loop1", O_CREAT, ELOOP),
    ],
)
def test_open_fails(tree: World, path: bytes, flags: int, error: type) -> None:
    assert tree.open(path, flags) == -error.errno


def test_create_through_a_dangling_link(tree: World) -> None:
    assert tree.open(b"/dangling", O_CREAT) >= 0
    assert tree.stat(b"/nowhere", follow=False)[7] == 0


def test_open_path_of_a_link_itself(tree: World) -> None:
    fd = tree.open(b"/to-f", O_PATH | O_NOFOLLOW)
    assert tree.call("readlinkat", fd, b"", BUFFER, 100) == 3
    assert tree.peek(3) == b"d/f"
    assert tree.call("read", fd, BUFFER, 1) == -9


@pytest.mark.parametrize(
    ("path", "how", "result"),
    [
        (b"f", RESOLVE_BENEATH, 0),
        (b"e/../f", RESOLVE_BENEATH, 0),
        (b"../d/f", RESOLVE_BENEATH, -EXDEV.errno),
        (b"/d/f", RESOLVE_BENEATH, -EXDEV.errno),
        (b"../../f", RESOLVE_IN_ROOT, 0),
        (b"/f", RESOLVE_IN_ROOT, 0),
        (b"/d/f", RESOLVE_IN_ROOT, -ENOENT.errno),
        (b"../to-f", RESOLVE_NO_SYMLINKS, -ELOOP.errno),
        (b"../to-f", RESOLVE_NO_MAGICLINKS, 0),
        (b"../m/x", RESOLVE_NO_XDEV, -EXDEV.errno),
        (b"../m/x", 0, 0),
    ],
)
def test_openat2(tree: World, path: bytes, how: int, result: int) -> None:
    tree.call("mkdir", b"/m", 0o755)
    tree.call("mount", tree.poke(b"none\0"), b"/m", tree.poke(b"tmpfs\0", BUFFER + 64), 0, 0)
    tree.put_file(b"/m/x")
    start = tree.open(b"/d", O_DIRECTORY)
    address = tree.poke(OPEN_HOW.pack(0, 0, how))
    got = tree.call("openat2", start, path, address, OPEN_HOW.size)
    assert min(got, 0) == result


def test_search_permission_is_needed_on_the_way(tree: World, user: World) -> None:
    tree.call("chmod", b"/d", 0o700)
    assert user.call("stat", b"/d", BUFFER) == 0
    assert user.call("stat", b"/d/f", BUFFER) == -EACCES.errno
    assert user.call("stat", b"/d/nope", BUFFER) == -EACCES.errno
    tree.call("chmod", b"/d", 0o711)
    assert user.call("stat", b"/d/f", BUFFER) == 0


def test_chroot_is_no_way_out(tree: World) -> None:
    assert tree.call("chroot", b"/d") == 0
    assert tree.call("chdir", b"/") == 0
    assert tree.stat(b"/../..")[1] == tree.stat(b"/")[1]
    assert tree.call("stat", b"/f", BUFFER) == 0
    assert tree.call("getcwd", BUFFER, 100) == 2


def test_removed_directory(tree: World) -> None:
    tree.call("chdir", b"/d/e")
    assert tree.call("rmdir", b"/d/e") == 0
    assert tree.call("getcwd", BUFFER, 100) == -ENOENT.errno
    assert tree.open(b"x", O_CREAT) == -ENOENT.errno
    assert tree.call("mkdir", b"x", 0o755) == -ENOENT.errno
    assert tree.call("stat", b".", BUFFER) == 0
    assert tree.call("stat", b"../f", BUFFER) == 0


def test_getcwd_follows_a_rename(tree: World) -> None:
    tree.call("chdir", b"/d/e")
    tree.call("rename", b"/d", b"/new")
    assert tree.call("getcwd", BUFFER, 100) == 7
    assert tree.peek(7) == b"/new/e\0"
