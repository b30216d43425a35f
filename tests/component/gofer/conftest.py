"""A real gofer in a process and a mount namespace of its own, and both ways to look at what it serves."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from pysc.cabi import confine, host
from pysc.cabi.build_id import BUILD
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.mount import MNT_DETACH
from pysc.cabi.linux.prctl import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS
from pysc.cabi.linux.sched import CLONE_NEWNS, CLONE_NEWUSER
from pysc.gofer import main
from pysc.urpc.blocking import Client
from pysc.urpc.message import Request
from pysc.urpc.schema import gofer
from tests.support.needs import missing

USER = 54321
"""An ordinary user: nobody that the host knows."""


@pytest.fixture(autouse=True)
def no_leaked_fds() -> Iterator[None]:
    """Fail a test that leaves a descriptor open."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before


class Export(NamedTuple):
    source: bytes
    readonly: bool = False


def _become_user(uid: int) -> None:
    """Be root of a user namespace in which only ``uid`` of the host exists."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    confine.prctl(PR_SET_DUMPABLE, 1)
    confine.unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {uid} 1")


def _serve(
    sock: socket.socket,
    exports: Sequence[Export],
    *,
    trees: bool,
    free: int | None,
    user: int,
    map_owners: bool,
    left: Sequence[int],
) -> None:
    if user:
        _become_user(user)
    confine.unshare(CLONE_NEWNS)
    readable: dict[int, int] = {}
    if left:
        mounts = main.take_up(left, map_owners=map_owners)
    else:
        mounts, readable = main.set_up(exports, trees=trees, map_owners=map_owners)
    confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
    leaves = main.leave(mounts)
    socket.send_fds(sock, [b"x"], list(readable.values()))
    socket.send_fds(sock, [b"x"], leaves)
    for fd in (leaves[0], *readable.values()):
        os.close(fd)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = (hard // 2, hard) if free is None else (_leaving(free),) * 2
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    main.serve(sock, mounts)


def _leaving(free: int) -> int:
    """Return the limit that leaves so many free descriptors."""
    listed = os.listdir("/proc/self/fd")  # with the one that this took
    taken = {int(name) for name in listed if os.path.lexists(f"/proc/self/fd/{name}")}
    return next(limit for limit in range(free, 1 << 20) if limit - sum(number < limit for number in taken) == free)


def requests(*made: Request[Any]) -> tuple[Request[Any], ...]:
    """Return requests of several kinds, as what they have in common."""
    return made


class Gofer:
    """A gofer process, its client and the trees that it has handed out; ``left`` is for one that takes its place."""

    def __init__(
        self,
        *exports: Export,
        trees: bool = True,
        free: int | None = None,
        user: int = 0,
        map_owners: bool = False,
        left: Sequence[int] = (),
        build: str = BUILD,
    ) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            try:
                self.sock.close()
                _serve(theirs, exports, trees=trees, free=free, user=user, map_owners=map_owners, left=left)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(9)
        theirs.close()
        _, self.trees, _, _ = socket.recv_fds(self.sock, 1, len(exports))
        _, self.left, _, _ = socket.recv_fds(self.sock, 1, len(exports) + 1)
        self.client = Client(self.sock, gofer.GOFER, build=build)
        self.call = self.client.call

    def wait_end(self) -> int:
        """Hang up; return how the process ended."""
        self.client.close()
        for fd in (*self.trees, *self.left):
            os.close(fd)
        self.trees = self.left = []
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it, and see it go."""
        self.kill()
        os.waitpid(self.pid, 0)
        self.pid = 0


@pytest.fixture(scope="session")
def mounting() -> None:
    """Probe for the right to make mounts."""
    pid = os.fork()
    if not pid:
        try:
            confine.unshare(CLONE_NEWNS)
            os._exit(0)
        except OSError:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        missing("needs the right to unshare mounts")


@pytest.fixture
def start(mounting: None) -> Iterator[Callable[..., Gofer]]:
    """Return a function that starts a gofer; all end with the test, and well."""
    started: list[Gofer] = []

    def starter(*exports: Export, **options: object) -> Gofer:
        started.append(Gofer(*exports, **options))  # type: ignore[arg-type]
        return started[-1]

    yield starter
    assert [made.wait_end() for made in started] == [0] * len(started)


@pytest.fixture
def tree(reachable: Path) -> Path:
    """Return a directory of an ordinary user's."""
    os.chown(reachable, USER, USER)
    return reachable


@pytest.fixture
def memory_folder(mounting: None, tmp_path: Path) -> Iterator[Path]:
    """A memory file system of its own."""
    place = tmp_path / "memory"
    place.mkdir()
    confine.mount(b"none", os.fsencode(place), b"tmpfs", data=b"mode=755")
    yield place
    confine.umount(os.fsencode(place), MNT_DETACH)


@pytest.fixture
def served(start: Callable[..., Gofer], tmp_path: Path) -> Gofer:
    """A gofer of ``tmp_path``, writable."""
    tmp_path.chmod(0o755)
    return start(Export(os.fsencode(tmp_path)))


class View(Protocol):
    """What a sentry needs of a tree to read it."""

    def stat(self, path: bytes) -> HostAttributes: ...
    def walk(self, path: bytes) -> tuple[list[HostAttributes], int]: ...
    def read_link(self, path: bytes) -> bytes: ...
    def read(self, path: bytes) -> bytes: ...
    def list(self, path: bytes, size: int = 4096) -> list[host.Entry]: ...


class Direct:
    """Reading below the tree, as a sentry does by default."""

    def __init__(self, served: Gofer) -> None:
        self._tree = served.trees[0]

    def stat(self, path: bytes) -> HostAttributes:
        return host.stat_at(self._tree, path)

    def walk(self, path: bytes) -> tuple[list[HostAttributes], int]:
        return host.walk_at(self._tree, path)

    def read_link(self, path: bytes) -> bytes:
        return host.read_link_at(self._tree, path)

    def read(self, path: bytes) -> bytes:
        fd = host.open_read_at(self._tree, path, os.O_NONBLOCK)
        try:
            return host.pread(fd, 65536, 0)
        finally:
            os.close(fd)

    def list(self, path: bytes, size: int = 4096) -> list[host.Entry]:
        fd = host.open_read_at(self._tree, path, os.O_DIRECTORY)
        entries, cookie, end = [], 0, False
        try:
            while not end:
                some, cookie, end = host.list_directory(fd, cookie, size, attributes=True)
                entries += some
        finally:
            os.close(fd)
        return entries


class Rpc:
    """Reading through the gofer."""

    def __init__(self, served: Gofer) -> None:
        self._call = served.call

    def stat(self, path: bytes) -> HostAttributes:
        if not path:
            return HostAttributes.unpack_from(self._call(gofer.Attach(0)).root)
        found, error = self.walk(path)
        if error or len(found) <= path.count(b"/"):
            raise OSError(error or 40, "walk")
        return found[-1]

    def walk(self, path: bytes) -> tuple[list[HostAttributes], int]:
        walked = self._call(gofer.Walk(gofer.File(0, b""), path.split(b"/")))
        return [HostAttributes.unpack_from(packed) for packed in walked.attributes], walked.errno

    def read_link(self, path: bytes) -> bytes:
        return self._call(gofer.ReadLink(gofer.File(0, path))).target

    def read(self, path: bytes) -> bytes:
        with self._call(gofer.Open(gofer.File(0, path), os.O_RDONLY)).file as file:
            return host.pread(file.fileno(), 65536, 0)

    def list(self, path: bytes, size: int = 4096) -> list[host.Entry]:
        entries, cookie, end = [], 0, False
        while not end:
            listing = self._call(gofer.ListDirectory(gofer.File(0, path), cookie, size))
            entries += host.parse_listing_untrusted(listing.records)
            cookie, end = listing.cookie, listing.end
        return entries


@pytest.fixture(params=[Direct, Rpc])
def view(request: pytest.FixtureRequest, served: Gofer) -> View:
    """Each way to read ``tmp_path``."""
    made: View = request.param(served)
    return made
