"""Fixtures of the sentry's unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pysc.sentry.fs import notify
from pysc.sentry.fs.inode import Filesystem
from pysc.sentry.fs.inotify import InotifyFile
from tests.support.saved import check_objects


@pytest.fixture(autouse=True)
def nobody_watches_any_more(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Worlds end with what is open in them, but fast paths of this process answer less while something is watched."""
    listened: list[tuple[Filesystem, notify.Watcher]] = []
    listen = notify.listen

    def note(fs: Filesystem, watcher: notify.Watcher) -> None:
        listened.append((fs, watcher))
        listen(fs, watcher)

    monkeypatch.setattr(notify, "listen", note)
    yield
    for fs, watcher in listened:
        if isinstance(watcher, InotifyFile):
            watcher.release()
        elif watcher in fs.watchers:
            notify.unlisten(fs, watcher)


@pytest.fixture(autouse=True)
def what_is_left_can_be_saved() -> Iterator[None]:
    """Whatever a test has made of the objects that fast paths share, another process could begin with."""
    yield
    check_objects()
