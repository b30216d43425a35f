"""inotify(7): what is told to who watches a file or a directory."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from pysc.cabi.linux.errors import EAGAIN, EINVAL, ENOTDIR
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.sentry.fs import notify
from tests.support.vfs_world import BUFFER, World

ALL = 0xFFF
IGNORED = 0x8000
ISDIR = 0x4000_0000


@pytest.fixture
def watcher(root: World) -> Iterator[int]:
    root.call("mkdir", b"/d", 0o755)
    fd = root.call("inotify_init1", O_NONBLOCK)
    yield fd
    if fd in root.fds:
        root.call("close", fd)


def events(world: World, fd: int) -> list[tuple[int, int, bytes]]:
    """Read what has happened: (watch, mask, name)."""
    size = world.call("read", fd, BUFFER, 4096)
    if size == -EAGAIN.errno:
        return []
    data, at, found = world.peek(size), 0, []
    while at < size:
        wd, mask, _cookie, length = struct.unpack_from("<iIII", data, at)
        found.append((wd, mask, data[at + 16 : at + 16 + length].rstrip(b"\0")))
        at += 16 + length
    return found


def test_life_of_a_file_in_a_directory(root: World, watcher: int) -> None:
    wd = root.call("inotify_add_watch", watcher, b"/d", ALL)
    root.put_file(b"/d/f", b"text")
    root.call("chmod", b"/d/f", 0o600)
    root.call("rename", b"/d/f", b"/d/g")
    root.call("unlink", b"/d/g")
    assert events(root, watcher) == [
        (wd, notify.IN_CREATE, b"f"),
        (wd, notify.IN_OPEN, b"f"),
        (wd, notify.IN_MODIFY, b"f"),
        (wd, notify.IN_CLOSE_WRITE, b"f"),
        (wd, notify.IN_ATTRIB, b"f"),
        (wd, notify.IN_MOVED_FROM, b"f"),
        (wd, notify.IN_MOVED_TO, b"g"),
        (wd, notify.IN_DELETE, b"g"),
    ]
    assert events(root, watcher) == []


def test_only_what_was_asked_for(root: World, watcher: int) -> None:
    wd = root.call("inotify_add_watch", watcher, b"/d", notify.IN_CREATE)
    root.call("mkdir", b"/d/e", 0o755)
    root.call("rmdir", b"/d/e")
    assert events(root, watcher) == [(wd, notify.IN_CREATE | ISDIR, b"e")]
    assert root.call("inotify_add_watch", watcher, b"/d", notify.IN_DELETE | 0x2000_0000) == wd
    root.put_file(b"/d/f")
    root.call("unlink", b"/d/f")
    assert [mask for _wd, mask, _name in events(root, watcher)] == [notify.IN_CREATE, notify.IN_DELETE]


def test_the_end_of_a_watch(root: World, watcher: int) -> None:
    root.put_file(b"/f")
    first = root.call("inotify_add_watch", watcher, b"/f", notify.IN_DELETE_SELF)
    second = root.call("inotify_add_watch", watcher, b"/d", ALL)
    root.call("unlink", b"/f")
    assert root.call("inotify_rm_watch", watcher, second) == 0
    assert root.call("inotify_rm_watch", watcher, second) == -EINVAL.errno
    assert events(root, watcher) == [
        (first, notify.IN_DELETE_SELF, b""),
        (first, IGNORED, b""),
        (second, IGNORED, b""),
    ]
    assert not root.namespace.root.fs.watchers


def test_small_reads(root: World, watcher: int) -> None:
    root.call("inotify_add_watch", watcher, b"/d", notify.IN_CREATE)
    root.put_file(b"/d/name")
    root.put_file(b"/d/other")
    assert root.call("read", watcher, BUFFER, 31) == -EINVAL.errno
    assert root.call("read", watcher, BUFFER, 40) == 32
    assert root.call("read", watcher, BUFFER, 40) == 32


def test_refusals(root: World, watcher: int) -> None:
    root.put_file(b"/f")
    assert root.call("inotify_add_watch", watcher, b"/d", 0) == -EINVAL.errno
    assert root.call("inotify_add_watch", root.open(b"/f"), b"/d", ALL) == -EINVAL.errno
    assert root.call("inotify_add_watch", watcher, b"/f", ALL | 0x0100_0000) == -ENOTDIR.errno


def test_closing_ends_it_all(root: World, watcher: int) -> None:
    root.call("inotify_add_watch", watcher, b"/d", ALL)
    assert root.namespace.root.fs.watchers
    root.call("close", watcher)
    assert not root.namespace.root.fs.watchers
