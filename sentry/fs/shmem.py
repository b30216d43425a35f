"""The tmpfs that nobody sees: memfds, shared anonymous and System V memory live there."""

from __future__ import annotations

from pysc.sentry.fs.memory_file import Budget
from pysc.sentry.fs.path import Dentry, Mount
from pysc.sentry.fs.tmpfs import Tmpfs


class Shmem(Tmpfs):
    """A tmpfs with a mount of its own, outside of every namespace."""

    __slots__ = ("top",)

    def __init__(self, parent: Budget | None) -> None:
        super().__init__(parent)
        self.top = Mount(self, Dentry(b"/", None, self.root))


class _Holder:
    fs: Shmem | None = None


def shmem() -> Shmem:
    """Return it."""
    if _Holder.fs is None:
        _Holder.fs = Shmem(None)
    return _Holder.fs


def bound(budget: Budget) -> None:
    """Charge what is made from now on to ``budget``; before anything is made."""
    _Holder.fs = Shmem(budget)
