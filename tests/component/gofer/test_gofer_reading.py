"""Reading a served tree, directly and through the gofer."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pysc.cabi import confine, host
from pysc.cabi.linux.errors import (
    EACCES,
    EINVAL,
    EISDIR,
    ELOOP,
    ENOENT,
    ENOTDIR,
    ENXIO,
    EROFS,
    ESTALE,
    LinuxError,
)
from pysc.cabi.linux.sched import CLONE_NEWNS
from pysc.gofer.tree import SetUpError, clone
from pysc.urpc.schema import gofer
from tests.component.gofer.conftest import Export, Gofer, View

KEPT = os.ST_RDONLY | os.ST_NODEV | os.ST_NOSUID


def errno_of(function: Callable[..., object], *args: object) -> int:
    with pytest.raises((OSError, LinuxError)) as caught:
        function(*args)
    number: object = getattr(caught.value, "errno", None)
    assert isinstance(number, int)
    return number


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "absolute").symlink_to("/etc/passwd")
    (tmp_path / "up").symlink_to("../../../../../../../etc/passwd")
    return tmp_path


def test_files_look_as_they_do_to_the_host(view: View, tree: Path) -> None:
    for path in (b"", b"dir", b"dir/file", b"link", b"dir/sub"):
        there = os.lstat(os.path.join(os.fsencode(tree), path))
        here = view.stat(path)
        assert (here.dev, here.ino, here.mode, here.size) == (there.st_dev, there.st_ino, there.st_mode, there.st_size)


def test_content_and_targets(view: View, tree: Path) -> None:
    assert view.read(b"dir/file") == b"content"
    assert view.read_link(b"absolute") == b"/etc/passwd"
    assert errno_of(view.read_link, b"dir") == EINVAL.errno


def test_walks(view: View, tree: Path) -> None:
    found, error = view.walk(b"dir/sub")
    assert ([stat.S_ISDIR(a.mode) for a in found], error) == ([True, True], 0)
    found, error = view.walk(b"link/file")
    assert ([stat.S_ISLNK(a.mode) for a in found], error) == ([True], 0)
    assert view.walk(b"dir/none/x")[1] == ENOENT.errno
    assert view.walk(b"dir/file/x")[1] == ENOTDIR.errno


@pytest.mark.parametrize("path", [b"absolute", b"up", b"link/file", b"link/../../etc/passwd"])
def test_no_link_is_followed(view: View, tree: Path, path: bytes) -> None:
    assert errno_of(view.read, path) in (ELOOP.errno, EINVAL.errno)


@pytest.mark.parametrize(
    "path", [b"..", b"dir/..", b"../..", b"/etc/passwd", b"dir//file", b".", b"dir/./file", b"d\0"]
)
def test_what_is_no_list_of_names_is_refused(view: View, tree: Path, path: bytes) -> None:
    assert errno_of(view.read, path) == EINVAL.errno


def test_names_of_any_bytes(view: View, tmp_path: Path) -> None:
    names = [b"n" * 255, b"\xff\xfe\x80", b"a b\nc\\", "ü".encode(), b"-", b"..."]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(name)
    assert sorted(entry.name for entry in view.list(b"")) == sorted(names)
    for name in names:
        assert view.read(name) == name
        assert view.walk(name)[0][0].size == len(name)


def test_a_large_directory_in_chunks(view: View, tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"file-{number}").touch()
    entries = view.list(b"", 1024)
    assert sorted(int(entry.name[5:]) for entry in entries) == list(range(500))
    assert all(entry.attributes and stat.S_ISREG(entry.attributes.mode) for entry in entries)


@pytest.mark.parametrize("size", [512, 1000, gofer.MAX_LISTING])
def test_as_much_is_answered_as_was_asked_for(start: Callable[..., Gofer], tmp_path: Path, size: int) -> None:
    """The largest answers of both kinds: names that fill a listing, and as many steps as one walk may have."""
    for number in range(500):
        (tmp_path / f"{number:0>200}").touch()
    steps = [b"d"] * (gofer.MAX_NAMES - 1)
    os.makedirs(os.path.join(os.fsencode(tmp_path), *steps))
    os.symlink(b"t" * 4095, os.path.join(os.fsencode(tmp_path), *steps, b"l"))
    made = start(Export(os.fsencode(tmp_path)))
    answer = made.call(gofer.ListDirectory(gofer.File(0, b""), 0, size))
    assert size - 512 < len(answer.records) <= size
    walked = made.call(gofer.Walk(gofer.File(0, b""), [*steps, b"l"]))
    assert (len(walked.attributes), len(walked.target)) == (gofer.MAX_NAMES, 4095)


def test_fifos_sockets_and_devices_do_not_hold_anybody_up(served: Gofer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket")[-100:] if len(str(tmp_path)) > 90 else str(tmp_path / "socket"))
        opened = served.call(gofer.Open(gofer.File(0, b"fifo"), os.O_RDONLY))
        opened.file.close()
        assert errno_of(served.call, gofer.Open(gofer.File(0, b"fifo"), os.O_WRONLY)) == ENXIO.errno
        assert errno_of(served.call, gofer.Open(gofer.File(0, b"socket"), os.O_RDONLY)) == ENXIO.errno
        assert errno_of(served.call, gofer.Open(gofer.File(0, b"null"), os.O_RDONLY)) == EACCES.errno
        assert errno_of(host.open_read_at, served.trees[0], b"null") == EACCES.errno


def test_another_file_of_that_name_is_stale(served: Gofer, tree: Path) -> None:
    attributes = host.stat_at(served.trees[0], b"dir/file")
    (tree / "dir" / "other").write_bytes(b"other")
    os.replace(tree / "dir" / "other", tree / "dir" / "file")
    stale = gofer.File(0, b"dir/file", attributes.dev, attributes.ino)
    for request in (
        gofer.Open(stale, os.O_RDONLY),
        gofer.SetAttributes(stale, gofer.Changes(mode=0)),
        gofer.Link(stale, gofer.File(0, b""), b"new"),
        gofer.Unlink(gofer.File(0, b"dir"), b"file", False, attributes.dev, attributes.ino),
        gofer.Rename(gofer.File(0, b"dir"), b"file", gofer.File(0, b""), b"f", 0, attributes.dev, attributes.ino),
    ):
        assert errno_of(served.call, request) == ESTALE.errno
    assert (tree / "dir" / "file").read_bytes() == b"other"


def test_the_tree_of_the_sentry_cannot_write(served: Gofer, tree: Path) -> None:
    fd = served.trees[0]
    for function, args in (
        (os.open, (b"dir/file", os.O_RDWR)),
        (os.open, (b"dir/new", os.O_WRONLY | os.O_CREAT)),
        (os.mkdir, (b"dir/new",)),
        (os.unlink, (b"dir/file",)),
        (os.chmod, (b"dir/file", 0o777)),
    ):
        with pytest.raises(OSError, match="Read-only"):
            function(*args, dir_fd=fd)
    readable = host.open_read_at(fd, b"dir/file")
    with pytest.raises(OSError, match="Read-only"):
        os.fchmod(readable, 0o777)
    os.close(readable)
    with pytest.raises(OSError, match="symbolic"):
        os.stat(b"link/file", dir_fd=fd)
    above = os.open(b"..", os.O_PATH, dir_fd=fd)
    assert os.fstat(above).st_ino == os.fstat(fd).st_ino
    os.close(above)
    assert os.fstatvfs(fd).f_flag & (KEPT | os.ST_NOEXEC) == KEPT


@pytest.mark.parametrize(("readonly", "flags"), [(False, KEPT & ~os.ST_RDONLY), (True, KEPT)])
def test_the_kernel_closes_the_trees_of_the_gofer_too(
    start: Callable[..., Gofer], tree: Path, readonly: bool, flags: int
) -> None:
    made = start(Export(os.fsencode(tree), readonly))
    with made.call(gofer.Open(gofer.File(0, b"dir/file"), os.O_RDONLY)).file as file:
        assert os.fstatvfs(file.fileno()).f_flag & KEPT == flags


@pytest.mark.parametrize("source", [b"/proc", b"/proc/1/cmdline", b"/sys", b"/dev/pts"])
def test_file_systems_of_the_hosts_kernel_are_not_served(mounting: None, source: bytes) -> None:
    pid = os.fork()
    if not pid:
        status = 9
        try:
            confine.unshare(CLONE_NEWNS)
            clone([Export(source)], readable=True)
        except SetUpError as error:
            status = 0 if "the host kernel's own" in str(error) else 8
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_writing_is_not_reading(start: Callable[..., Gofer], tree: Path) -> None:
    made = start(Export(os.fsencode(tree)), Export(os.fsencode(tree / "dir"), True))
    assert made.call(gofer.Attach(1)).readonly
    assert errno_of(made.call, gofer.Open(gofer.File(1, b"file"), os.O_RDWR)) == EROFS.errno
    assert errno_of(made.call, gofer.Open(gofer.File(1, b"file"), os.O_TRUNC)) == EROFS.errno
    assert errno_of(made.call, gofer.Open(gofer.File(0, b"dir"), os.O_RDWR)) == EISDIR.errno
    assert errno_of(made.call, gofer.Open(gofer.File(0, b"dir/file"), os.O_CREAT)) == EINVAL.errno
    assert errno_of(made.call, gofer.Attach(7)) == EINVAL.errno
    assert (tree / "dir" / "file").read_bytes() == b"content"


def test_a_single_file_is_a_mount_too(start: Callable[..., Gofer], tree: Path) -> None:
    made = start(Export(os.fsencode(tree / "dir" / "file")), Export(b"/etc/passwd", True))
    for number, content in ((0, b"content"), (1, Path("/etc/passwd").read_bytes())):
        attached = made.call(gofer.Attach(number))
        assert attached.path == b"file"
        fd = host.open_read_at(made.trees[number], attached.path)
        assert host.pread(fd, 1 << 20, 0) == content
        os.close(fd)
    with made.call(gofer.Open(gofer.File(0, b"file"), os.O_WRONLY)).file as file:
        os.pwrite(file.fileno(), b"CON", 0)
    assert (tree / "dir" / "file").read_bytes() == b"CONtent"


def test_statfs(served: Gofer, tree: Path) -> None:
    there, here = os.statvfs(tree), served.call(gofer.StatFs(gofer.File(0, b"dir")))
    assert (here.bsize, here.blocks, here.files, here.namelen) == (
        there.f_bsize,
        there.f_blocks,
        there.f_files,
        there.f_namemax,
    )


def test_the_root_of_the_host_shows_no_kernel(start: Callable[..., Gofer]) -> None:
    made = start(Export(b"/"))
    for view in (made.trees[0],):
        assert errno_of(host.stat_at, view, b"proc/1") == ENOENT.errno
        assert errno_of(host.stat_at, view, b"sys/kernel") == ENOENT.errno
        assert errno_of(host.stat_at, view, b"dev/null") == ENOENT.errno
    assert errno_of(made.call, gofer.Open(gofer.File(0, b"proc/1/cmdline"), os.O_RDONLY)) == ENOENT.errno
    with made.call(gofer.Open(gofer.File(0, b"etc/passwd"), os.O_RDONLY)).file:
        pass
    assert os.path.exists("/proc/1/cmdline")
