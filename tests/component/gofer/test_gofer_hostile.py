"""A gofer between two hostile parties: a sentry that was taken over, and who else writes to the served tree."""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pysc.cabi import confine, host
from pysc.cabi.linux.errors import EIO, ENFILE, ENOENT, LinuxError
from pysc.cabi.linux.fcntl import RENAME_EXCHANGE
from pysc.cabi.linux.prctl import PR_SET_NO_NEW_PRIVS
from pysc.cabi.linux.sched import CLONE_NEWNS
from pysc.gofer.reading import Reading
from pysc.urpc.blocking import Disconnected
from pysc.urpc.codec import HEADER, Type
from pysc.urpc.fds import FileFd, OwnedFd
from pysc.urpc.schema import gofer
from pysc.urpc.schema.gofer import File
from tests.component.gofer.conftest import Direct, Export, Gofer, Rpc, View, requests

SECONDS = 1.0


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Repeat ``action`` in another process."""
    pid = os.fork()
    if not pid:
        try:
            while True:
                action()
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that is not served, with the same names as the served one."""
    made = tmp_path_factory.mktemp("outside")
    (made / "file").write_bytes(b"secret")
    return made


@pytest.fixture
def raced(tmp_path: Path, outside: Path) -> Iterator[Path]:
    """A tree in which ``dir`` is now a directory, now a link to the outside, now absolute, now by ``..``."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "file").write_bytes(b"public")
    (tmp_path / "other").symlink_to(outside)
    fd = os.open(tmp_path, os.O_PATH)
    with meanwhile(lambda: host.rename(fd, b"dir", fd, b"other", RENAME_EXCHANGE)):
        yield tmp_path
    os.close(fd)


def test_what_moves_to_another_directory_is_found_in_the_first_or_not_at_all(served: Gofer, tmp_path: Path) -> None:
    """The host says EXDEV of what left the directory during the look-up, which is nobody's error."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    fd = os.open(tmp_path, os.O_PATH)
    with meanwhile(lambda: host.rename(fd, b"one/file", fd, b"two/file", RENAME_EXCHANGE)):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            walked = served.call(gofer.Walk(gofer.File(0, b""), [b"one", b"file"]))
            assert (len(walked.attributes), walked.errno) == (2, 0)
    os.close(fd)


def test_a_race_of_links_reads_nothing_outside(raced: Path, view: View) -> None:
    seen = {"content": 0, "refused": 0}
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            assert view.read(b"dir/file") == b"public"
            seen["content"] += 1
        except (OSError, LinuxError):
            seen["refused"] += 1
        found, _ = view.walk(b"dir/file")
        assert len(found) < 2 or found[1].size == 6
    assert seen["content"], "the race was never won"
    assert seen["refused"], "there was no race"


def test_a_race_of_links_changes_nothing_outside(raced: Path, served: Gofer, outside: Path) -> None:
    before = os.stat(outside / "file")
    outcomes = set()
    end = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < end:
        number += 1
        directory, file = File(0, b"dir"), File(0, b"dir/file")
        for request in requests(
            gofer.Create(directory, b"new-%d" % number, os.O_RDWR, 0o600, 0, 0),
            gofer.MakeDirectory(directory, b"d-%d" % number, 0o700, 0, 0),
            gofer.MakeSymlink(directory, b"s-%d" % number, b"t", 0, 0),
            gofer.SetAttributes(file, gofer.Changes(mode=0o600 + number % 64, uid=number)),
            gofer.SetAttributes(file, gofer.Changes(size=6)),
            gofer.SetXattr(file, b"user.x", b"%d" % number),
            gofer.Link(file, directory, b"l-%d" % number),
            gofer.Unlink(directory, b"s-%d" % number),
        ):
            try:
                served.call(request)
                outcomes.add("done")
            except LinuxError:
                outcomes.add("refused")
    after = os.stat(outside / "file")
    assert (before.st_ctime_ns, before.st_mode, before.st_uid) == (after.st_ctime_ns, after.st_mode, after.st_uid)
    assert os.listdir(outside) == ["file"]
    assert outcomes == {"done", "refused"}


def test_a_directory_that_moves_out_while_it_is_walked(
    tmp_path: Path, start: Callable[..., Gofer], outside: Path
) -> None:
    """The classical way out: descend, have the directory moved away, go up by ``..``; there is no ``..`` to send."""
    (tmp_path / "tree" / "a" / "b").mkdir(parents=True)
    made = start(Export(os.fsencode(tmp_path / "tree")))
    fd = os.open(tmp_path, os.O_PATH)

    def move() -> None:
        os.rename("tree/a", "a", src_dir_fd=fd, dst_dir_fd=fd)
        os.rename("a", "tree/a", src_dir_fd=fd, dst_dir_fd=fd)

    found = 0
    with meanwhile(move):
        end = time.monotonic() + SECONDS / 2
        while time.monotonic() < end:
            for names in ([b"a", b"b"], [b"a", b"b", b"..", b".."]):
                try:
                    found += len(made.call(gofer.Walk(File(0, b""), names)).attributes) == 2
                except LinuxError:
                    pass
    os.close(fd)
    assert found


def test_a_file_swapped_for_a_fifo_or_device_holds_nobody_up(tmp_path: Path, served: Gofer) -> None:
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    fd = os.open(tmp_path, os.O_PATH)

    def swap() -> None:
        for name in (b"fifo", b"file", b"zero", b"file"):
            host.rename(fd, name, fd, b"target", 0)
            host.rename(fd, b"target", fd, name, 0)

    kinds = set()
    with meanwhile(swap):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY):
                try:
                    with served.call(gofer.Open(File(0, b"target"), flags)).file as file:
                        kinds.add(stat.S_IFMT(os.fstat(file.fileno()).st_mode))
                except LinuxError:
                    pass
            try:
                served.call(gofer.SetAttributes(File(0, b"target"), gofer.Changes(size=7)))
            except LinuxError:
                pass
    os.close(fd)
    assert stat.S_IFCHR not in kinds


def test_an_exhausted_gofer_says_so_and_lives(tmp_path: Path, start: Callable[..., Gofer]) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    made = start(Export(os.fsencode(tmp_path)), free=2)
    for _ in range(3):
        with pytest.raises(ENFILE):
            made.call(gofer.Link(File(0, b"a"), File(0, b"a/b"), b"c"))
    assert made.call(gofer.Attach(0)).readonly is False


def test_it_may_have_all_the_descriptors_that_it_can(served: Gofer) -> None:
    served.call(gofer.Attach(0))
    soft, hard = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def test_descriptors_in_requests_do_not_stay(tmp_path: Path, served: Gofer) -> None:
    with served.call(gofer.Create(File(0, b""), b"file", os.O_RDWR, 0o600, 0, 0)).file as file:

        def descriptors() -> list[str]:
            served.call(gofer.Attach(0))  # what the request before it held is closed by then
            return os.listdir(f"/proc/{served.pid}/fd")

        before = descriptors()
        for _ in range(50):
            served.call(gofer.Sync(0, FileFd.lend(file.fileno())))
        for _ in range(10):
            try:
                served.call(gofer.Sync(9, FileFd.lend(file.fileno())))
            except LinuxError:
                pass
        assert descriptors() == before


def test_requests_at_their_bounds(tmp_path: Path, served: Gofer) -> None:
    """The largest and strangest that the schema lets in are refused or done: none is a bug of the gofer's."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "d").mkdir()
    reader, writer = os.pipe()
    path = os.open(tmp_path / "d", os.O_PATH)
    root, most, name = File(0, b""), (1 << 63) - 1, b"n" * 255
    details: list[str] = []
    with served.call(gofer.Create(root, b"file", os.O_RDWR, 0o600, 0, 0)).file as made:
        file = File(0, b"file")
        for request in requests(
            *(gofer.Allocate(0, FileFd.lend(made.fileno()), mode, 0, 1) for mode in (0x7FFF_FFFF, 0x40, 1)),
            gofer.Allocate(0, FileFd.lend(made.fileno()), 0, most, most),
            gofer.SetOpenAttributes(0, FileFd.lend(made.fileno()), gofer.Changes(size=most)),
            gofer.SetAttributes(file, gofer.Changes(atime=-most - 1, mtime=most)),
            gofer.SetAttributes(file, gofer.Changes(uid=0xFFFF_FFFE, gid=0xFFFF_FFFE, mode=0o7777)),
            *(gofer.Open(file, flags) for flags in (0xFFFF_FFFF, os.O_PATH, os.O_TMPFILE | os.O_RDWR, os.O_CREAT)),
            *(gofer.Create(root, name, flags, 0o7777, 0, 0) for flags in (3, os.O_DIRECTORY, os.O_DIRECT)),
            gofer.Create(File(0, b"fifo"), name, os.O_RDWR, 0, 0, 0),
            gofer.ListDirectory(root, most),
            gofer.Walk(root, [b"d"] * 128),
            gofer.Walk(File(0, b"d/" * 16383 + b"d"), [name]),
            gofer.Walk(File(0, b"d" * 32768), [name]),
            gofer.Walk(File(65535, b""), [name]),
            gofer.Open(File(0, b"file", (1 << 64) - 1, (1 << 64) - 1), os.O_RDONLY),
            gofer.Rename(root, b"d", File(0, b"d"), name),
            gofer.Link(root, root, name),
            gofer.Unlink(root, b"d\xff", True),
            *(gofer.MakeNode(root, name, kind, 0, 0, 0) for kind in (0xFFFF_FFFF, stat.S_IFCHR, stat.S_IFBLK | 1, 0)),
            gofer.MakeSymlink(root, b"s", b"t" * 4095, 0, 0),
            gofer.SetXattr(file, b"user." + b"x" * 250, bytes(61440)),
            gofer.SetXattr(file, b"security.capability", b"nonsense"),
            gofer.GetXattr(file, b"user.\0"),
            *(gofer.Allocate(0, FileFd.lend(fd), 0, 0, 1) for fd in (reader, writer, path)),
            *(gofer.Sync(0, FileFd.lend(fd)) for fd in (reader, writer, path)),
            *(gofer.SetOpenAttributes(0, FileFd.lend(fd), gofer.Changes(mode=0o777)) for fd in (reader, writer, path)),
        ):
            try:
                answer = served.call(request)
            except LinuxError as error:
                details.append(str(error))
            else:
                if isinstance(answer, gofer.Opened):
                    answer.file.close()
    assert not [detail for detail in details if "a bug" in detail]
    for fd in (reader, writer, path):
        os.close(fd)
    assert stat.S_IMODE(os.stat(tmp_path / "d").st_mode) == 0o755
    assert stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)


def test_nothing_but_the_file_of_a_mount_that_is_one(tmp_path: Path, start: Callable[..., Gofer]) -> None:
    """It stands in a directory that set-up has made, where nobody has anything to do."""
    (tmp_path / "file").write_bytes(b"content")
    served = start(Export(os.fsencode(tmp_path / "file")))
    directory = File(0, b"")
    for request in requests(
        gofer.Create(directory, b"more", os.O_RDWR, 0o600, 0, 0),
        gofer.Rename(directory, b"file", directory, b"other"),
        gofer.Unlink(directory, b"file"),
        gofer.ListDirectory(directory),
        gofer.Open(File(0, b"more"), os.O_RDONLY),
    ):
        with pytest.raises(ENOENT):
            served.call(request)
    with served.call(gofer.Open(File(0, b"file"), os.O_RDONLY)).file as file:
        assert os.pread(file.fileno(), 9, 0) == b"content"


def test_a_flood_of_descriptors_cuts_the_peer_off(tmp_path: Path, start: Callable[..., Gofer]) -> None:
    made = start(Export(os.fsencode(tmp_path)))
    made.call(gofer.Attach(0))
    pid = os.pidfd_open(made.pid)
    fds = [OwnedFd(os.memfd_create("flood")) for _ in range(200)]
    socket.send_fds(made.sock, [HEADER.pack(Type.REQUEST, 5) + b"\x92\x01\x00"], [fd.fileno() for fd in fds])
    with pytest.raises(Disconnected):
        made.call(gofer.Attach(0))
    assert os.waitid(os.P_PIDFD, pid, os.WEXITED | os.WNOWAIT).si_status == 1  # type: ignore[union-attr]
    os.close(pid)
    os.waitpid(made.pid, 0)
    made.pid = 0


def test_a_peer_of_another_build_is_cut_off(tmp_path: Path, mounting: None) -> None:
    """Daemons of one sandbox are of one install."""
    served = Gofer(Export(os.fsencode(tmp_path)), build="of yesterday")
    with pytest.raises(Disconnected):
        served.call(gofer.Attach(0))
    assert served.wait_end() == 1


def test_nothing_is_lost_by_a_restart(tmp_path: Path, start: Callable[..., Gofer]) -> None:
    """The gofer is killed under load; what was asked fails, open files go on, the next gofer knows everything."""
    first = start(Export(os.fsencode(tmp_path)))
    created = first.call(gofer.Create(File(0, b""), b"file", os.O_RDWR, 0o600, 0, 0))
    threading.Timer(0.1, first.kill).start()
    number = 0

    def load() -> None:
        nonlocal number
        while True:
            number += 1
            first.call(gofer.MakeDirectory(File(0, b""), b"d-%d" % number, 0o700, 0, 0))

    with pytest.raises((Disconnected, EIO)):
        load()
    os.waitpid(first.pid, 0)
    first.pid = 0
    os.pwrite(created.file.fileno(), b"still", 0)
    second = start(Export(os.fsencode(tmp_path)), left=first.left)
    there = os.stat(tmp_path / "file")
    with second.call(gofer.Open(File(0, b"file", there.st_dev, there.st_ino), os.O_RDONLY)).file as file:
        assert os.pread(file.fileno(), 9, 0) == b"still"
    listed = {entry.name for entry in Rpc(second).list(b"")}
    assert {b"d-%d" % done for done in range(1, number)} <= listed
    created.file.close()


def test_the_filter_keeps_the_gofer_from_everything_else(tmp_path: Path, mounting: None) -> None:
    """Code in a gofer that was taken over: no program, no socket, no plain open, no device, no other process."""
    from pysc.gofer import confinement

    fd = os.open(tmp_path, os.O_PATH)
    (tmp_path / "file").touch()

    def refused(action: Callable[[], object]) -> bool:
        try:
            action()
        except PermissionError:
            return True
        return False

    pid = os.fork()
    if not pid:
        code = 9
        try:
            confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
            confinement.lock_down()
            checks = [
                refused(lambda: os.open(tmp_path / "file", os.O_RDONLY)),
                refused(lambda: os.open("file", os.O_RDONLY, dir_fd=fd)),
                refused(lambda: socket.socket(socket.AF_UNIX)),
                refused(lambda: os.chdir("/")),
                refused(lambda: os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3), dir_fd=fd)),
                refused(lambda: os.mknod("white", stat.S_IFCHR, 0, dir_fd=fd)),
                host.stat_at(fd, b"file").size == 0,
            ]
            code = 0 if all(checks) else checks.index(False) + 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for action in (
        lambda: os.execv("/bin/true", ["true"]),
        lambda: os.kill(os.getppid(), 0),
        lambda: confine.unshare(CLONE_NEWNS),
        lambda: confine.mount(b"none", b"/mnt", b"tmpfs"),
        os.fork,
    ):
        pid = os.fork()
        if not pid:
            try:
                confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
                confinement.lock_down()
                action()
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSYS
    os.close(fd)


def test_direct_and_rpc_see_the_same(served: Gofer, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"dir-{number % 4}" / f"sub-{number % 7}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"dir-{number % 4}" / f"file-{number}").write_bytes(b"x" * number)
        (tmp_path / f"link-{number}").symlink_to(f"dir-{number}")
    direct, rpc = Direct(served), Rpc(served)
    for path in (b"", b"dir-0", b"dir-1/sub-1"):
        there = [(e.name, e.ino, e.type, e.attributes and e.attributes.size) for e in direct.list(path)]
        here = [(e.name, e.ino, e.type, e.attributes and e.attributes.size) for e in rpc.list(path)]
        assert here == there


def test_a_bug_under_lock_down_is_an_error_and_no_end(
    tmp_path: Path, start: Callable[..., Gofer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python wants to open source files for a traceback, and imports some things late."""

    def bug(self: Reading, request: gofer.StatFs) -> gofer.FileSystem:
        raise ZeroDivisionError(os.fsdecode(b"\xff"))

    monkeypatch.setattr(Reading, "stat_fs", bug)
    made = start(Export(os.fsencode(tmp_path)))
    for _ in range(3):
        with pytest.raises(EIO, match="a bug"):
            made.call(gofer.StatFs(File(0, b"")))
    assert made.call(gofer.Attach(0)).readonly is False
