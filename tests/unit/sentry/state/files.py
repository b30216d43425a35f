"""Files of all kinds in a kernel that is saved (the host's, an overlay's, in memory), and what is found of them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.fcntl import O_CREAT, O_RDONLY, O_RDWR
from pysc.sentry.fs.hostfile import HostStream
from pysc.sentry.fs.hostfs import HostFilesystem
from pysc.sentry.fs.inode import Filesystem
from pysc.sentry.fs.overlay import Overlay
from pysc.sentry.fs.path import Path as Place
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.fs.tree import Tree
from pysc.sentry.hostfds import Held, Of, hold
from tests.unit.sentry.kernel.busy import path
from tests.unit.sentry.kernel.kernel_world import BASE, World

LARGE = b"large" * 50_000
"""More than stands in a structure."""


class Files(msgspec.Struct):
    """Descriptors of init's, and the host's other end of what one of them is of."""

    large: int
    host: int
    copied: int
    stream: int
    writer: int


def open_files(world: World, place: Path) -> Files:
    """Open some of each; ``place`` is a directory of the host's."""
    (place / "file").write_bytes(b"of the host")
    (place / "gone").touch()
    (place / "new").touch()
    (place / "changed").write_bytes(b"before")
    host, lower = world.wait_for(attach(place)), world.wait_for(attach(place))
    host.serve()
    mount(world, b"/host", host)
    over = Overlay(lower, Tmpfs())
    over.serve()
    mount(world, b"/over", over)
    large = _open(world, b"/large", O_RDWR | O_CREAT)
    for start in range(0, len(LARGE), 100_000):
        piece = LARGE[start : start + 100_000]
        assert world.call(world.init, "write", large, world.write(world.init, 0, piece), len(piece)) == len(piece)
    file = _open(world, b"/host/file", O_RDONLY)
    assert _read(world, file, 3) == b"of "
    copied = _open(world, b"/over/changed", O_RDWR)
    assert world.call(world.init, "write", copied, path(world, world.init, b"after"), 5) == 5
    assert world.call(world.init, "unlink", path(world, world.init, b"/over/gone")) == 0
    reader, writer = os.pipe()
    stream = HostStream(hold(reader, Held(Of.STANDARD)), world.platform)  # type: ignore[arg-type]  # a fake one
    stream.get()
    stream.queues()
    number = world.init.fds.install(stream, 1024)
    return Files(large, file, copied, number, writer)


def go_on_with(world: World, files: Files) -> None:
    """Find all of it as it was, and as fast as it was."""
    init = world.init
    assert world.call(init, "lseek", files.large, 0, 0) == 0
    found = b"".join(iter(lambda: _read(world, files.large, 100_000), b""))
    assert found == LARGE
    assert _read(world, files.host, 64) == b"the host"
    assert world.call(init, "lseek", files.copied, 0, 0) == 0
    assert _read(world, files.copied, 64) == b"aftere"
    assert world.call(init, "access", path(world, init, b"/over/gone"), 0) == -2
    assert world.call(init, "access", path(world, init, b"/host/gone"), 0) == 0
    assert world.call(init, "access", path(world, init, b"/over/file"), 0) == 0

    stream = init.fds.get(files.stream)
    assert not stream.poll()
    os.write(files.writer, b"x")
    assert stream.poll()

    # What fast paths read by, and look names up in, has come, too.
    host = init.fds.get(files.host)
    assert host.path is not None
    data = host.path.inode.data()
    assert data is not None
    assert os.pread(data.c.file, 2, 0) == b"of"
    for number in (files.host, files.copied):
        where = init.fds.get(number).path
        assert where is not None
        cache = where.inode.fs.dcache
        assert cache is not None
        assert cache.has_tree
        name = lib.pysc_dentry_enter(objects.OBJECTS, cache.top(), b"new", 3)
        assert lib.pysc_dentry_ask(objects.OBJECTS, name) == 0


async def attach(place: Path) -> HostFilesystem:
    """Return a file system of the host's."""
    tree = hold(os.open(place, os.O_PATH | os.O_DIRECTORY), Held(Of.TREE))
    return await HostFilesystem.attach(Tree(0, tree, None), shared=False, readonly=True)


def mount(world: World, where: bytes, fs: Filesystem) -> None:
    """Make a directory, and mount there."""
    assert world.call(world.init, "mkdir", path(world, world.init, where), 0o755) == 0
    root = world.namespace.root_path
    made = world.namespace.new_mount(fs, None, 0, b"none")
    world.namespace.attach(made, Place(root.mount, root.dentry.children[where[1:]]))


def _open(world: World, name: bytes, flags: int) -> int:
    number = world.call(world.init, "open", path(world, world.init, name), flags, 0o600)
    assert number >= 0, name
    return number


def _read(world: World, number: int, size: int) -> bytes:
    return world.read(world.init, 0, world.call(world.init, "read", number, BASE, size))
