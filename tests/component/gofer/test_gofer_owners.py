"""A gofer of an ordinary user that keeps owners beside the inodes (--map-owners), between two hostile sides."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import EACCES, ENOSPC, EOPNOTSUPP, EPERM, EROFS, ESTALE, LinuxError
from pysc.cabi.linux.fcntl import RENAME_EXCHANGE
from pysc.gofer.mounts import Mounts, ServedMount
from pysc.gofer.owners import Owners
from pysc.gofer.reading import Reading
from pysc.gofer.tree import SetUpError, check_attributes
from pysc.urpc.fds import FileFd
from pysc.urpc.schema import gofer
from pysc.urpc.schema.gofer import Changes, File
from tests.component.gofer.conftest import USER, Export, Gofer, Rpc, requests

STRANGER = 54322
ROOT = File(0, b"")
SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


@pytest.fixture
def mapped(tree: Path, start: Callable[..., Gofer]) -> Gofer:
    return start(Export(os.fsencode(tree)), user=USER, map_owners=True)


def belongs(packed: bytes) -> tuple[int, int, int]:
    """Return owner, group and mode of what was answered."""
    found = HostAttributes.unpack_from(packed)
    return found.uid, found.gid, stat.S_IMODE(found.mode)


def kept(path: Path) -> bytes | None:
    """Return the attribute on the host, where nothing may be setuid or written by others."""
    mode = path.lstat().st_mode
    assert (path.lstat().st_uid, path.lstat().st_gid) == (USER, USER)
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        assert not mode & (SPECIAL | stat.S_IWGRP | stat.S_IWOTH), oct(mode)
        assert mode & stat.S_IRUSR
        assert mode & stat.S_IWUSR
    try:
        return os.getxattr(path, host.OWNER, follow_symlinks=False)
    except OSError:
        return None


def test_new_files_are_whose_they_should_be(mapped: Gofer, tree: Path) -> None:
    opened = mapped.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o4711, 1000, 2000))
    opened.file.close()
    assert belongs(opened.attributes) == (1000, 2000, 0o4711)
    assert (kept(tree / "file"), stat.S_IMODE((tree / "file").stat().st_mode)) == (b"1000:2000:4711", 0o711)
    made = mapped.call(gofer.MakeDirectory(ROOT, b"dir", 0o2070, 5, 6))
    assert belongs(made.attributes) == (5, 6, 0o2070)
    assert (kept(tree / "dir"), stat.S_IMODE((tree / "dir").stat().st_mode)) == (b"5:6:2070", 0o750)


def test_an_inode_says_what_it_can(mapped: Gofer, tree: Path) -> None:
    """Files of root with ordinary modes look the same on the host, and have no attribute."""
    mapped.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o640, 0, 0)).file.close()
    assert (kept(tree / "file"), stat.S_IMODE((tree / "file").stat().st_mode)) == (None, 0o640)
    file = File(0, b"file")
    for changes, expected, attribute in (
        (Changes(uid=7), (7, 0, 0o640), b"7:0:0640"),
        (Changes(mode=0o600), (7, 0, 0o600), b"7:0:0600"),
        (Changes(gid=8, mode=0o666), (7, 8, 0o666), b"7:8:0666"),
        (Changes(uid=0, gid=0), (0, 0, 0o666), b"0:0:0666"),
        (Changes(mode=0o000), (0, 0, 0o000), b"0:0:0000"),
        (Changes(mode=0o755), (0, 0, 0o755), None),
    ):
        assert belongs(mapped.call(gofer.SetAttributes(file, changes)).attributes) == expected
        assert kept(tree / "file") == attribute


def test_every_answer_says_the_same(mapped: Gofer, tree: Path) -> None:
    mapped.call(gofer.SetAttributes(ROOT, Changes(uid=1, gid=2, mode=0o1777)))
    mapped.call(gofer.MakeDirectory(ROOT, b"d", 0o700, 3, 3))
    mapped.call(gofer.Create(File(0, b"d"), b"f", os.O_RDWR, 0o4000, 4, 5)).file.close()
    linked = mapped.call(gofer.Link(File(0, b"d/f"), ROOT, b"g"))
    mapped.call(gofer.Rename(ROOT, b"g", ROOT, b"h"))
    view = Rpc(mapped)
    assert (view.stat(b"").uid, view.stat(b"").gid, view.stat(b"").mode) == (1, 2, stat.S_IFDIR | 0o1777)
    assert [found.uid for found in view.walk(b"d/f")[0]] == [3, 4]
    assert view.stat(b"h").ino == view.stat(b"d/f").ino
    assert {entry.name: entry.attributes for entry in view.list(b"")} == {b"d": None, b"h": None}
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
        opened = mapped.call(gofer.Open(File(0, b"h"), flags))
        opened.file.close()
        assert belongs(opened.attributes) == belongs(linked.attributes) == (4, 5, 0o4000)
    times = mapped.call(gofer.SetAttributes(File(0, b"h"), Changes(mtime=5, size=9)))
    assert belongs(times.attributes) == (4, 5, 0o4000)
    assert mapped.trees == [], "a tree would show the inodes"
    assert mapped.call(gofer.Attach(0)).maps_owners


def test_a_single_file_has_an_owner(tree: Path, start: Callable[..., Gofer]) -> None:
    (tree / "file").touch()
    os.chown(tree / "file", USER, USER)
    made = start(Export(os.fsencode(tree / "file")), user=USER, map_owners=True)
    root = made.call(gofer.Attach(0))
    made.call(gofer.SetAttributes(File(0, root.path), Changes(uid=9)))
    assert belongs(made.call(gofer.Attach(0)).root)[0] == 9
    assert kept(tree / "file") == b"9:0:0644"


def test_open_and_unlinked_files_have_owners(mapped: Gofer, tree: Path) -> None:
    with mapped.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o600, 1, 1)).file as file:
        mapped.call(gofer.Unlink(ROOT, b"file"))
        for changes, expected in (
            (Changes(uid=2, mode=0o4755), (2, 1, 0o4755)),
            (Changes(size=100), (2, 1, 0o4755)),
            (Changes(mode=0o000), (2, 1, 0o000)),
        ):
            made = mapped.call(gofer.SetOpenAttributes(0, FileFd.lend(file.fileno()), changes))
            assert belongs(made.attributes) == expected
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


def test_links_and_nodes_stay_the_callers(mapped: Gofer, tree: Path) -> None:
    """They cannot carry the attribute: whose they are is accepted, and forgotten."""
    mapped.call(gofer.MakeSymlink(ROOT, b"link", b"target", 5, 6))
    mapped.call(gofer.MakeNode(ROOT, b"fifo", stat.S_IFIFO, 0o1622, 7, 8))
    mapped.call(gofer.MakeNode(ROOT, b"socket", stat.S_IFSOCK, 0o4777, 7, 8))
    for name, mode in (("link", 0o777), ("fifo", 0o622), ("socket", 0o777)):
        made = mapped.call(gofer.SetAttributes(File(0, os.fsencode(name)), Changes(uid=3, gid=4)))
        assert belongs(made.attributes) == (0, 0, mode)
        assert kept(tree / name) is None
    changed = mapped.call(gofer.SetAttributes(File(0, b"fifo"), Changes(mode=0o6660)))
    assert belongs(changed.attributes) == (0, 0, 0o660)


def test_closed_files_and_directories_stay_reachable(mapped: Gofer, tree: Path) -> None:
    mapped.call(gofer.MakeDirectory(ROOT, b"d", 0o000, 1000, 1000))
    with mapped.call(gofer.Create(File(0, b"d"), b"f", os.O_RDWR, 0o000, 1000, 1000)).file as file:
        os.write(file.fileno(), b"content")
    assert Rpc(mapped).read(b"d/f") == b"content"
    assert [entry.name for entry in Rpc(mapped).list(b"d")] == [b"f"]
    mapped.call(gofer.Unlink(File(0, b"d"), b"f"))
    mapped.call(gofer.Unlink(ROOT, b"d", True))
    assert os.listdir(tree) == []


def test_owners_outlive_the_gofer(mapped: Gofer, tree: Path, start: Callable[..., Gofer]) -> None:
    mapped.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o640, 1, 2)).file.close()
    mapped.wait_end()
    another = start(Export(os.fsencode(tree), True), user=USER, map_owners=True)
    assert belongs(another.call(gofer.Walk(ROOT, [b"file"])).attributes[0]) == (1, 2, 0o640)
    with pytest.raises(EROFS):
        another.call(gofer.SetAttributes(File(0, b"file"), Changes(uid=5)))
    another.wait_end()
    plain = start(Export(os.fsencode(tree)), user=USER)
    assert belongs(plain.call(gofer.Walk(ROOT, [b"file"])).attributes[0]) == (0, 0, 0o640)


def test_a_sentry_cannot_touch_the_attribute_itself(mapped: Gofer, tree: Path) -> None:
    mapped.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o640, 1, 2)).file.close()
    file = File(0, b"file")
    with pytest.raises(EOPNOTSUPP):
        mapped.call(gofer.GetXattr(file, host.OWNER))
    for request in requests(gofer.SetXattr(file, host.OWNER, b"0:0:4755"), gofer.RemoveXattr(file, host.OWNER)):
        with pytest.raises(EPERM):
            mapped.call(request)
    mapped.call(gofer.SetXattr(file, b"user.mine", b"x"))
    assert mapped.call(gofer.ListXattrs(file)).names == [b"user.mine"]
    assert kept(tree / "file") == b"1:2:0640"


def test_what_others_own_is_theirs(mapped: Gofer, tree: Path) -> None:
    """Also if they say that it is root's and setuid; and nothing of it can be changed."""
    (tree / "foreign").touch(mode=0o644)
    os.setxattr(tree / "foreign", host.OWNER, b"0:0:4755")
    os.chown(tree / "foreign", STRANGER, STRANGER)
    (tree / "link").symlink_to("x")
    os.lchown(tree / "link", STRANGER, STRANGER)
    assert belongs(mapped.call(gofer.Walk(ROOT, [b"foreign"])).attributes[0]) == (65534, 65534, 0o644)
    for request in requests(
        gofer.SetAttributes(File(0, b"foreign"), Changes(uid=0)),
        gofer.SetAttributes(File(0, b"foreign"), Changes(mode=0o777)),
        gofer.SetAttributes(File(0, b"link"), Changes(uid=1)),
    ):
        with pytest.raises(EPERM):
            mapped.call(request)
    (tree / "foreign").chmod(0o600)
    with pytest.raises(EACCES):
        mapped.call(gofer.Open(File(0, b"foreign"), os.O_RDONLY))


def test_what_others_planted_is_taken_over(mapped: Gofer, tree: Path) -> None:
    """An attribute in a file that they may write to does not count, neither before nor after we use it."""
    (tree / "open").touch()
    os.chown(tree / "open", USER, USER)
    (tree / "open").chmod(0o666)
    os.setxattr(tree / "open", host.OWNER, b"0:0:4755")
    assert belongs(mapped.call(gofer.Walk(ROOT, [b"open"])).attributes[0]) == (0, 0, 0o666)
    made = mapped.call(gofer.SetAttributes(File(0, b"open"), Changes(gid=5)))
    assert belongs(made.attributes) == (0, 5, 0o666)
    assert kept(tree / "open") == b"0:5:0666"


def test_setuid_of_the_hosts_own_is_not_given_back(mapped: Gofer, tree: Path) -> None:
    """It is shown while it is there; what a guest has written to is not setuid on the host again."""
    (tree / "tool").write_bytes(b"content")
    os.chown(tree / "tool", USER, USER)
    (tree / "tool").chmod(0o4755)
    assert belongs(mapped.call(gofer.Walk(ROOT, [b"tool"])).attributes[0]) == (0, 0, 0o4755)
    mapped.call(gofer.SetAttributes(File(0, b"tool"), Changes(size=3)))
    assert kept(tree / "tool") is None
    mapped.call(gofer.SetAttributes(File(0, b"tool"), Changes(mode=0o4755)))
    assert kept(tree / "tool") == b"0:0:4755"


def test_a_name_that_changes_hands_meanwhile(mapped: Gofer, tree: Path) -> None:
    """Two files are swapped all the time: each answer has the owner of its file."""
    for name, uid in ((b"a", 1), (b"b", 2)):
        mapped.call(gofer.Create(ROOT, name, os.O_RDWR, 0o600, uid, uid)).file.close()
    owners = {(tree / "a").stat().st_ino: 1, (tree / "b").stat().st_ino: 2}
    stop = threading.Event()

    def swap() -> None:
        directory = os.open(tree, os.O_RDONLY)
        while not stop.is_set():
            host.rename(directory, b"a", directory, b"b", RENAME_EXCHANGE)
        os.close(directory)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        answers = []
        for _ in range(1000):
            answers += mapped.call(gofer.Walk(ROOT, [b"a"])).attributes
    finally:
        stop.set()
        swapping.join()
    assert len(answers) > 100
    for packed in answers:
        found = HostAttributes.unpack_from(packed)
        assert found.uid == found.gid == owners[found.ino]


class Swapped(Owners):
    """A name that becomes another file's each time it is looked at, so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def show_at(self, packed: bytes, dirfd: int, path: bytes) -> bytes:
        self.times -= 1
        if self.times >= 0:
            raise OSError(ESTALE.errno, "swapped")
        return packed


@pytest.mark.parametrize(("times", "errno"), [(0, 0), (2, 0), (3, ESTALE.errno)])
def test_a_walk_looks_again(tmp_path: Path, times: int, errno: int) -> None:
    (tmp_path / "file").touch()
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        mount = ServedMount(0, root, readonly=True)
        mount.owners = Swapped(times)
        walked = Reading(Mounts([mount])).walk(gofer.Walk(ROOT, [b"file"]))
    finally:
        os.close(root)
    assert (len(walked.attributes), walked.errno) == (0 if errno else 1, errno)


# --- File systems that have no room for it


@pytest.fixture
def without_attributes(tree: Path) -> Iterator[Path]:
    """A file system without extended attributes, below the tree."""
    place = tree / "ramfs"
    place.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", str(place)], check=True)
    try:
        os.chown(place, USER, USER)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_set_up_says_where_owners_cannot_be_kept(without_attributes: Path) -> None:
    with pytest.raises(
        SetUpError, match=f"--map-owners: the file system of {without_attributes} has no user attributes"
    ):
        check_attributes([Export(b"/"), Export(os.fsencode(without_attributes))])
    check_attributes([Export(os.fsencode(without_attributes), True)])


def test_below_that_is_as_without(without_attributes: Path, mapped: Gofer) -> None:
    """EPERM, as where there is one id and no attribute; nothing is left, nothing is changed."""
    below = File(0, b"ramfs")
    (without_attributes / "file").touch()
    os.chown(without_attributes / "file", USER, USER)
    (without_attributes / "file").chmod(0o666)
    for request in requests(
        gofer.Create(below, b"new", os.O_RDWR, 0o640, 1000, 0),
        gofer.MakeDirectory(below, b"new", 0o1777, 0, 0),
        gofer.SetAttributes(File(0, b"ramfs/file"), Changes(uid=5)),
    ):
        with pytest.raises(EPERM):
            mapped.call(request)
    assert os.listdir(without_attributes) == ["file"]
    assert stat.S_IMODE((without_attributes / "file").stat().st_mode) == 0o666
    mapped.call(gofer.Create(below, b"new", os.O_RDWR, 0o640, 0, 0)).file.close()
    mapped.call(gofer.SetAttributes(File(0, b"ramfs/new"), Changes(mode=0o755)))
    assert kept(without_attributes / "new") is None


def test_no_space_changes_nothing(mapped: Gofer, tree: Path) -> None:
    file = File(0, b"file")
    mapped.call(gofer.Create(ROOT, b"file", os.O_RDWR, 0o755, 0, 0)).file.close()
    try:
        for number in range(1000):
            os.setxattr(tree / "file", f"user.{number}", b"x" * 50)
    except OSError:
        pass
    else:
        pytest.skip("this file system takes any number of attributes")
    before = (tree / "file").stat().st_mode
    with pytest.raises(LinuxError) as caught:
        mapped.call(gofer.SetAttributes(file, Changes(uid=4294967294, gid=4294967294, mode=0o4711)))
    assert caught.value.errno == ENOSPC.errno
    assert ((tree / "file").stat().st_mode, kept(tree / "file")) == (before, None)
