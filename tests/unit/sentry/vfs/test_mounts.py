"""mount(2), umount2(2), pivot_root(2), mount namespaces, and what /proc shows of them."""

from __future__ import annotations

import pytest

from pysc.cabi.linux.errors import EBUSY, EINVAL, ENODEV, ENOENT, ENOTDIR, EPERM, EROFS, EXDEV
from pysc.cabi.linux.mount import MNT_DETACH, MS_BIND, MS_MOVE, MS_RDONLY, MS_REC, MS_REMOUNT
from pysc.sentry.fs.proc.mounts import mountinfo, mounts
from tests.support.vfs_world import BUFFER, World


@pytest.fixture
def tree(root: World) -> World:
    root.kernel.tasks[1] = root
    for name in (b"/a", b"/b", b"/c"):
        root.call("mkdir", name, 0o755)
    root.put_file(b"/a/f", b"below")
    return root


def mount(
    world: World, target: bytes, kind: bytes = b"tmpfs", flags: int = 0, source: bytes = b"none", data: bytes = b""
) -> int:
    return world.call(
        "mount",
        world.poke(source + b"\0"),
        target,
        world.poke(kind + b"\0", BUFFER + 256),
        flags,
        world.poke(data + b"\0", BUFFER + 512) if data else 0,
    )


def test_a_mount_hides_what_is_below(tree: World) -> None:
    assert mount(tree, b"/a") == 0
    assert tree.listdir(b"/a") == []
    tree.put_file(b"/a/new")
    assert tree.call("umount2", b"/a", 0) == 0
    assert tree.listdir(b"/a") == [b"f"]


def test_mounts_stack(tree: World) -> None:
    mount(tree, b"/a", data=b"mode=700")
    mount(tree, b"/a", data=b"mode=711")
    assert tree.stat(b"/a")[3] & 0o777 == 0o711
    tree.call("umount2", b"/a", 0)
    assert tree.stat(b"/a")[3] & 0o777 == 0o700


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [(b"ext4", b"", ENODEV), (b"tmpfs", b"size=abc", EINVAL), (b"tmpfs", b"strange=1", EINVAL), (b"", b"", EINVAL)],
)
def test_refusals(tree: World, kind: bytes, data: bytes, error: type) -> None:
    assert mount(tree, b"/a", kind, data=data) == -error.errno


def test_unprivileged(tree: World, user: World) -> None:
    user.kernel = tree.kernel
    assert mount(user, b"/a") == -EPERM.errno
    assert user.call("umount2", b"/a", 0) == -EPERM.errno


def test_bind(tree: World) -> None:
    assert mount(tree, b"/b", source=b"/a", flags=MS_BIND) == 0
    tree.put_file(b"/b/g")
    assert tree.listdir(b"/a") == [b"f", b"g"]
    assert tree.stat(b"/a/f")[:2] == tree.stat(b"/b/f")[:2]
    assert tree.call("link", b"/a/f", b"/b/h") == -EXDEV.errno
    assert tree.call("rename", b"/a/f", b"/b/h") == -EXDEV.errno
    assert mount(tree, b"/b/f", source=b"/a", flags=MS_BIND) == -ENOTDIR.errno


def test_bind_of_a_file(tree: World) -> None:
    tree.put_file(b"/c/point")
    assert mount(tree, b"/c/point", source=b"/a/f", flags=MS_BIND) == 0
    assert tree.get_file(b"/c/point") == b"below"
    assert tree.call("unlink", b"/c/point") == -EBUSY.errno


def test_recursive_bind(tree: World) -> None:
    tree.call("mkdir", b"/a/inner", 0o755)
    mount(tree, b"/a/inner")
    tree.put_file(b"/a/inner/x")
    mount(tree, b"/b", source=b"/a", flags=MS_BIND)
    assert tree.listdir(b"/b/inner") == []
    mount(tree, b"/c", source=b"/a", flags=MS_BIND | MS_REC)
    assert tree.listdir(b"/c/inner") == [b"x"]


def test_read_only_remount(tree: World) -> None:
    mount(tree, b"/b", source=b"/a", flags=MS_BIND)
    fd = tree.open(b"/b/f", 1)
    assert mount(tree, b"/b", flags=MS_REMOUNT | MS_BIND | MS_RDONLY) == 0
    for name, *args in (
        ("mkdir", b"/b/x", 0o755),
        ("unlink", b"/b/f"),
        ("rename", b"/b/f", b"/b/g"),
        ("chmod", b"/b/f", 0o600),
        ("truncate", b"/b/f", 0),
        ("access", b"/b/f", 2),
        ("symlink", b"x", b"/b/l"),
    ):
        assert tree.call(name, *args) == -EROFS.errno, name
    assert tree.open(b"/b/f", 1) == -EROFS.errno
    assert tree.open(b"/b/new", 0o101) == -EROFS.errno
    assert tree.open(b"/b/f") >= 0
    assert tree.call("mkdir", b"/a/x", 0o755) == 0
    assert fd >= 0


def test_move(tree: World) -> None:
    mount(tree, b"/a")
    tree.put_file(b"/a/x")
    assert mount(tree, b"/b", source=b"/a", flags=MS_MOVE) == 0
    assert tree.listdir(b"/a") == [b"f"]
    assert tree.listdir(b"/b") == [b"x"]


def test_busy(tree: World) -> None:
    mount(tree, b"/a")
    tree.put_file(b"/a/x")
    fd = tree.open(b"/a/x")
    assert tree.call("umount2", b"/a", 0) == -EBUSY.errno
    assert tree.call("rmdir", b"/a") == -EBUSY.errno
    assert tree.call("umount2", b"/a", MNT_DETACH) == 0
    assert tree.call("fstat", fd, BUFFER) == 0
    assert tree.call("umount2", b"/a", 0) == -EINVAL.errno


def test_the_way_up_from_a_mount(tree: World) -> None:
    mount(tree, b"/a")
    tree.call("chdir", b"/a")
    assert tree.stat(b"..")[1] == tree.stat(b"/")[1]
    assert tree.call("getcwd", BUFFER, 100) == 3


def test_a_namespace_of_its_own(tree: World) -> None:
    mount(tree, b"/a")
    other = World(tree.namespace.root.fs)
    other.fs = tree.fs.copy()
    other.fs.unshare_namespace()
    other.kernel = tree.kernel
    assert mount(other, b"/b") == 0
    assert other.call("umount2", b"/a", 0) == 0
    tree.put_file(b"/a/x")
    assert other.listdir(b"/a") == [b"f"]
    assert tree.listdir(b"/a") == [b"x"]
    assert len(tree.namespace.mounts) == 2


def test_pivot_root(tree: World) -> None:
    mount(tree, b"/b", source=b"/b", flags=MS_BIND)
    tree.call("mkdir", b"/b/old", 0o755)
    assert tree.call("pivot_root", b"/a", b"/a") == -EBUSY.errno
    assert tree.call("pivot_root", b"/b", b"/b/old") == 0
    assert tree.listdir(b"/") == [b"old"]
    assert tree.get_file(b"/old/a/f") == b"below"
    assert tree.stat(b"/..")[1] == tree.stat(b"/")[1]
    assert tree.call("umount2", b"/old", MNT_DETACH) == 0
    assert tree.call("stat", b"/old/a", BUFFER) == -ENOENT.errno


def test_what_proc_shows(tree: World) -> None:
    tree.call("mkdir", b"/with space", 0o755)
    mount(tree, b"/with space", source=b"src", data=b"size=64k", flags=MS_RDONLY)
    mount(tree, b"/b", source=b"/a", flags=MS_BIND)
    shown = mounts(tree)  # type: ignore[arg-type]  # a task, as far as this looks
    assert b"src /with\\040space tmpfs ro,size=64k 0 0\n" in shown
    lines = [line.split() for line in mountinfo(tree).splitlines()]  # type: ignore[arg-type]
    by_place = {line[4]: line for line in lines}
    assert by_place[b"/b"][3] == b"/a"
    assert by_place[b"/b"][1] == by_place[b"/"][0]
    tree.call("chroot", b"/b")
    assert mounts(tree).split()[1] == b"/"  # type: ignore[arg-type]
