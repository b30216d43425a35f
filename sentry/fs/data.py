"""Where the bytes of a regular file are, as fast paths know it, and what stat(2) shows: the face of a struct pysc_data.

An inode that fast paths may read has one; without one, or with nothing in it, every call takes the general path.  A
directory's never has bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import lib

REDIRECTED: Final = 1 << 40
"""How much more a change of what it redirects to counts: sums of versions never come again."""


class Data:
    """The structure, as ``c``.  What it names, a descriptor or other data, lives at least as long as it is named."""

    __slots__ = ("c", "index")

    def __init__(self) -> None:
        self.index = objects.new(objects.DATA)
        self.c: Any = lib.pysc_data_at(objects.OBJECTS, self.index)
        self.c.file = self.c.donable = -1

    def __del__(self, free: Callable[[int], None] = objects.free_data) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    @property
    def generation(self) -> int:
        """What tells it from others that had the index."""
        value: int = self.c.header.generation
        return value

    def set_host(self, fd: int, donable: int = -1) -> None:
        """The bytes are those of a descriptor of the host; -1: nowhere.  ``donable`` is as for :meth:`donate`."""
        c = self.c
        lib.pysc_data_donate(objects.OBJECTS, c, donable)
        c.where = lib.PYSC_DATA_HOST if fd >= 0 else lib.PYSC_DATA_NONE
        c.file = fd
        c.refuses = 0
        c.version += 1

    def set_other(self, other: Data | None) -> None:
        """The bytes are those of another inode."""
        c = self.c
        c.version += REDIRECTED
        lib.pysc_lent_end(objects.OBJECTS)
        if other is None:
            c.where = lib.PYSC_DATA_NONE
            return
        c.where = lib.PYSC_DATA_OTHER
        c.target = other.index
        c.target_generation = other.generation

    def donate(self, fd: int) -> None:
        """Let guests who may read have this descriptor, which is open for reading only (-1: none), to read by."""
        lib.pysc_data_donate(objects.OBJECTS, self.c, fd)

    def touch(self) -> None:
        """Something that stat(2) shows has changed, or will before anybody can ask."""
        self.c.version += 1

    def distrust(self) -> None:
        """Others may change the file at any time."""
        self.c.uncertain = 1

    def keep(self, shown: bytes) -> None:
        """Answer fstat(2) with this struct stat until something changes."""
        lib.pysc_data_keep(objects.OBJECTS, self.c, shown)
