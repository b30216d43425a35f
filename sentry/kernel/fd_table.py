"""Descriptor tables (struct files_struct): what CLONE_FILES shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EBADF, EMFILE, ENOMEM
from pysc.cabi.linux.resource import RLIM_INFINITY
from pysc.sentry.fs.file import FileDescription, referenced

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

FD_MAX: Final = 1 << 20
"""Upper bound of any table (fs.nr_open)."""


class FDTable:
    """Descriptors to open file descriptions: the face of a struct pysc_table, which fast paths work on too.

    Invariant: each number holds one reference, until the last user has left.
    """

    __slots__ = ("_c", "index", "users")

    def __init__(self, index: int | None = None) -> None:
        self.index = objects.new(objects.TABLE) if index is None else index
        self._c: Any = lib.pysc_table_at(objects.OBJECTS, self.index)
        self.users = 1
        """Tasks that share the table."""

    def __del__(self, free: Callable[[int], None] = objects.free_table) -> None:
        if hasattr(self, "index"):  # not if there was none left
            free(self.index)

    @property
    def lock_owner(self) -> int:
        """What names it as the owner of POSIX locks (locks.py)."""
        owner: int = lib.pysc_table_lock_owner(self._c)
        return owner

    def __len__(self) -> int:
        count: int = self._c.count
        return count

    def __contains__(self, fd: int) -> bool:
        """Whether the number is open."""
        return lib.pysc_table_get(self._c, fd) >= 0

    def __iter__(self) -> Iterator[int]:
        """Iterate the open numbers, ascending; what is opened or closed meanwhile may be missed."""
        return self._numbers(False)

    def _numbers(self, cloexec: bool) -> Iterator[int]:
        fd = lib.pysc_table_next(self._c, 0, cloexec)
        while fd >= 0:
            yield fd
            fd = lib.pysc_table_next(self._c, fd + 1, cloexec)

    def set_limits(self, nofile: int, fsize: int) -> None:
        """Tell fast paths the RLIMIT_* of a user: the strictest of several that share the table counts."""
        c = self._c
        nofile = min(nofile, FD_MAX)
        c.limit = min(nofile, c.limit) if self.users > 1 and c.limit else nofile
        c.bounded = bool((self.users > 1 and c.bounded) or fsize != RLIM_INFINITY)

    def get(self, fd: int) -> FileDescription:
        """Return the description (borrowed: take a reference before any await), which O_PATH has none of.  EBADF."""
        file = self.get_raw(fd)
        if file.is_place:
            raise EBADF
        return file

    def get_raw(self, fd: int) -> FileDescription:
        """Return what a number stands for, be it only a place (O_PATH).  EBADF."""
        index = lib.pysc_table_get(self._c, fd)
        if index < 0:
            raise EBADF
        return referenced[index]

    def has(self, fd: int, file: FileDescription) -> bool:
        """Whether a number stands for that description."""
        return bool(lib.pysc_table_get(self._c, fd) == file.index)

    def check_room(self, limit: int) -> None:
        """Refuse what would make something, before it does.  EMFILE: no number below ``limit`` is free."""
        if lib.pysc_table_lowest(self._c) >= min(limit, FD_MAX):
            raise EMFILE

    def install(self, file: FileDescription, limit: int, *, cloexec: bool = False, lowest: int = 0) -> int:
        """Give ``file`` the lowest free number from ``lowest`` on; takes a reference.  EMFILE at ``limit``."""
        if lowest >= limit:
            raise EMFILE
        self._may_grow(lowest)
        fd = lib.pysc_table_install(self._c, file.index, lowest, min(limit, FD_MAX), cloexec)
        if fd < 0:
            raise ENOMEM if fd == -ENOMEM.errno else EMFILE
        file.get()
        return fd

    def replace(self, task: Task, fd: int, file: FileDescription, limit: int, *, cloexec: bool = False) -> None:
        """Make ``fd`` refer to ``file``, closing what was there (dup2(2)).  EBADF at ``limit``."""
        if not 0 <= fd < min(limit, FD_MAX):
            raise EBADF
        self._may_grow(fd)
        file.get()
        try:
            self.close(task, fd)
        except EBADF:
            pass
        try:
            objects.check(lib.pysc_table_put(self._c, fd, file.index, cloexec))
        except ENOMEM:
            file.put()
            raise

    def _may_grow(self, fd: int) -> None:
        """ENOMEM: there would have to be room for the number ``fd``, and memory is out."""
        if fd >= self._c.capacity and objects.memory_is_out():
            raise ENOMEM

    def close(self, task: Task, fd: int) -> None:
        """close(2) of one number.  EBADF."""
        index = lib.pysc_table_remove(objects.OBJECTS, self._c, fd)
        if index < 0:
            raise EBADF
        if index not in referenced and lib.pysc_file_forget(objects.OBJECTS, index):
            return
        file = referenced[index]
        file.flush(task)
        file.put()

    def cloexec(self, fd: int) -> bool:
        """Whether FD_CLOEXEC is set.  EBADF."""
        value = lib.pysc_table_cloexec(self._c, fd)
        if value < 0:
            raise EBADF
        return bool(value)

    def set_cloexec(self, fd: int, value: bool) -> None:
        """Set or clear FD_CLOEXEC.  EBADF."""
        if lib.pysc_table_set_cloexec(self._c, fd, value) < 0:
            raise EBADF

    def copy(self) -> FDTable:
        """Return an unshared copy (fork).  ENOMEM."""
        index = lib.pysc_table_copy(objects.OBJECTS, self._c)
        if index < 0:
            raise ENOMEM
        return FDTable(index)

    def close_on_exec(self, task: Task) -> None:
        """Close what has FD_CLOEXEC."""
        for fd in self._numbers(True):
            self.close(task, fd)

    def leave(self, task: Task) -> None:
        """One user less; the last one closes everything."""
        self.users -= 1
        if self.users == 0:
            for fd in self:
                self.close(task, fd)
