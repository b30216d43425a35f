"""Making, removing and changing files through the gofer."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pysc.cabi import confine, host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import (
    E2BIG,
    EBADF,
    EEXIST,
    EINVAL,
    EISDIR,
    ENODATA,
    ENOENT,
    ENOTDIR,
    ENOTEMPTY,
    EOPNOTSUPP,
    EPERM,
    EROFS,
    EXDEV,
    LinuxError,
)
from pysc.cabi.linux.fcntl import RENAME_EXCHANGE, RENAME_NOREPLACE
from pysc.cabi.linux.mount import MNT_DETACH
from pysc.urpc.fds import FileFd
from pysc.urpc.message import Request
from pysc.urpc.schema import gofer
from pysc.urpc.schema.gofer import Changes, File
from tests.component.gofer.conftest import Export, Gofer, requests
from tests.support.needs import missing

ROOT = File(0, b"")


def refused(made: Gofer, request: Request[Any], error: type[LinuxError]) -> None:
    with pytest.raises(error):
        made.call(request)


def unpack(packed: bytes) -> HostAttributes:
    return HostAttributes.unpack_from(packed)


def test_create(served: Gofer, tmp_path: Path) -> None:
    opened = served.call(gofer.Create(ROOT, b"new", os.O_RDWR, 0o4640, 1000, 2000))
    with opened.file as file:
        os.write(file.fileno(), b"content")
    attributes, there = unpack(opened.attributes), os.stat(tmp_path / "new")
    assert (there.st_mode, there.st_uid, there.st_gid) == (stat.S_IFREG | 0o4640, 1000, 2000)
    assert (attributes.ino, attributes.mode, attributes.uid) == (there.st_ino, there.st_mode, 1000)
    assert (tmp_path / "new").read_bytes() == b"content"
    refused(served, gofer.Create(ROOT, b"new", os.O_RDWR, 0o600, 0, 0), EEXIST)


def test_create_never_follows(served: Gofer, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("elsewhere")
    refused(served, gofer.Create(ROOT, b"dangling", os.O_RDWR, 0o600, 0, 0), EEXIST)
    assert not (tmp_path / "elsewhere").exists()


def test_directories(served: Gofer, tmp_path: Path) -> None:
    made = unpack(served.call(gofer.MakeDirectory(ROOT, b"dir", 0o2751, 5, 6)).attributes)
    assert (made.mode, made.uid, made.gid) == (stat.S_IFDIR | 0o2751, 5, 6)
    served.call(gofer.MakeDirectory(File(0, b"dir"), b"sub", 0o700, 0, 0))
    refused(served, gofer.MakeDirectory(ROOT, b"dir", 0o700, 0, 0), EEXIST)
    refused(served, gofer.Unlink(ROOT, b"dir", True), ENOTEMPTY)
    refused(served, gofer.Unlink(ROOT, b"dir"), EISDIR)
    served.call(gofer.Unlink(File(0, b"dir"), b"sub", True))
    served.call(gofer.Unlink(ROOT, b"dir", True))
    refused(served, gofer.Unlink(ROOT, b"dir", True), ENOENT)


def test_links(served: Gofer, tmp_path: Path) -> None:
    made = unpack(served.call(gofer.MakeSymlink(ROOT, b"link", b"/etc/\xff", 7, 8)).attributes)
    assert (stat.S_ISLNK(made.mode), made.uid, made.gid) == (True, 7, 8)
    assert os.readlink(os.fsencode(tmp_path / "link")) == b"/etc/\xff"
    second = unpack(served.call(gofer.Link(File(0, b"link"), ROOT, b"second")).attributes)
    assert (second.ino, second.nlink) == (made.ino, 2)
    (tmp_path / "dir").mkdir()
    refused(served, gofer.Link(File(0, b"dir"), ROOT, b"third"), EPERM)
    refused(served, gofer.Link(ROOT, ROOT, b"third"), EPERM)


def test_nodes(served: Gofer, tmp_path: Path) -> None:
    for kind in (stat.S_IFIFO, stat.S_IFSOCK):
        made = unpack(served.call(gofer.MakeNode(ROOT, b"node", kind, 0o622, 3, 4)).attributes)
        assert (made.mode, made.uid, made.gid) == (kind | 0o622, 3, 4)
        served.call(gofer.Unlink(ROOT, b"node"))
    for kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFREG, 0, stat.S_IFIFO | stat.S_IFCHR | 0o777):
        refused(served, gofer.MakeNode(ROOT, b"node", kind, 0o600, 0, 0), EPERM)
    assert not (tmp_path / "node").exists()


def test_rename(served: Gofer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "dir").mkdir()
    refused(served, gofer.Rename(ROOT, b"a", ROOT, b"b", RENAME_NOREPLACE), EEXIST)
    served.call(gofer.Rename(ROOT, b"a", ROOT, b"b", RENAME_EXCHANGE))
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"b", b"a")
    served.call(gofer.Rename(ROOT, b"a", File(0, b"dir"), b"b"))
    assert (tmp_path / "dir" / "b").read_bytes() == b"b"
    refused(served, gofer.Rename(ROOT, b"dir", File(0, b"dir"), b"inside"), EINVAL)
    refused(served, gofer.Rename(ROOT, b"none", ROOT, b"x"), ENOENT)


def test_attributes(served: Gofer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    file = File(0, b"file")
    changes = Changes(uid=10, gid=11, mode=0o4711, size=3, atime=-5, mtime=1_000_000_007)
    made = unpack(served.call(gofer.SetAttributes(file, changes)).attributes)
    assert (made.uid, made.gid, made.mode & 0o7777, made.size) == (10, 11, 0o4711, 3)
    assert (made.atime, made.mtime) == (-5, 1_000_000_007)
    again = unpack(served.call(gofer.SetAttributes(file, Changes(gid=12, now=gofer.MTIME_NOW))).attributes)
    assert (again.uid, again.gid, again.atime) == (10, 12, -5)
    assert again.mtime > 10**18


def test_attributes_of_what_is_no_file(served: Gofer, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "fifo")
    for name in (b"dir", b"fifo"):
        made = unpack(served.call(gofer.SetAttributes(File(0, name), Changes(mode=0o711, uid=1))).attributes)
        assert (made.mode & 0o7777, made.uid) == (0o711, 1)
    made = unpack(served.call(gofer.SetAttributes(File(0, b"link"), Changes(uid=9, mtime=7))).attributes)
    assert (made.uid, made.mtime) == (9, 7)
    assert os.stat(tmp_path / "target").st_uid == 0
    refused(served, gofer.SetAttributes(File(0, b"link"), Changes(mode=0o777)), EOPNOTSUPP)
    refused(served, gofer.SetAttributes(File(0, b"dir"), Changes(size=0)), EISDIR)
    refused(served, gofer.SetAttributes(File(0, b"fifo"), Changes(size=0)), EINVAL)


def test_open_and_unlinked(served: Gofer, tmp_path: Path) -> None:
    with served.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o600, 0, 0)).file as file:
        served.call(gofer.Unlink(ROOT, b"file"))
        changes = Changes(mode=0o640, uid=5, size=100, mtime=5)
        made = unpack(served.call(gofer.SetOpenAttributes(0, FileFd.lend(file.fileno()), changes)).attributes)
        assert (made.mode & 0o7777, made.uid, made.size, made.mtime, made.nlink) == (0o640, 5, 100, 5, 0)
        served.call(gofer.Allocate(0, FileFd.lend(file.fileno()), 0, 0, 8192))
        assert os.fstat(file.fileno()).st_size == 8192
        served.call(gofer.Sync(0, FileFd.lend(file.fileno())))
        served.call(gofer.Sync(0, FileFd.lend(file.fileno()), True))


def test_descriptors_from_elsewhere_are_not_changed(served: Gofer, tmp_path: Path) -> None:
    """A sentry that was taken over must not use the gofer's capabilities on, say, its standard output."""
    (tmp_path / "log").touch(mode=0o600)
    fd = os.open(tmp_path / "log", os.O_RDWR)
    refused(served, gofer.SetOpenAttributes(0, FileFd.lend(fd), Changes(mode=0o777)), EPERM)
    refused(served, gofer.SetOpenAttributes(0, FileFd.lend(fd), Changes(uid=1)), EPERM)
    os.close(fd)
    readable = host.open_read_at(served.trees[0], b"log")
    refused(served, gofer.Allocate(0, FileFd.lend(readable), 0, 0, 8192), EBADF)
    os.close(readable)
    assert os.stat(tmp_path / "log").st_mode & 0o777 == 0o600


def test_truncating_open(served: Gofer, tmp_path: Path) -> None:
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY):
        (tmp_path / "file").write_bytes(b"content")
        opened = served.call(gofer.Open(File(0, b"file"), flags | os.O_TRUNC))
        opened.file.close()
        assert unpack(opened.attributes).size == (tmp_path / "file").stat().st_size == 0


def test_a_change_of_size_leaves_setuid_alone(start: Callable[..., Gofer], reachable: Path) -> None:
    """The host would clear it: inside of a user namespace CAP_FSETID does not count."""
    os.chown(reachable, 12345, 12345)
    served = start(Export(os.fsencode(reachable)), user=12345)
    with served.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o6711, 0, 0)).file as file:
        os.write(file.fileno(), b"")
        for request in requests(
            gofer.SetAttributes(File(0, b"file"), Changes(size=5)),
            gofer.SetOpenAttributes(0, FileFd.lend(file.fileno()), Changes(size=5)),
            gofer.Open(File(0, b"file"), os.O_RDWR | os.O_TRUNC),
        ):
            assert unpack(served.call(request).attributes).mode & 0o7777 == 0o6711
    cleared = unpack(served.call(gofer.SetAttributes(File(0, b"file"), Changes(size=5, mode=0o711))).attributes)
    assert cleared.mode & 0o7777 == 0o711


def test_xattrs(served: Gofer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    file = File(0, b"file")
    served.call(gofer.SetXattr(file, b"user.a", b"\0value", 0))
    refused(served, gofer.SetXattr(file, b"user.a", b"", os.XATTR_CREATE), EEXIST)
    refused(served, gofer.SetXattr(file, b"user.b", b"", os.XATTR_REPLACE), ENODATA)
    assert served.call(gofer.GetXattr(file, b"user.a")).value == b"\0value"
    os.setxattr(tmp_path / "file", "trusted.hidden", b"x")
    os.setxattr(tmp_path / "file", "user.pysc.owner", b"x")
    assert served.call(gofer.ListXattrs(file)).names == [b"user.a"]
    for name, error in (
        (b"trusted.x", EPERM),
        (b"user.pysc.owner", EPERM),
        (b"system.posix_acl_access", EOPNOTSUPP),
        (b"security.selinux", EOPNOTSUPP),
        (b"nonsense", EOPNOTSUPP),
    ):
        refused(served, gofer.SetXattr(file, name, b"v"), error)
        refused(served, gofer.RemoveXattr(file, name), error)
    refused(served, gofer.GetXattr(file, b"trusted.hidden"), ENODATA)
    refused(served, gofer.GetXattr(file, b"system.posix_acl_access"), EOPNOTSUPP)
    refused(served, gofer.SetXattr(File(0, b"link"), b"user.a", b"v"), EPERM)
    capability = struct.pack("<5I", 0x0200_0001, 1 << 10, 0, 0, 0)  # VFS_CAP_REVISION_2, effective
    served.call(gofer.SetXattr(file, b"security.capability", capability))
    assert served.call(gofer.GetXattr(file, b"security.capability")).value == capability
    assert sorted(served.call(gofer.ListXattrs(file)).names) == [b"security.capability", b"user.a"]
    served.call(gofer.RemoveXattr(file, b"user.a"))
    refused(served, gofer.GetXattr(file, b"user.a"), ENODATA)


def test_attributes_that_fit_no_answer(start: Callable[..., Gofer], memory_folder: Path) -> None:
    """They are E2BIG, and the sentry cuts nobody off for an answer that it may not decode."""
    (memory_folder / "file").touch()
    served = start(Export(os.fsencode(memory_folder)))
    for name in ("value", "names"):
        try:
            os.setxattr(memory_folder / "file", "user.value", bytes(62000 if name == "value" else 10))
            for number in range(300 if name == "names" else 0):
                os.setxattr(memory_folder / "file", f"user.{number:0210}", b"")
        except OSError:
            missing("needs a tmpfs with user attributes (Linux 6.6)")
        request = gofer.GetXattr if name == "value" else gofer.ListXattrs
        refused(served, request(File(0, b"file"), *([b"user.value"] if name == "value" else [])), E2BIG)
    assert served.call(gofer.GetXattr(File(0, b"file"), b"user.value")).value == bytes(10)


@pytest.fixture
def apart(start: Callable[..., Gofer], tmp_path: Path, memory_folder: Path) -> Gofer:
    """A gofer of an overlay whose sides are on two file systems, with a file ``low``."""
    for name in ("upper", "work"):
        (memory_folder / name).mkdir()
    for name in ("lower", "merged"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "low").write_bytes(b"content")
    sides = f"lowerdir={tmp_path}/lower,upperdir={memory_folder}/upper,workdir={memory_folder}/work"
    confine.mount(b"none", os.fsencode(tmp_path / "merged"), b"overlay", data=sides.encode())
    served = start(Export(os.fsencode(tmp_path / "merged")))
    confine.umount(os.fsencode(tmp_path / "merged"), MNT_DETACH)
    return served


def test_links_where_an_overlay_numbers_names_apart(apart: Gofer) -> None:
    """Its st_ino is the lower file's, its link's is the upper one's (overlayfs, xino=off)."""
    with apart.call(gofer.Open(File(0, b"low"), os.O_RDWR)).file as file:
        os.pwrite(file.fileno(), b"CON", 0)
    apart.call(gofer.Link(File(0, b"low"), ROOT, b"link"))
    with apart.call(gofer.Open(File(0, b"link"), os.O_RDONLY)).file as file:
        assert os.pread(file.fileno(), 9, 0) == b"CONtent"


MUTATIONS: list[Callable[[int], Request[Any]]] = [
    lambda mount: gofer.Create(File(mount, b""), b"new", os.O_RDWR, 0o600, 0, 0),
    lambda mount: gofer.MakeDirectory(File(mount, b""), b"new", 0o700, 0, 0),
    lambda mount: gofer.MakeSymlink(File(mount, b""), b"new", b"t", 0, 0),
    lambda mount: gofer.MakeNode(File(mount, b""), b"new", stat.S_IFIFO, 0o600, 0, 0),
    lambda mount: gofer.Link(File(mount, b"file"), File(mount, b""), b"new"),
    lambda mount: gofer.Rename(File(mount, b""), b"file", File(mount, b""), b"new"),
    lambda mount: gofer.Unlink(File(mount, b""), b"file"),
    lambda mount: gofer.SetAttributes(File(mount, b"file"), Changes(mode=0)),
    lambda mount: gofer.SetXattr(File(mount, b"file"), b"user.a", b""),
    lambda mount: gofer.RemoveXattr(File(mount, b"file"), b"user.a"),
    lambda mount: gofer.Open(File(mount, b"file"), os.O_WRONLY),
    lambda mount: gofer.Open(File(mount, b"file"), os.O_RDONLY | os.O_TRUNC),
]


def test_a_descriptor_changes_nothing_on_another_mount(start: Callable[..., Gofer], tmp_path: Path) -> None:
    """One that is read-only, and one that does not exist."""
    (tmp_path / "file").write_bytes(b"content")
    made = start(Export(os.fsencode(tmp_path)), Export(os.fsencode(tmp_path), True))
    with made.call(gofer.Open(File(0, b"file"), os.O_RDWR)).file as file:

        def lent() -> FileFd:
            return FileFd.lend(file.fileno())

        for mount, error in ((1, EROFS), (9, EINVAL)):
            there = File(mount, b"file")
            refused(made, gofer.SetOpenAttributes(mount, lent(), Changes(mode=0o600)), error)
            refused(made, gofer.Allocate(mount, lent(), 0, 0, 8192), error)
            refused(made, gofer.SetXattr(there, b"user.a", b"", open=lent()), error)
            refused(made, gofer.RemoveXattr(there, b"user.a", lent()), error)
        refused(made, gofer.Sync(9, lent()), EINVAL)
    assert (tmp_path / "file").stat().st_size == 7


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_read_only_mount_refuses_every_mutation(
    start: Callable[..., Gofer], tmp_path: Path, mutation: Callable[[int], Request[Any]]
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    before = os.stat(tmp_path / "file")
    made = start(Export(os.fsencode(tmp_path), True))
    refused(made, mutation(0), EROFS)
    after = os.stat(tmp_path / "file")
    assert (before.st_ctime_ns, os.listdir(tmp_path)) == (after.st_ctime_ns, ["file"])


def test_nothing_moves_between_mounts(start: Callable[..., Gofer], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "file").touch()
    made = start(Export(os.fsencode(tmp_path / "a")), Export(os.fsencode(tmp_path / "b")))
    refused(made, gofer.Rename(File(0, b""), b"file", File(1, b""), b"file"), EXDEV)
    refused(made, gofer.Link(File(0, b"file"), File(1, b""), b"file"), EXDEV)


@pytest.mark.parametrize("name", [b".", b"..", b"a/b", b"/a", b"a\0b"])
def test_what_is_no_name_is_refused(served: Gofer, tmp_path: Path, name: bytes) -> None:
    (tmp_path / "file").touch()
    for request in requests(
        gofer.Create(ROOT, name, os.O_RDWR, 0o600, 0, 0),
        gofer.MakeDirectory(ROOT, name, 0o700, 0, 0),
        gofer.MakeSymlink(ROOT, name, b"t", 0, 0),
        gofer.MakeNode(ROOT, name, stat.S_IFIFO, 0o600, 0, 0),
        gofer.Link(File(0, b"file"), ROOT, name),
        gofer.Rename(ROOT, name, ROOT, b"x"),
        gofer.Rename(ROOT, b"file", ROOT, name),
        gofer.Unlink(ROOT, name),
        gofer.Unlink(ROOT, name, True),
        gofer.Walk(ROOT, [name]),
    ):
        refused(served, request, EINVAL)
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_no_directory(served: Gofer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(served, gofer.MakeDirectory(File(0, b"file"), b"x", 0o700, 0, 0), ENOTDIR)
    refused(served, gofer.ListDirectory(File(0, b"file")), ENOTDIR)
    refused(served, gofer.Walk(File(0, b"file"), [b"x"]), ENOTDIR)
