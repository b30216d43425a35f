"""A gofer in the place of one that died: it knows the descriptors from before, and no others."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EPERM, EROFS
from pysc.urpc.fds import FileFd
from pysc.urpc.schema import gofer
from pysc.urpc.schema.gofer import Changes, File
from tests.component.gofer.conftest import USER, Export, Gofer

CHANGES = Changes(mode=0o640, uid=5, size=100, atime=3, mtime=5)


def unlinked(made: Gofer, directory: bytes = b"", flags: int = os.O_RDWR, mount: int = 0) -> FileFd:
    """Return a descriptor of the gofer's, of a file without a name."""
    parent = File(mount, directory)
    made.call(gofer.Create(parent, b"file", os.O_RDWR, 0o600, 0, 0)).file.close()
    name = directory + b"/file" if directory else b"file"
    file = made.call(gofer.Open(File(mount, name), flags)).file
    made.call(gofer.Unlink(parent, b"file"))
    return file


def change(made: Gofer, fd: int, changes: Changes = CHANGES, mount: int = 0) -> HostAttributes:
    request = gofer.SetOpenAttributes(mount, FileFd.lend(fd), changes)
    return HostAttributes.unpack_from(made.call(request).attributes)


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def test_files_without_a_name_from_before(start: Callable[..., Gofer], memory_folder: Path) -> None:
    """Also on a mount below the served one, of which the new gofer has seen nothing."""
    export = Export(os.fsencode(memory_folder.parent))
    first = start(export)
    files = [unlinked(first, directory) for directory in (b"", b"memory")]
    reader = unlinked(first, flags=os.O_RDONLY)
    for _ in range(2):
        first.end()
        first = start(export, left=first.left)
        for file in files:
            made = change(first, file.fileno())
            assert (made.mode & 0o7777, made.uid, made.size, made.atime, made.mtime) == (0o640, 5, 100, 3, 5)
            assert made.nlink == 0
        assert change(first, reader.fileno(), Changes(mode=0o444)).mode & 0o7777 == 0o444
    for file in (*files, reader):
        file.close()


def test_a_mount_of_a_single_file(start: Callable[..., Gofer], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    export = Export(os.fsencode(tmp_path / "file"))
    first = start(export)
    with first.call(gofer.Open(File(0, b"file"), os.O_RDWR)).file as file:
        first.end()
        second = start(export, left=first.left)
        assert change(second, file.fileno(), Changes(size=3)).size == 3
    assert (tmp_path / "file").read_bytes() == b"con"


def test_owners_beside_the_inodes(start: Callable[..., Gofer], tree: Path) -> None:
    export = Export(os.fsencode(tree))
    first = start(export, user=USER, map_owners=True)
    with unlinked(first) as file:
        first.end()
        second = start(export, user=USER, map_owners=True, left=first.left)
        made = change(second, file.fileno(), Changes(uid=5, gid=6, mode=0o4711))
        assert (made.uid, made.gid, made.mode & 0o7777) == (5, 6, 0o4711)
        assert os.fstat(file.fileno()).st_uid == USER
        assert not os.fstat(file.fileno()).st_mode & stat.S_ISUID


def test_descriptors_from_elsewhere(start: Callable[..., Gofer], tmp_path: Path) -> None:
    """Neither the host's, nor those of other trees that show the same files: only each mount's own."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "log").touch(mode=0o600)
    exports = [
        Export(os.fsencode(tmp_path / "a")),
        Export(os.fsencode(tmp_path / "b")),
        Export(os.fsencode(tmp_path / "a"), True),
        Export(os.fsencode(tmp_path / "a")),
    ]
    first, stranger = start(*exports), start(exports[0])
    log = File(0, b"log")
    readable = host.open_read_at(first.trees[0], b"log")
    theirs = stranger.call(gofer.Open(log, os.O_RDWR)).file
    stranger.end()
    ours = first.call(gofer.Open(log, os.O_RDWR)).file
    first.end()
    second = start(*exports, left=first.left)
    with opened(tmp_path / "a" / "log") as outside:
        for fd, mount in (
            (outside, 0),
            (readable, 0),
            (theirs.fileno(), 0),
            (ours.fileno(), 1),
            (ours.fileno(), 3),  # another mount of the same folder
        ):
            for changes in (Changes(mode=0o4777), Changes(uid=1), Changes(size=0), Changes(mtime=1)):
                with pytest.raises(EPERM):
                    change(second, fd, changes, mount)
    with pytest.raises(EROFS):
        change(second, ours.fileno(), CHANGES, 2)
    there = os.stat(tmp_path / "a" / "log")
    assert (there.st_mode & 0o7777, there.st_uid) == (0o600, 0)
    assert change(second, ours.fileno(), Changes(mode=0o640)).mode & 0o7777 == 0o640
    os.close(readable)
    theirs.close()
    ours.close()


def test_extended_attributes_by_descriptor(start: Callable[..., Gofer], tmp_path: Path) -> None:
    """By those of the sentry's tree they are read, and by no others than the mount's own they are changed."""
    (tmp_path / "file").touch()
    first, stranger = start(Export(os.fsencode(tmp_path))), start(Export(os.fsencode(tmp_path)))
    file = File(0, b"file")
    readable = host.open_read_at(first.trees[0], b"file")
    ours = first.call(gofer.Open(file, os.O_RDWR)).file
    foreign = [stranger.call(gofer.Open(file, os.O_RDWR)).file.take(), host.open_read_at(stranger.trees[0], b"file")]
    (tmp_path / "file").unlink()
    stranger.end()
    first.end()
    second = start(Export(os.fsencode(tmp_path)), left=first.left)
    second.call(gofer.SetXattr(file, b"user.a", b"1", open=FileFd.lend(ours.fileno())))
    for fd in (ours.fileno(), readable):
        assert second.call(gofer.GetXattr(file, b"user.a", FileFd.lend(fd))).value == b"1"
        assert second.call(gofer.ListXattrs(file, FileFd.lend(fd))).names == [b"user.a"]
    for change in (
        gofer.SetXattr(file, b"user.a", b"2", open=FileFd.lend(readable)),
        gofer.RemoveXattr(file, b"user.a", FileFd.lend(readable)),
    ):
        with pytest.raises(EROFS):
            second.call(change)
    for fd in foreign:
        for request in (
            gofer.GetXattr(file, b"user.a", FileFd.lend(fd)),
            gofer.ListXattrs(file, FileFd.lend(fd)),
            gofer.SetXattr(file, b"user.a", b"2", open=FileFd.lend(fd)),
            gofer.RemoveXattr(file, b"user.a", FileFd.lend(fd)),
        ):
            with pytest.raises(EPERM):
                second.call(request)  # type: ignore[arg-type]
        os.close(fd)
    second.call(gofer.RemoveXattr(file, b"user.a", FileFd.lend(ours.fileno())))
    assert second.call(gofer.ListXattrs(file, FileFd.lend(readable))).names == []
    os.close(readable)
    ours.close()


def test_it_serves_what_the_first_one_did(start: Callable[..., Gofer], tmp_path: Path) -> None:
    """The host has put something else in its place: the sentry's trees, and open files, are of what was there."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(b"served")
    first = start(Export(os.fsencode(tmp_path / "served")))
    (tmp_path / "served").rename(tmp_path / "moved")
    (tmp_path / "served").mkdir()
    first.end()
    second = start(Export(os.fsencode(tmp_path / "served")), left=first.left)
    with second.call(gofer.Open(File(0, b"file"), os.O_RDONLY)).file as file:
        assert os.pread(file.fileno(), 9, 0) == b"served"
