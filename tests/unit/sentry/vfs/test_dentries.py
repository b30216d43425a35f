"""The dentry cache: what is given up, and what must not be."""

from __future__ import annotations

import pytest

from pysc.sentry.fs import path as paths
from tests.support.vfs_world import BUFFER, World


@pytest.fixture
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    paths._cached.clear()
    monkeypatch.setattr(paths, "CACHED_MAX", 50)


@pytest.mark.usefixtures("small_cache")
def test_the_cache_stays_small_and_names_stay_right(root: World) -> None:
    root.call("mkdir", b"/d", 0o755)
    for number in range(500):
        root.put_file(b"/d/%d" % number, b"%d" % number)
    top = root.namespace.root.root
    assert len(top.children[b"d"].children) < 120
    for number in range(500):
        assert root.get_file(b"/d/%d" % number) == b"%d" % number


@pytest.mark.usefixtures("small_cache")
def test_what_is_in_use_stays(root: World) -> None:
    root.call("mkdir", b"/cwd", 0o755)
    root.call("mkdir", b"/mnt", 0o755)
    root.put_file(b"/open", b"x")
    root.call("mount", root.poke(b"none\0"), b"/mnt", root.poke(b"tmpfs\0", BUFFER + 64), 0, 0)
    root.put_file(b"/mnt/inside")
    root.call("chdir", b"/cwd")
    fd = root.open(b"/open")
    opened = root.fds.get(fd).path
    for number in range(500):
        root.put_file(b"/%d" % number)
    assert root.stat(b"/mnt/inside")[7] == 0
    assert root.call("rename", b"/cwd", b"/moved") == 0
    assert root.call("getcwd", BUFFER, 100) == 7
    assert opened is not None
    assert root.namespace.root.root.children[b"open"] is opened.dentry
