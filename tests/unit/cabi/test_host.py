"""Host files through the shim."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pysc.cabi import host
from pysc.cabi._shim import ffi
from pysc.cabi.linux.attributes import ATTRIBUTES_SIZE, HostAttributes
from pysc.cabi.linux.errors import EBADMSG, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "absolute").symlink_to("/etc/passwd")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def errno_of(function: object, *args: object) -> int:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        function(*args)  # type: ignore[operator]
    assert caught.value.errno is not None
    return caught.value.errno


def test_the_layout_is_the_one_of_c() -> None:
    assert ffi.sizeof("struct pysc_attributes") == ATTRIBUTES_SIZE
    assert HostAttributes.unpack_from(HostAttributes(*range(16)).pack()) == HostAttributes(*range(16))


def test_attributes_are_those_of_stat(tree: int) -> None:
    ours, theirs = host.stat_at(tree, b"dir/file"), os.stat("dir/file", dir_fd=tree)
    assert (ours.dev, ours.ino, ours.mode, ours.nlink, ours.uid, ours.gid, ours.size, ours.blocks, ours.blksize) == (
        theirs.st_dev, theirs.st_ino, theirs.st_mode, theirs.st_nlink, theirs.st_uid, theirs.st_gid, theirs.st_size,
        theirs.st_blocks, theirs.st_blksize,
    )  # fmt: skip
    assert (ours.atime, ours.mtime, ours.ctime) == (theirs.st_atime_ns, theirs.st_mtime_ns, theirs.st_ctime_ns)
    assert host.stat_at(tree).ino == os.fstat(tree).st_ino


def test_identities_are_those_of_stat(tree: int) -> None:
    status = os.fstat(tree)
    assert host.identity(tree) == (status.st_dev, status.st_ino)


def test_the_last_link_is_looked_at_and_not_followed(tree: int) -> None:
    assert stat.S_ISLNK(host.stat_at(tree, b"absolute").mode)
    assert host.read_link_at(tree, b"absolute") == b"/etc/passwd"
    assert errno_of(host.open_read_at, tree, b"absolute") == ELOOP.errno


@pytest.mark.parametrize("path", [b"/etc", b"..", b"dir/../dir", b"dir//file", b"dir/", b".", b"dir/.", b"di\0r"])
def test_what_is_no_list_of_names_is_refused(tree: int, path: bytes) -> None:
    for function in (host.stat_at, host.open_read_at, host.read_link_at):
        assert errno_of(function, tree, path) == EINVAL.errno
    assert errno_of(host.open_beneath, tree, path, os.O_PATH) == EINVAL.errno
    assert host.walk_at(tree, path) == ([], EINVAL.errno)


def test_names_have_255_bytes(tree: int) -> None:
    assert errno_of(host.stat_at, tree, b"n" * 255) == ENOENT.errno
    assert errno_of(host.stat_at, tree, b"n" * 256) == ENAMETOOLONG.errno


def test_beneath_follows_no_link_anywhere(tree: int) -> None:
    assert errno_of(host.open_beneath, tree, b"link/file", os.O_RDONLY) == ELOOP.errno
    assert errno_of(host.open_beneath, tree, b"link", os.O_RDONLY) == ELOOP.errno
    os.close(host.open_beneath(tree, b"dir/file", os.O_RDONLY))


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_TMPFILE | os.O_RDWR])
def test_open_read_only_reads(tree: int, flags: int) -> None:
    assert errno_of(host.open_read_at, tree, b"dir/file", flags) == EINVAL.errno


def test_a_walk_tells_every_component(tree: int) -> None:
    found, error = host.walk_at(tree, b"dir/file")
    assert ([stat.S_IFMT(a.mode) for a in found], error) == ([stat.S_IFDIR, stat.S_IFREG], 0)
    assert host.walk_at(tree, b"dir/file", 4) == (found[1:], 0)


def test_a_walk_stops_where_it_must(tree: int) -> None:
    found, error = host.walk_at(tree, b"link/file")
    assert ([stat.S_IFMT(a.mode) for a in found], error) == ([stat.S_IFLNK], 0)
    found, error = host.walk_at(tree, b"dir/file/more")
    assert (len(found), error) == (2, ENOTDIR.errno)
    found, error = host.walk_at(tree, b"dir/none/more")
    assert (len(found), error) == (1, ENOENT.errno)


def test_paths_longer_than_the_kernel_takes(tmp_path: Path, tree: int) -> None:
    depth, fd = 30, os.dup(tree)
    name = b"d" * 250
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = below
    path = b"/".join([name] * depth)
    assert host.stat_at(tree, path).ino == os.fstat(fd).st_ino
    assert host.walk_at(tree, path, len(path) - 250)[0][0].ino == os.fstat(fd).st_ino
    opened = host.open_beneath(tree, path, os.O_RDONLY | os.O_DIRECTORY)
    assert os.fstat(opened).st_ino == os.fstat(fd).st_ino
    os.close(opened)
    os.close(fd)


def test_a_listing_in_chunks_is_whole(tmp_path: Path) -> None:
    names = {f"entry-{number}-{'x' * (number % 200)}".encode() for number in range(300)} | {b"\xff\xfe", b"n" * 255}
    for name in names:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), name), os.O_CREAT))
    fd = os.open(tmp_path, os.O_RDONLY)
    listed, cookie, end = [], 0, False
    while not end:
        entries, cookie, end = host.list_directory(fd, cookie, 1000, attributes=True)
        listed += entries
    assert sorted(entry.name for entry in listed) == sorted(names)
    assert all(entry.attributes and entry.attributes.ino == entry.ino for entry in listed)
    again, _, _ = host.list_directory(fd, listed[9].cookie, 512)
    assert again[0].name == listed[10].name
    os.close(fd)


def test_a_buffer_too_small_for_a_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    assert errno_of(host.list_directory, fd, 0, 16) == EINVAL.errno
    os.close(fd)


@pytest.mark.parametrize(
    "change", [(16, 0), (16, 255), (17, 1), (19, 0), (19, 255), (20, 1), (20, 2), (24, 0), (24, 0x2F)]
)
def test_forged_records_are_refused(tmp_path: Path, change: tuple[int, int]) -> None:
    (tmp_path / "name").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    records = bytearray(host.list_packed(fd, 0, 4096, attributes=False)[0])
    os.close(fd)
    offset, value = change
    records[offset] = value
    assert errno_of(host.parse_listing_untrusted, bytes(records)) == EBADMSG.errno


def test_times_before_the_epoch(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    fd = os.open(tmp_path, os.O_PATH)
    host.utimens(fd, b"old", (host.SET, -1), (host.SET, -1_500_000_001))
    attributes = host.stat_at(fd, b"old")
    assert (attributes.atime, attributes.mtime) == (-1, -1_500_000_001)
    host.utimens(fd, b"old", (host.OMIT, 0), (host.NOW, 0))
    assert host.stat_at(fd, b"old").atime == -1
    assert host.stat_at(fd, b"old").mtime > 10**18
    os.close(fd)


def test_data(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    assert host.pwrite(fd, b"hello", 3) == 5
    assert host.pread(fd, 10, 0) == b"\0\0\0hello"
    os.close(fd)
