"""What a gofer refuses by itself: its trees are plain directories here, and the kernel would let it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pysc.cabi.linux.errors import EACCES, ENOENT, EPERM, EROFS, ESTALE, EXDEV
from pysc.gofer import kept, tree
from pysc.gofer.handlers import handlers
from pysc.gofer.mounts import Mounts, ServedMount
from pysc.gofer.owners import Owners
from pysc.urpc.fds import FileFd
from pysc.urpc.message import Request
from pysc.urpc.schema import gofer
from pysc.urpc.schema.gofer import File
from tests.component.gofer.conftest import Export, requests
from tests.component.gofer.test_gofer_changing import MUTATIONS

ROOT = File(0, b"")
Call = Callable[[Request[Any]], Any]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[ServedMount]:
    (tmp_path / "file").write_bytes(b"content")
    root = os.open(tmp_path, os.O_PATH)
    yield ServedMount(0, root, readonly=False)
    os.close(root)


@pytest.fixture
def call(mount: ServedMount) -> Call:
    table = handlers([mount])
    return lambda request: table[type(request)](request)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mutations_of_what_is_read_only(
    mount: ServedMount, call: Call, tmp_path: Path, mutation: Callable[[int], Request[Any]]
) -> None:
    mount.readonly = True
    before = os.stat(tmp_path / "file").st_ctime_ns, os.listdir(tmp_path)
    with pytest.raises(EROFS):
        call(mutation(0))
    assert (os.stat(tmp_path / "file").st_ctime_ns, os.listdir(tmp_path)) == before


def test_a_file_that_takes_the_name_of_what_was_found(mount: ServedMount, tmp_path: Path) -> None:
    with Mounts([mount]).found(File(0, b"file")) as place:
        (tmp_path / "other").write_bytes(b"other")
        os.replace(tmp_path / "other", tmp_path / "file")
        with pytest.raises(ESTALE):
            place.reopen(os.O_RDONLY)


def test_another_file_that_is_linked_instead(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """link(2) is by name: what was linked is looked at, and taken away again."""
    (tmp_path / "other").write_bytes(b"another")
    link = os.link

    def late(*arguments: Any, **options: Any) -> None:
        os.replace(tmp_path / "other", tmp_path / "file")
        link(*arguments, **options)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(ESTALE):
        call(gofer.Link(File(0, b"file"), ROOT, b"new"))
    assert os.listdir(tmp_path) == ["file"]


TAKEN: list[tuple[str, Request[Any]]] = [
    ("mkdir", gofer.MakeDirectory(ROOT, b"new", 0o777, os.getuid(), os.getgid())),
    ("symlink", gofer.MakeSymlink(ROOT, b"new", b"target", os.getuid(), os.getgid())),
    ("mknod", gofer.MakeNode(ROOT, b"new", stat.S_IFIFO, 0o666, os.getuid(), os.getgid())),
    ("link", gofer.Link(File(0, b"file"), ROOT, b"new")),
]


@pytest.mark.parametrize(("name", "request_"), TAKEN, ids=[name for name, _ in TAKEN])
@pytest.mark.parametrize("times", [1, 100])
def test_what_is_made_is_taken_away_at_once(
    call: Call, tmp_path: Path, name: str, request_: Request[Any], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By others on the host, before it has been looked at: it is made again, but not for ever."""
    make, left = getattr(os, name), [times]

    def taken(*arguments: Any, **options: Any) -> None:
        make(*arguments, **options)
        if left[0]:
            left[0] -= 1
            (os.rmdir if name == "mkdir" else os.unlink)(tmp_path / "new")

    monkeypatch.setattr(os, name, taken)
    if times == 1:
        call(request_)
    else:
        with pytest.raises(ENOENT):
            call(request_)
    assert os.path.lexists(tmp_path / "new") == (times == 1)


def test_two_mounts_of_one_directory(mount: ServedMount) -> None:
    """Who may write to both may not move files from one to the other: inside they are two file systems."""
    table = handlers([mount, ServedMount(1, mount.root, readonly=False)])
    for request in requests(
        gofer.Rename(ROOT, b"file", File(1, b""), b"new"), gofer.Link(File(0, b"file"), File(1, b""), b"new")
    ):
        with pytest.raises(EXDEV):
            table[type(request)](request)


@pytest.mark.parametrize("single", [False, True], ids=["directory", "file"])
def test_descriptors_from_elsewhere_on_the_same_mount(tmp_path: Path, single: bool) -> None:
    """Without clones the number of a mount does not say whether a file is in the tree (--unsafe-no-namespaces)."""
    served = tmp_path / "served"
    served.mkdir()
    strangers = [tmp_path / "served (deleted)", tmp_path / "served2"]
    if single:
        strangers += [served / "other", served / "file (deleted)"]
    for file in (served / "file", *strangers):
        file.touch()
    source = served / "file" if single else served
    (mount,) = tree.plain([Export(os.fsencode(source))]).mounts
    table = handlers([mount])
    change = gofer.Changes(mode=0o640)

    def changed(path: Path, *, unlink: bool = False) -> int:
        with path.open("rb") as file:
            if unlink:
                path.unlink()
            table[gofer.SetOpenAttributes](gofer.SetOpenAttributes(0, FileFd.lend(file.fileno()), change))
            return stat.S_IMODE(os.fstat(file.fileno()).st_mode)

    for stranger in strangers:
        with pytest.raises(EPERM):
            changed(stranger)
    assert changed(served / "file") == 0o640
    (served / "file").chmod(0o600)
    assert changed(served / "file", unlink=True) == 0o640
    description, *roots = kept.leave([mount])
    (again,) = kept.take_up([description, *map(os.dup, roots)])
    assert (again.source, again.host_ids) == (mount.source, mount.host_ids)
    for fd in (mount.root, mount.descriptors, again.root, again.descriptors):
        os.close(fd)


def test_devices(root_user: None, mount: ServedMount, call: Call, tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for flags in (os.O_RDONLY, os.O_RDWR):
        with pytest.raises(EACCES):
            call(gofer.Open(File(0, b"null"), flags))
    for kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFREG):
        with pytest.raises(EPERM):
            call(gofer.MakeNode(ROOT, b"white", kind, 0, 0, 0))
    assert sorted(os.listdir(tmp_path)) == ["file", "null"]


MAKERS: list[Request[Any]] = [
    gofer.Create(ROOT, b"new", os.O_RDWR, 0o666, 5, 5),
    gofer.MakeDirectory(ROOT, b"new", 0o777, 5, 5),
    gofer.MakeSymlink(ROOT, b"new", b"target", 5, 5),
    gofer.MakeNode(ROOT, b"new", stat.S_IFIFO, 0o666, 5, 5),
]


@pytest.mark.parametrize("request_", MAKERS, ids=lambda request: type(request).__name__)
def test_what_is_made_is_closed_until_it_has_its_owner(
    call: Call, tmp_path: Path, request_: Request[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is removed if it cannot get one."""
    modes: list[int] = []

    def give(*_: Any) -> None:
        modes.append(os.lstat(tmp_path / "new").st_mode & 0o077)
        raise EPERM

    monkeypatch.setattr(Owners, "give", give)
    monkeypatch.setattr(Owners, "give_name", give)
    umask = os.umask(0)
    try:
        with pytest.raises(EPERM):
            call(request_)
    finally:
        os.umask(umask)
    assert os.listdir(tmp_path) == ["file"]
    if isinstance(request_, gofer.Create | gofer.MakeDirectory):
        assert modes == [0]


def test_the_host_kernels_own_file_systems_are_seen_from_outside_only() -> None:
    """Where nothing can be covered: that there is a /proc is seen, and nothing that is in it."""
    (mount,) = tree.plain([Export(b"/")]).mounts
    table = handlers([mount])
    (outside,) = table[gofer.Walk](gofer.Walk(ROOT, [b"proc"])).attributes  # type: ignore[attr-defined]
    assert table[gofer.Walk](gofer.Walk(ROOT, [b"proc", b"version"])) == gofer.Walked([outside], errno=EACCES.errno)
    for request in requests(
        gofer.Walk(File(0, b"proc"), [b"version"]),
        gofer.Open(File(0, b"proc/version"), os.O_RDONLY),
        gofer.ListDirectory(File(0, b"proc")),
        gofer.StatFs(File(0, b"proc")),
    ):
        with pytest.raises(EACCES):
            table[type(request)](request)
    os.close(mount.root)
    os.close(mount.descriptors)
