"""What all kinds share: identity and permissions of an object, and a namespace's table of one kind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from pysc.cabi.linux.capability import CAP_IPC_OWNER, CAP_SYS_ADMIN
from pysc.cabi.linux.clock import CLOCK_REALTIME_COARSE, SECOND
from pysc.cabi.linux.errors import EACCES, EEXIST, EIDRM, EINVAL, ENOENT, ENOMEM, ENOSPC, EPERM
from pysc.cabi.linux.ipc import IPC_CREAT, IPC_EXCL, IPC_PERM, IPC_PRIVATE, IPC_SEQUENCES, IPCMNI
from pysc.cabi.objects import memory_is_short
from pysc.sentry.kernel.credentials import NO_ID
from pysc.sentry.kernel.scheduler import yield_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.task import Record

T = TypeVar("T", bound="IpcObject")

PERMISSIONS: Final = 0o777
READ: Final = 0o444
WRITE: Final = 0o222
EXECUTE: Final = 0o111
MESSAGE_MOST: Final = 1 << 20
"""Bytes of a message, System V's or POSIX's, for the privileged, too: each is copied at once.  Linux has more."""
AT_ONCE: Final = 256
"""Objects that are looked at between two yields."""
TURN_LEAST: Final = 64
"""Indices that are gone through, at least, before one is used again."""


def seconds() -> int:
    """Return the time that objects remember, by the clock of time(2)."""
    return time.clock_gettime_ns(CLOCK_REALTIME_COARSE) // SECOND


class IpcObject:
    """Invariant: unless ``removed`` it stands in its table, under its ``key``, too, if that is not IPC_PRIVATE."""

    __slots__ = ("cgid", "ctime", "cuid", "gid", "id", "key", "mode", "removed", "uid")

    def __init__(self, key: int, flags: int, creds: Credentials) -> None:
        """``flags`` are those of shmget(2) and its kin, which have the permissions."""
        self.id = -1
        self.key = key
        self.mode = flags & PERMISSIONS
        self.uid = self.cuid = creds.euid
        self.gid = self.cgid = creds.egid
        self.ctime = seconds()
        """When it was made, or changed by IPC_SET and its kin."""
        self.removed = False

    def status(self) -> bytes:
        """Return what IPC_STAT tells of it."""
        raise NotImplementedError

    def permissions(self) -> bytes:
        """Return its struct ipc64_perm."""
        sequence = self.id // IPCMNI
        return IPC_PERM.pack(self.key, self.uid, self.gid, self.cuid, self.cgid, self.mode, sequence & 0xFFFF)

    def check(self, creds: Credentials, wanted: int) -> None:
        """Refuse what the mode does not let somebody: bits as in a mode, of which class is the same.  EACCES."""
        wanted = (wanted >> 6 | wanted >> 3 | wanted) & 0o7
        granted = self.mode
        if creds.euid in (self.cuid, self.uid):
            granted >>= 6
        elif creds.in_group(self.cgid) or creds.in_group(self.gid):
            granted >>= 3
        if wanted & ~granted and not creds.has_capability(CAP_IPC_OWNER):
            raise EACCES

    def check_owner(self, creds: Credentials) -> None:
        """Refuse who may not change or remove it.  EPERM."""
        if creds.euid not in (self.cuid, self.uid) and not creds.has_capability(CAP_SYS_ADMIN):
            raise EPERM

    def set_permissions(self, permissions: bytes) -> None:
        """Set what IPC_SET sets of a struct ipc64_perm.  EINVAL: no such user or group can be."""
        _key, uid, gid, _cuid, _cgid, mode, _sequence = IPC_PERM.unpack(permissions)
        if NO_ID in (uid, gid):
            raise EINVAL
        self.uid, self.gid = uid, gid
        self.mode = self.mode & ~PERMISSIONS | mode & PERMISSIONS
        self.ctime = seconds()


class IpcTable(Generic[T]):
    """The objects of one kind by index, at most ``limit``.

    An index is used again when all others have had their turn, under another sequence number: an id that somebody kept
    of an object that is gone is told from that of a later one.
    """

    __slots__ = ("_keys", "_last", "_objects", "_sequence", "limit", "next")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.next = -1
        """The id that the next one is to have, if it can; -1: whichever."""
        self._objects: dict[int, T] = {}
        self._keys: dict[int, T] = {}
        self._last = -1
        """The index that was given last."""
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._objects.values()))

    async def walk(self) -> AsyncIterator[T]:
        """Iterate all, and let others have their turn meanwhile."""
        for count, known in enumerate(self, 1):
            yield known
            if count % AT_ONCE == 0:
                await yield_now()

    @property
    def highest(self) -> int:
        """The highest index in use; 0 if there is none."""
        return max(self._objects, default=0)

    def find(self, key: int, flags: int) -> T | None:
        """Return what has a key, or None if it is to be made.  ENOENT, EEXIST."""
        found = None if key == IPC_PRIVATE else self._keys.get(key)
        if found is not None:
            if flags & IPC_CREAT and flags & IPC_EXCL:
                raise EEXIST
        elif key != IPC_PRIVATE and not flags & IPC_CREAT:
            raise ENOENT
        return found

    def check_room(self) -> None:
        """Refuse one more, before it is made.  ENOSPC; ENOMEM: all outlive processes, and memory is short."""
        if len(self._objects) >= self.limit:
            raise ENOSPC
        if memory_is_short():
            raise ENOMEM

    def add(self, made: T) -> None:
        """Give an object its id."""
        index = IPCMNI
        if self.next >= 0:
            sequence, index = divmod(self.next, IPCMNI)
            index = self._free_from(index, IPCMNI)
            self.next = -1
        if index == IPCMNI:
            index = self._following()
            sequence = self._sequence
        made.id = sequence * IPCMNI + index
        self._objects[index] = made
        if made.key != IPC_PRIVATE:
            self._keys[made.key] = made

    def _free_from(self, index: int, end: int) -> int:
        while index < end and index in self._objects:
            index += 1
        return index

    def _following(self) -> int:
        """Return the index whose turn it is."""
        end = min(max(len(self._objects) * 3 // 2, TURN_LEAST), IPCMNI)
        index = self._free_from(self._last + 1, end)
        if index >= end:
            index = self._free_from(0, end)
        if index <= self._last:
            self._sequence = (self._sequence + 1) % IPC_SEQUENCES
        self._last = index
        return index

    def obtain(self, number: int) -> T:
        """Return what has an id.  EINVAL: nothing has it; EIDRM: something had it."""
        found = self.at(number)
        if found.id != number:
            raise EIDRM
        return found

    def obtain_again(self, number: int, record: Record | None) -> T:
        """As :meth:`obtain`, for a call that may have waited for it before it was begun again, as its record says."""
        try:
            return self.obtain(number)
        except EINVAL:
            if record is not None and record.waited:
                raise EIDRM from None
            raise

    def at(self, number: int) -> T:
        """Return what has an index, whatever its sequence number is (SHM_STAT and its kin).  EINVAL."""
        found = self._objects.get(number % IPCMNI) if number >= 0 else None
        if found is None:
            raise EINVAL
        return found

    def hide(self, known: T) -> None:
        """Let nobody find it by its key any more."""
        if known.key != IPC_PRIVATE:
            del self._keys[known.key]
            known.key = IPC_PRIVATE

    def remove(self, known: T) -> None:
        """Forget one."""
        self.hide(known)
        del self._objects[known.id % IPCMNI]
        known.removed = True
