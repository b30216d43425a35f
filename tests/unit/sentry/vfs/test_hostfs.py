"""Host files: what an exclusive mount remembers, what a shared one checks, what the gofer is asked."""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import E2BIG, EACCES, EBADMSG, EEXIST, EINVAL, EIO, ENAMETOOLONG, ENOENT, EROFS, ESTALE
from pysc.cabi.linux.fcntl import AT_FDCWD, O_CREAT, O_EXCL, O_RDWR, RENAME_NOREPLACE
from pysc.cabi.linux.stat import STAT
from pysc.gofer import owners
from pysc.gofer import tree as gofer_tree
from pysc.gofer.handlers import handlers
from pysc.sentry.fs import hostfs
from pysc.sentry.fs.hostfs import HostFilesystem
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.fs.tree import Tree
from pysc.sentry.syscalls.attr import NO_ID
from pysc.urpc.fds import FileFd
from pysc.urpc.schema import gofer
from tests.support.vfs_world import BUFFER, World


class Gofer:
    """The gofer's handlers, called in place; ``asked`` are the requests."""

    def __init__(self, source: Path, *, readonly: bool = False, map_owners: bool = False) -> None:
        self.source = os.fsencode(source)
        self.readonly = readonly
        self.trees = gofer_tree.plain([self])
        if map_owners:
            self.trees.mounts[0].owners = owners.MAPPED
        self.asked: list[Any] = []
        self._handlers = handlers(self.trees.mounts)

        self.before: dict[type, Callable[[], object]] = {}
        """What happens on the host just before a request of a kind is carried out, once."""
        self.lies: dict[type, Callable[[Any], Any]] = {}
        """What becomes of the answer to a request of a kind."""

    async def call(self, request: Any) -> Any:
        self.asked.append(request)
        kind = type(request)
        self.before.pop(kind, lambda: None)()
        return self.lies.get(kind, lambda reply: reply)(self._handlers[kind](request))

    def close(self) -> None:
        for mount in self.trees.mounts:
            os.close(mount.root)
            os.close(mount.descriptors)


class Mounts:
    """Makes worlds on a folder and closes what they need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._close: list[int] = []
        self._gofers: list[Gofer] = []

    def world(
        self,
        *,
        shared: bool = False,
        direct: bool = True,
        source: Path | None = None,
        readonly: bool = False,
        map_owners: bool = False,
    ) -> tuple[World, Gofer]:
        server = Gofer(source or self.folder, readonly=readonly, map_owners=map_owners)
        self._gofers.append(server)
        fd = -1
        if direct:
            fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            self._close.append(fd)

        async def attach() -> HostFilesystem:
            return await HostFilesystem.attach(Tree(0, fd, server), shared=shared)

        return World(World(Tmpfs()).run(attach())), server

    def close(self) -> None:
        for fd in self._close:
            os.close(fd)
        for server in self._gofers:
            server.close()


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"text")
    made = Mounts(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_fsync_of_a_directory_is_the_hosts(
    mounts: Mounts, monkeypatch: pytest.MonkeyPatch, shared: bool, direct: bool
) -> None:
    world, _server = mounts.world(shared=shared, direct=direct)
    synced = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd, how=name: synced.append((how, os.fstat(fd).st_ino)))
    fd = world.open(b"/d")
    assert world.call("fsync", fd) == world.call("fdatasync", fd) == 0
    there = (mounts.folder / "d").stat().st_ino
    assert synced == [("fsync", there), ("fdatasync", there)]
    world.call("mkdir", b"/gone", 0o755)
    fd = world.open(b"/gone")
    world.call("rmdir", b"/gone")
    assert world.call("fsync", fd) == 0
    assert len(synced) == 2


def test_reading_asks_the_gofer_nothing(mounts: Mounts) -> None:
    world, server = mounts.world()
    server.asked.clear()
    assert world.get_file(b"/d/f") == b"text"
    assert world.listdir(b"/d") == [b"f"]
    assert world.call("stat", b"/d/nope", BUFFER) == -ENOENT.errno
    assert server.asked == []


def test_everything_through_the_gofer(mounts: Mounts) -> None:
    world, server = mounts.world(direct=False)
    assert world.get_file(b"/d/f") == b"text"
    assert world.listdir(b"/d") == [b"f"]
    kinds = {type(request) for request in server.asked}
    assert {gofer.Walk, gofer.Open, gofer.ListDirectory} <= kinds


def test_exclusive_mounts_remember(mounts: Mounts) -> None:
    """What the host does behind an exclusive mount is not seen: neither new names nor sizes."""
    world, _server = mounts.world()
    assert world.call("stat", b"/new", BUFFER) == -ENOENT.errno
    size = world.stat(b"/d/f")[7]
    (mounts.folder / "new").write_bytes(b"x")
    (mounts.folder / "d/f").write_bytes(b"longer than before")
    assert world.call("stat", b"/new", BUFFER) == -ENOENT.errno
    assert world.stat(b"/d/f")[7] == size


def test_shared_mounts_see_the_host(mounts: Mounts) -> None:
    world, _server = mounts.world(shared=True)
    assert world.call("stat", b"/new", BUFFER) == -ENOENT.errno
    world.stat(b"/d/f")
    (mounts.folder / "new").write_bytes(b"x")
    (mounts.folder / "d/f").write_bytes(b"longer than before")
    assert world.stat(b"/new")[7] == 1
    assert world.stat(b"/d/f")[7] == 18
    (mounts.folder / "d/f").unlink()
    assert world.call("stat", b"/d/f", BUFFER) == -ENOENT.errno
    (mounts.folder / "d/f").symlink_to("../new")
    assert world.get_file(b"/d/f") == b"x"


def test_a_swap_as_config_maps_do_it(mounts: Mounts) -> None:
    """A volume's link is renamed over: the next open gets the new file."""
    world, _server = mounts.world(shared=True)
    for number in (1, 2):
        (mounts.folder / f"v{number}").mkdir()
        (mounts.folder / f"v{number}/config").write_bytes(b"%d" % number)
    (mounts.folder / "data").symlink_to("v1")
    assert world.get_file(b"/data/config") == b"1"
    (mounts.folder / "data.new").symlink_to("v2")
    (mounts.folder / "data.new").rename(mounts.folder / "data")
    assert world.get_file(b"/data/config") == b"2"


def test_a_link_that_gets_the_number_of_another(mounts: Mounts) -> None:
    """As file systems give it to the next file that is made: what was read of the first says nothing of the second."""
    world, _server = mounts.world(shared=True)
    for text in ("one", "another", "third"):
        (mounts.folder / "link").unlink(missing_ok=True)
        (mounts.folder / "link").symlink_to(text)
        assert world.run(world.namespace.root.root.inode.lookup(b"link"))
        assert world.call("readlink", b"/link", BUFFER, 100) == len(text)


def test_what_others_make_meanwhile_is_replaced_only_if_it_may_be(mounts: Mounts) -> None:
    world, server = mounts.world(shared=True)
    target = mounts.folder / "new"
    server.before[gofer.Rename] = lambda: target.write_bytes(b"theirs")
    assert world.call("renameat2", AT_FDCWD, b"/d/f", AT_FDCWD, b"/new", RENAME_NOREPLACE) == -EEXIST.errno
    assert target.read_bytes() == b"theirs"
    target.unlink()
    server.before[gofer.Rename] = lambda: target.write_bytes(b"theirs")
    assert world.call("rename", b"/d/f", b"/new") == 0
    assert target.read_bytes() == b"text"


def test_what_others_make_meanwhile_is_opened(mounts: Mounts) -> None:
    """Two sandboxes append to a log that does not exist yet: open(2) never says EEXIST without O_EXCL."""
    world, server = mounts.world(shared=True)
    server.before[gofer.Create] = lambda: (mounts.folder / "log").write_bytes(b"theirs")
    fd = world.open(b"/log", O_RDWR | O_CREAT)
    assert world.read(fd) == b"theirs"
    server.before[gofer.Create] = lambda: (mounts.folder / "lock").touch()
    assert world.open(b"/lock", O_RDWR | O_CREAT | O_EXCL) == -EEXIST.errno


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "rpc"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_a_file_is_not_taken_for_the_one_that_had_its_name(
    mounts: Mounts, direct: bool, flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is replaced between the walk and the open; dispatch.py begins the call again (and the link is read again)."""
    world, _server = mounts.world(shared=True, direct=direct)
    (mounts.folder / "d/g").write_bytes(b"another")
    name = "open_read" if flags == os.O_RDONLY else "open_by_gofer"
    opened = getattr(Tree, name)

    async def open_late(self: Tree, *args: Any, **options: Any) -> int:
        if (mounts.folder / "d/g").exists():
            (mounts.folder / "d/g").rename(mounts.folder / "d/f")
        return int(await opened(self, *args, **options))

    monkeypatch.setattr(Tree, name, open_late)
    assert world.open(b"/d/f", flags) == -ESTALE.errno
    assert world.read(world.open(b"/d/f", flags)) == b"another"


def test_an_open_file_that_the_host_replaces_can_be_changed(mounts: Mounts) -> None:
    world, _server = mounts.world(shared=True)
    fd = world.open(b"/d/f", O_RDWR)
    (mounts.folder / "d/g").write_bytes(b"another")
    (mounts.folder / "d/g").rename(mounts.folder / "d/f")
    assert world.call("ftruncate", fd, 2) == 0
    assert world.read(fd) == b"te"
    (mounts.folder / "d/f").unlink()
    assert world.call("fchmod", fd, 0o600) == 0


def test_an_open_file_that_the_host_replaces_can_be_mapped_and_locked(mounts: Mounts) -> None:
    world, _server = mounts.world(shared=True)
    fd, reader = world.open(b"/d/f", O_RDWR), world.open(b"/d/f")
    (mounts.folder / "d/g").write_bytes(b"another")
    (mounts.folder / "d/g").rename(mounts.folder / "d/f")
    mapped = world.run(world.fds.get(fd).mapping_fd(mmap.PROT_READ, mmap.MAP_PRIVATE))
    assert os.pread(mapped, 9, 0) == b"text"
    assert world.call("flock", reader, fcntl.LOCK_SH) == world.call("flock", fd, fcntl.LOCK_SH) == 0


def test_locks_do_not_stay_where_a_mapping_keeps_the_file_open(mounts: Mounts) -> None:
    """They go over to a description that can be written to."""
    world, _server = mounts.world(shared=True)
    reader = world.open(b"/d/f")
    mapped = os.dup(world.run(world.fds.get(reader).mapping_fd(mmap.PROT_READ, mmap.MAP_PRIVATE)))
    try:
        assert world.call("flock", reader, fcntl.LOCK_SH) == 0
        fd = world.open(b"/d/f", O_RDWR)
        assert world.call("flock", fd, fcntl.LOCK_SH) == world.call("flock", reader, fcntl.LOCK_UN) == 0
        assert world.call("flock", fd, fcntl.LOCK_EX | fcntl.LOCK_NB) == 0
    finally:
        os.close(mapped)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("flags", [os.O_RDONLY, O_RDWR])
@pytest.mark.parametrize("gone", ["by the guest", "by the host"])
def test_extended_attributes_of_an_open_file_without_a_name(
    mounts: Mounts, shared: bool, flags: int, gone: str
) -> None:
    world, _server = mounts.world(shared=shared)
    os.setxattr(mounts.folder / "d/f", "user.x", b"1")
    fd = world.open(b"/d/f", flags)
    inode = world.fds.get(fd).inode
    if gone == "by the guest":
        assert world.call("unlink", b"/d/f") == 0
    else:
        (mounts.folder / "d/f").unlink()
        (mounts.folder / "d/f").touch()
        if flags == O_RDWR:
            world.run(inode.set_xattr(b"user.y", b"2", 0))
    assert world.run(inode.get_xattr(b"user.x")) == b"1"
    assert b"user.x" in world.run(inode.list_xattrs())


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("flags", [os.O_RDONLY, O_RDWR])
def test_an_open_file_has_the_names_that_were_never_looked_at(mounts: Mounts, shared: bool, flags: int) -> None:
    (mounts.folder / "other").hardlink_to(mounts.folder / "d/f")
    world, _server = mounts.world(shared=shared)
    inode = world.fds.get(world.open(b"/d/f", flags)).inode
    for left in (1, 0):
        assert world.call("unlink", b"/d/f" if left else b"/other") == 0
        assert world.run(inode.attributes()).nlink == left


@pytest.mark.parametrize("direct", [True, False])
def test_an_open_directory_that_the_host_replaces_is_not_taken_for_the_next(mounts: Mounts, direct: bool) -> None:
    world, _server = mounts.world(shared=True, direct=direct)
    inode = world.fds.get(world.open(b"/d")).inode
    (mounts.folder / "d").rename(mounts.folder / "e")
    (mounts.folder / "d").mkdir()
    with pytest.raises(ESTALE):
        world.run(inode.entries())
    assert world.run(inode.attributes()).ino == (mounts.folder / "e").stat().st_ino
    assert world.listdir(b"/d") == []


def test_what_does_not_fit_a_request(mounts: Mounts) -> None:
    world, _server = mounts.world(direct=False)
    root = world.namespace.root.root.inode
    for call, error in (
        (root.set_xattr(b"user.x", bytes(62000), 0), E2BIG),
        (root.fs.tree.stat(b"d/" * 17000 + b"x", root.superblock), ENAMETOOLONG),  # type: ignore[attr-defined]
    ):
        with pytest.raises(error):
            world.run(call)


def test_a_new_directory_is_the_one_that_is_found_later(mounts: Mounts) -> None:
    """Though the mount has another number at the gofer."""
    world, server = mounts.world()
    server.lies[gofer.MakeDirectory] = lambda reply: gofer.Made(
        replace(HostAttributes.unpack_from(reply.attributes), mnt_id=77).pack()
    )
    world.call("mkdir", b"/e", 0o755)
    root = world.namespace.root.root
    made = root.children[b"e"].inode
    assert world.run(root.inode.lookup(b"e")) is made


def test_what_is_made_during_a_listing_is_not_missing_after_it(mounts: Mounts) -> None:
    world, server = mounts.world(direct=False)
    root = world.namespace.root.root.inode

    def late(reply: gofer.Listing) -> gofer.Listing:
        server.lies.clear()
        world.call("mkdir", b"/new", 0o755)
        return reply

    server.lies[gofer.ListDirectory] = late
    world.run(root.entries())
    world.namespace.root.root.forget(b"new")
    assert world.call("stat", b"/new", BUFFER) == 0
    assert world.listdir(b"/") == [b"d", b"new"]


def test_device_numbers_are_the_mounts_own(mounts: Mounts) -> None:
    one, two = (mounts.world()[0] for _ in range(2))
    numbers = [world.stat(path)[0] for world in (one, two) for path in (b"/", b"/d", b"/d/f")]
    assert len(set(numbers)) == 2
    assert os.stat(mounts.folder).st_dev not in numbers


# --- A gofer that lies


def test_a_directory_below_itself(mounts: Mounts) -> None:
    """No path ends in it: a name is looked up, and its directory is found."""
    world, server = mounts.world(direct=False)
    world.stat(b"/d")
    directory = (mounts.folder / "d").stat().st_ino

    def lie(reply: gofer.Walked) -> gofer.Walked:
        told = [HostAttributes.unpack_from(packed) for packed in reply.attributes]
        return gofer.Walked([replace(a, ino=directory, mode=0o40755).pack() for a in told])

    server.lies[gofer.Walk] = lie
    world.stat(b"/d/f")
    assert world.call("stat", b"/d/f/x", BUFFER) == -EIO.errno
    server.lies.clear()
    assert world.call("mkdir", b"/d/f/y", 0o755) == 0
    assert world.listdir(b"/d") == [b"f", b"y"]


def an_end_of_a_pipe() -> int:
    reader, writer = os.pipe()
    os.close(writer)
    return reader


@pytest.mark.parametrize(
    "make",
    [
        lambda: os.open("/", os.O_RDONLY),
        an_end_of_a_pipe,
        lambda: socket.socket(socket.AF_UNIX).detach(),
    ],
    ids=["directory", "pipe", "socket"],
)
def test_descriptors_of_another_kind(mounts: Mounts, make: Callable[[], int]) -> None:
    """They would go on to guests, as files to map."""
    world, server = mounts.world(direct=False)

    def lie(reply: gofer.Opened) -> gofer.Opened:
        reply.file.close()
        return gofer.Opened(reply.attributes, FileFd(make()))

    server.lies = {gofer.Open: lie, gofer.Create: lie}
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    assert world.open(b"/d/f") == world.open(b"/d/f", O_RDWR) == -ESTALE.errno
    assert world.open(b"/d/new", O_RDWR | O_CREAT) == -ESTALE.errno
    assert len(os.listdir("/proc/self/fd")) == before
    server.lies.clear()
    assert world.get_file(b"/d/f") == b"text"


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (gofer.Listing(b"nonsense", 0, True), EBADMSG),
        (gofer.Listing(b"", 0, False), EIO),
    ],
)
def test_listings_that_are_none(mounts: Mounts, lie: gofer.Listing, error: type) -> None:
    world, server = mounts.world(direct=False)
    server.lies[gofer.ListDirectory] = lambda reply: lie
    with pytest.raises(error):
        world.run(world.namespace.root.root.inode.entries())


def test_changes_reach_the_host(mounts: Mounts) -> None:
    world, _server = mounts.world()
    world.put_file(b"/d/new", b"abc", 0o640)
    assert (mounts.folder / "d/new").read_bytes() == b"abc"
    assert (mounts.folder / "d/new").stat().st_mode & 0o7777 == 0o640
    world.call("rename", b"/d", b"/moved")
    assert world.get_file(b"/moved/new") == b"abc"
    world.call("chmod", b"/moved/new", 0o4711)
    assert (mounts.folder / "moved/new").stat().st_mode & 0o7777 == 0o4711


def test_an_unlinked_file_can_be_changed(mounts: Mounts) -> None:
    world, _server = mounts.world()
    fd = world.open(b"/d/f", 2)
    world.call("unlink", b"/d/f")
    assert world.call("ftruncate", fd, 2) == 0
    assert world.call("fchmod", fd, 0o600) == 0
    assert world.read(fd) == b"te"
    world.call("fstat", fd, BUFFER)
    assert int.from_bytes(world.peek(8, BUFFER + 16), "little") == 0


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "rpc"])
@pytest.mark.parametrize("replaced", [False, True], ids=["unlinked", "replaced"])
def test_an_unlinked_file_that_is_open_for_reading_can_be_changed(mounts: Mounts, direct: bool, replaced: bool) -> None:
    """By a descriptor of the gofer's: from before the name goes, and only if somebody has the file open."""
    world, server = mounts.world(direct=direct)
    fd = world.open(b"/d/f", 0)
    world.put_file(b"/d/g", b"another")
    server.asked.clear()
    assert world.call(*(("rename", b"/d/g", b"/d/f") if replaced else ("unlink", b"/d/f"))) == 0
    assert sum(isinstance(request, gofer.Open) for request in server.asked) == direct
    assert world.call("fchmod", fd, 0o604) == 0
    assert world.call("fchown", fd, NO_ID, NO_ID) == 0
    assert world.call("ftruncate", fd, 2) == -EINVAL.errno
    assert world.read(fd) == b"text"
    world.call("fstat", fd, BUFFER)
    assert int.from_bytes(world.peek(4, BUFFER + 24), "little") == 0o100604
    server.asked.clear()
    world.put_file(b"/d/h", b"closed")
    world.call("unlink", b"/d/h")
    assert not any(isinstance(request, gofer.Open) for request in server.asked)


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "rpc"])
def test_an_unlinked_file_that_is_open_for_reading_can_be_mapped(mounts: Mounts, direct: bool) -> None:
    """Though another has it open for writing: theirs is no descriptor that a reader may have."""
    world, server = mounts.world(direct=direct)
    fd, reader = world.open(b"/d/f", O_RDWR), world.open(b"/d/f")
    world.call("unlink", b"/d/f")
    mapped = world.run(world.fds.get(reader).mapping_fd(mmap.PROT_READ, mmap.MAP_PRIVATE))
    assert fcntl.fcntl(mapped, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert os.pread(mapped, 9, 0) == b"text"
    world.call("close", fd)
    world.open(b"/d/g", O_RDWR | O_CREAT)
    server.asked.clear()
    world.call("unlink", b"/d/g")
    assert not any(isinstance(request, gofer.Open) for request in server.asked), "nobody needs one"


def open_files(folder: Path) -> list[str]:
    """Return the names of this process's open files there, " (deleted)" behind those that have none."""
    paths = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    targets = [os.readlink(path) for path in paths if os.path.lexists(path)]
    return sorted(os.path.relpath(target, folder) for target in targets if target.startswith(f"{folder}/"))


def test_what_nobody_has_open_does_not_outlive_its_name(mounts: Mounts) -> None:
    """Descriptors are kept for the next open; of a file without a name they would only keep its blocks."""
    world, _server = mounts.world()
    world.get_file(b"/d/f")
    world.put_file(b"/d/g", b"x")
    world.put_file(b"/d/h", b"x")
    assert open_files(mounts.folder) == ["d/f", "d/g", "d/h"]
    world.call("unlink", b"/d/f")
    world.call("rename", b"/d/g", b"/d/h")
    assert open_files(mounts.folder) == ["d/h"]


def test_the_longest_idle_loses_its_descriptor(mounts: Mounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostfs, "IDLE_MAX", 2)
    world, _server = mounts.world()
    for name in (b"/d/a", b"/d/b", b"/d/c"):
        world.put_file(name, b"x")
    assert open_files(mounts.folder) == ["d/b", "d/c"]
    world.get_file(b"/d/b")
    world.put_file(b"/d/d", b"x")
    assert open_files(mounts.folder) == ["d/b", "d/d"]
    fd = world.open(b"/d/d", 0)
    world.put_file(b"/d/e", b"x")
    assert open_files(mounts.folder) == ["d/b", "d/d", "d/e"]  # what is open counts for nothing
    world.call("close", fd)
    assert open_files(mounts.folder) == ["d/d", "d/e"]


def test_other_names_of_a_file(mounts: Mounts) -> None:
    """Where a file was found first may go: it is still found by its other name."""
    world, _server = mounts.world()
    world.call("link", b"/d/f", b"/d/g")
    world.stat(b"/d/f")
    world.call("unlink", b"/d/g")
    assert world.call("chmod", b"/d/f", 0o600) == 0
    assert world.stat(b"/d/f")[2] == 1


def test_a_single_file(mounts: Mounts) -> None:
    world, _server = mounts.world(source=mounts.folder / "d/f", direct=False)
    root = world.namespace.root.root.inode
    assert root.mode & 0o170000 == 0o100000
    assert world.run(root.size()) == 4


def test_read_only_mounts(mounts: Mounts) -> None:
    world, _server = mounts.world(readonly=True)
    assert world.open(b"/d/f", 1) == -EROFS.errno
    assert world.call("mkdir", b"/x", 0o755) == -EROFS.errno


def test_devices_of_the_host_stay_shut(mounts: Mounts) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make a device")
    try:
        os.mknod(mounts.folder / "null", 0o020666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    world, _server = mounts.world()
    assert world.open(b"/null") == -EACCES.errno
    assert world.stat(b"/null")[3] & 0o170000 == 0o020000


# --- Owners that only the gofer knows (--map-owners)


def belongs(world: World, what: bytes | int) -> tuple[int, int, int]:
    """Return mode, owner and group of a path, not followed, or of a descriptor."""
    name = "fstat" if isinstance(what, int) else "lstat"
    assert world.call(name, what, BUFFER) == 0
    mode, uid, gid = STAT.unpack(world.peek(144))[3:6]
    return mode & 0o7777, uid, gid


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
def test_owners_beside_the_inodes(root_user: None, mounts: Mounts, shared: bool) -> None:
    world, _server = mounts.world(shared=shared, direct=False, map_owners=True)
    assert world.call("chown", b"/d/f", 5, 6) == 0
    assert world.call("chmod", b"/d/f", 0o4711) == 0
    fd = world.open(b"/d/f", 2)
    assert world.write(fd, b"longer than before") == 18
    assert belongs(world, b"/d/f") == belongs(world, fd) == (0o4711, 5, 6)
    assert (mounts.folder / "d/f").stat().st_mode & 0o7777 == 0o711
    assert world.call("mkdir", b"/e", 0o1777) == 0
    assert belongs(world, b"/e") == (0o1755, 0, 0)
    world.call("unlink", b"/d/f")
    assert world.call("fchown", fd, 7, 7) == 0
    assert world.write(fd, b"more") == 4
    assert belongs(world, fd)[1:] == (7, 7)


def test_owners_on_a_shared_mount_are_asked_for(root_user: None, mounts: Mounts) -> None:
    """Another sandbox may have changed them, while the file is open here."""
    world, _server = mounts.world(shared=True, direct=False, map_owners=True)
    other, _other_server = mounts.world(shared=True, direct=False, map_owners=True)
    fd = world.open(b"/d/f", 2)
    assert other.call("chown", b"/d/f", 5, 6) == 0
    assert belongs(world, fd) == belongs(world, b"/d/f") == (0o644, 5, 6)
    (mounts.folder / "d/g").write_bytes(b"another")
    (mounts.folder / "d/g").rename(mounts.folder / "d/f")
    assert belongs(world, fd) == (0o644, 5, 6)
    assert belongs(world, b"/d/f") == (0o644, 0, 0)


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
def test_owners_of_what_cannot_have_one_are_remembered(root_user: None, mounts: Mounts, shared: bool) -> None:
    world, _server = mounts.world(shared=shared, direct=False, map_owners=True)
    world.call("symlink", b"target", b"/link")
    world.call("mknod", b"/fifo", 0o010620, 0)
    assert world.call("lchown", b"/link", 5, NO_ID) == 0
    assert world.call("chown", b"/fifo", 5, 6) == 0
    assert world.call("chmod", b"/fifo", 0o600) == 0
    assert world.call("rename", b"/fifo", b"/d/fifo") == 0
    assert belongs(world, b"/link") == (0o777, 5, 0)
    assert belongs(world, b"/d/fifo") == (0o600, 5, 6)
    fresh, _other_server = mounts.world(shared=shared, direct=False, map_owners=True)
    assert belongs(fresh, b"/d/fifo") == (0o600, 0, 0)
