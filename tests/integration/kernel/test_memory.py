"""The sentry's own memory is bounded, whatever guests have it keep: first what outlives them is refused, then all."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from pysc.cabi import objects
from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import ENOBUFS, ENOMEM, ENOSPC, LinuxError
from pysc.cabi.linux.socket import SOCK_DGRAM
from pysc.sentry.fs.inode import Owner
from pysc.sentry.fs.path import MountNamespace
from pysc.sentry.fs.pipe import Pipe
from pysc.sentry.fs.proc.base import KEPT_MAX, PseudoFs, TextDescription, TextFile, constant
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.net.message import PeerCredentials
from pysc.sentry.net.namespace import NetNamespace
from pysc.sentry.net.unix import UnixSocket
from pysc.sentry.net.unix_receive import Packet
from pysc.sentry.syscalls.x86_64 import X86_64

MOST = 32 << 20
STEP = 1 << 20
MARGIN = 4 << 20
ROOT = Owner(0, 0)


@pytest.fixture
def watchdog() -> Iterator[None]:
    ctypes.CDLL(None).malloc_trim(0)  # what earlier tests have freed counts as used until it is given back
    engine = lib.pysc_engine_new()
    memory = os.open("/proc/self/statm", os.O_RDONLY)
    running = lib.pysc_watchdog_start(engine, objects.OBJECTS, -1, memory, ffi.new("int32_t *"))
    assert running
    lib.pysc_memory_limit(objects.OBJECTS, MOST)
    time.sleep(0.05)  # it has looked
    yield
    lib.pysc_memory_limit(objects.OBJECTS, 0)
    until(lib.PYSC_MEMORY_ENOUGH)
    lib.pysc_watchdog_stop(running)
    lib.pysc_engine_free(engine)


def until(state: int) -> None:
    end = time.monotonic() + 10
    while lib.pysc_memory_state(objects.OBJECTS) != state:
        assert time.monotonic() < end
        time.sleep(0.001)


def hoard(state: int) -> list[bytearray]:
    """Take memory, which is really there, until that is so, and a little more: it shall stay so."""
    held = []
    while lib.pysc_memory_state(objects.OBJECTS) != state:
        held.append(bytearray(b"x") * STEP)
        assert len(held) < 8 * MOST // STEP
        time.sleep(0.01)
    return [*held, bytearray(b"x") * MARGIN]


def ended(coroutine: object) -> LinuxError | None:
    """What a coroutine that does not wait fails with."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return None
    except LinuxError as error:
        return error
    raise AssertionError("it waits")


def text_of(size: int) -> TextDescription:
    """Open a file of procfs."""
    return TextDescription(TextFile(PseudoFs(), constant(bytes(size))), cast(Any, None), 0, cast(Any, None))


def kept(file: TextDescription) -> bool:
    """Read it from its start, and return whether its text is kept."""
    assert ended(file.pread(1, 0)) is None
    return file._text is not None


def test_refused_in_turn(watchdog: None) -> None:
    fs, pipe, net = Tmpfs(), Pipe(), NetNamespace()
    namespace = MountNamespace.of(fs)
    socket = UnixSocket(net, SOCK_DGRAM)
    texts = [text_of(KEPT_MAX + 1), text_of(KEPT_MAX)]
    packet = Packet(socket, b"x", (), PeerCredentials(1, 0, 0))
    assert ended(fs.root.mkdir(b"a", 0o755, ROOT)) is None
    namespace.root_path.dentry.remember_absent(b"d")
    first = hoard(lib.PYSC_MEMORY_SHORT)
    assert isinstance(ended(fs.root.mkdir(b"b", 0o755, ROOT)), ENOSPC)
    assert isinstance(ended(fs.root.set_xattr(b"user.x", b"", 0)), ENOSPC)
    with pytest.raises(ENOSPC):
        namespace.new_mount(fs, None, 0, b"")
    root = namespace.root_path.dentry
    root.remember_absent(b"c")
    assert root.absent == set(), "fast paths are told when a name appears that they were told to be absent"
    pipe.append(b"x", packet=False)  # processes can still take away what is there
    socket.post(packet)
    second = hoard(lib.PYSC_MEMORY_OUT)
    with pytest.raises(ENOMEM):
        pipe.append(bytes(8192), packet=False)
    with pytest.raises(ENOMEM):
        Pipe()
    with pytest.raises(ENOMEM):
        UnixSocket(net, SOCK_DGRAM)
    with pytest.raises(ENOBUFS):
        socket.post(packet)
    assert [kept(file) for file in texts] == [False, True]
    del first, second
    until(lib.PYSC_MEMORY_ENOUGH)
    Pipe().append(b"x", packet=False)
    root.remember_absent(b"c")
    assert root.absent == {b"c"}
    assert [kept(file) for file in texts] == [True, True]
    assert ended(fs.root.mkdir(b"b", 0o755, ROOT)) is None


def test_calls_that_grow() -> None:
    """The list is of calls that exist."""
    rows = {row.name: row for row in X86_64.rows.values()}
    assert [rows[name].grows for name in ("fork", "timer_create", "getdents64", "close")] == [True, True, True, False]


def test_mounts_are_counted_before_they_are_copied() -> None:
    """A recursive bind doubles a tree each time: what would be too many is not even begun."""
    from pysc.sentry.fs import path
    from pysc.sentry.fs.mounting import bind_at, mount_at
    from pysc.sentry.fs.path import Dentry, Path

    fs = Tmpfs()
    namespace = MountNamespace.of(fs)
    ended(fs.root.mkdir(b"a", 0o755, ROOT))
    top = namespace.root_path
    place = Path(top.mount, Dentry(b"a", top.dentry, fs.root.children[b"a"]))
    mount_at(Tmpfs(), place, 0, b"none")

    def double() -> None:
        for _ in range(20):
            bind_at(namespace.root_path, place, recursive=True)

    with pytest.raises(ENOSPC):
        double()
    assert path.MOUNTS_MAX / 4 < len(namespace.mounts) <= path.MOUNTS_MAX
