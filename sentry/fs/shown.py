"""What fast paths know of an inode: the face of a struct pysc_inode."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pysc.cabi import objects
from pysc.cabi._dispatch import lib

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode


class ShownInode:
    """Permissions, and the data of a regular file; as long as names that lead to it are shown (dcache.py)."""

    __slots__ = ("_c", "index")

    def __init__(self, inode: Inode) -> None:
        self.index = objects.new(objects.INODE)
        self._c: Any = lib.pysc_inode_at(objects.OBJECTS, self.index)
        data = inode.data()
        if data is not None:
            self._c.data, self._c.data_generation = data.index + 1, data.generation
        self._c.withdrawn = inode.locks is not None
        self.update(inode)

    def __del__(self, free: Callable[[int], None] = objects.free_inode) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    def update(self, inode: Inode) -> None:
        """Take over the permissions of the inode."""
        c = self._c
        c.mode, c.uid, c.gid = inode.mode, inode.uid, inode.gid

    def withdraw(self) -> None:
        """Opening and closing it is ours alone from now on."""
        self._c.withdrawn = True
