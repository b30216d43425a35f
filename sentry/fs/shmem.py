"""The tmpfs that nobody sees: memfds live there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.sentry.fs.path import Dentry, Mount
from pysc.sentry.fs.tmpfs import Tmpfs

if TYPE_CHECKING:
    from pysc.sentry.fs.memory_file import Budget


class Shmem(Tmpfs):
    """A tmpfs with a mount of its own, outside of every namespace."""

    __slots__ = ("top",)

    def __init__(self, parent: Budget | None) -> None:
        super().__init__(parent)
        self.top = Mount(self, Dentry(b"/", None, self.root))
