"""Open directories, of every file system: a listing is a snapshot taken at the start and at each rewind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi._dispatch import lib
from pysc.cabi.linux.dirent import record64
from pysc.cabi.linux.errors import EBADF, EINVAL, EISDIR, ENOENT
from pysc.cabi.linux.stat import S_IFDIR
from pysc.cabi.objects import OBJECTS
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Entry
from pysc.sentry.fs.path import Path, parent
from pysc.sentry.fs.tree import listing
from pysc.sentry.hostfds import NONE, Held, Of, close, hold
from pysc.sentry.kernel.scheduler import yield_now

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Attributes

YIELD_EVERY: Final = 512


class DirectoryFile(FileDescription):
    """Invariant: ``offset`` is the index of the next entry, ``.`` and ``..`` first; also the cookie of records."""

    __slots__ = ("_begun", "_entries", "inode", "place", "root")

    def __init__(self, path: Path, flags: int, root: Path, index: int | None = None) -> None:
        super().__init__(flags, path, index)
        self.inode = path.dentry.inode
        self.place = path
        self.root = root
        self._entries: list[Entry] = []
        self._begun = NONE

    def stand(self, dentry: int) -> None:
        """Let fast paths walk from here: it is that dentry of theirs."""
        lib.pysc_file_place(OBJECTS, self._c, dentry, self.place.mount.id)

    async def read(self, size: int) -> bytes:
        raise EISDIR

    async def pread(self, size: int, offset: int) -> bytes:
        raise EISDIR

    async def write(self, data: bytes) -> int:
        raise EBADF

    async def seek(self, offset: int, whence: int) -> int:
        return self.move(offset, whence)

    async def attributes(self) -> Attributes:
        return await self.inode.attributes()

    async def sync(self, data_only: bool) -> None:
        await self.inode.sync(data_only)

    def go_on(self, fd: int) -> None:
        """A part has been listed, in the order of the host's directory ``fd``, which it takes over."""
        self._begun = hold(fd, Held(Of.LISTING))

    def release(self) -> None:
        if self._begun >= 0:
            close(self._begun)
            self._begun = NONE

    def start(self, entries: list[Entry]) -> None:
        """Take a snapshot, in the order of ``entries``."""
        above = parent(self.place, self.root).dentry.inode
        self._entries = [Entry(b".", self.inode.ino, S_IFDIR), Entry(b"..", above.ino, S_IFDIR), *entries]

    async def _snapshot_begun(self) -> None:
        entries: list[Entry] = []
        for part in listing(self._begun):
            entries += part
            await yield_now()
            if self._begun < 0:
                return  # somebody else has done it
        self.release()
        self.start(entries)

    async def list(self, size: int) -> bytes:
        if self.place.dentry.deleted:
            raise ENOENT
        if self._begun >= 0:
            await self._snapshot_begun()
        if self.offset == 0 or not self._entries:
            self.start(await self.inode.entries())
        records: list[bytes] = []
        room = size
        entries = self._entries
        index = self.offset
        last = min(len(entries), index + YIELD_EVERY)
        while index < last:
            entry = entries[index]
            record = record64(entry.ino, index + 1, entry.kind >> 12, entry.name)
            if len(record) > room:
                if not records:
                    raise EINVAL
                break
            room -= len(record)
            records.append(record)
            index += 1
        self.offset = index
        return b"".join(records)
