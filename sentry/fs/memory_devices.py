"""The memory devices (null(4), full(4), random(4)): character devices with major number 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EINVAL, ENODEV, ENOSPC
from pysc.cabi.linux.fcntl import SEEK_CUR, SEEK_SET
from pysc.sentry.chance import draw
from pysc.sentry.fs import special
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.memory_file import UNLIMITED_BUDGET, Contents
from pysc.sentry.fs.path import Path

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Attributes
    from pysc.sentry.kernel.task import Task

MEM_MAJOR: Final = 1
ZERO_SIZE: Final = 1 << 46
"""Length of what stands for /dev/zero when it is mapped."""


class DeviceFile(FileDescription):
    """An open device; without positions that mean anything."""

    __slots__ = ("place",)

    served: ClassVar[int] = lib.PYSC_FILE_OTHER
    """How fast paths serve it."""

    def __init__(self, flags: int, path: Path) -> None:
        super().__init__(flags, path)
        self.place = path
        self.serve(self.served, 0, 0)

    async def attributes(self) -> Attributes:
        return await self.place.dentry.inode.attributes()

    async def pread(self, size: int, offset: int) -> bytes:
        return await self.read(size)

    async def pwrite(self, data: bytes, offset: int) -> int:
        return await self.write(data)

    async def seek(self, offset: int, whence: int) -> int:
        return 0

    async def sync(self, data_only: bool) -> None:
        raise EINVAL


class NullFile(DeviceFile):
    """/dev/null."""

    __slots__ = ()

    served = lib.PYSC_FILE_NULL

    async def read(self, size: int) -> bytes:
        return b""

    async def write(self, data: bytes) -> int:
        return len(data)


class ZeroFile(DeviceFile):
    """/dev/zero; mapped, it is memory of the mapping's own."""

    __slots__ = ("_mapped",)

    served = lib.PYSC_FILE_ZERO

    def __init__(self, flags: int, path: Path) -> None:
        super().__init__(flags, path)
        self._mapped: Contents | None = None

    async def read(self, size: int) -> bytes:
        return bytes(size)

    async def write(self, data: bytes) -> int:
        return len(data)

    async def mapping_fd(self, prot: int, flags: int) -> int:
        self._mapped = Contents(UNLIMITED_BUDGET)  # a new one each time: two shared mappings share nothing
        self._mapped.truncate(ZERO_SIZE)
        return self._mapped.memfd()


class FullFile(ZeroFile):
    """/dev/full."""

    __slots__ = ()

    served = lib.PYSC_FILE_OTHER

    async def write(self, data: bytes) -> int:
        raise ENOSPC

    async def mapping_fd(self, prot: int, flags: int) -> int:
        raise ENODEV


class RandomFile(DeviceFile):
    """/dev/random and /dev/urandom: the host's generator."""

    __slots__ = ()

    async def read(self, size: int) -> bytes:
        return draw(size)

    async def write(self, data: bytes) -> int:
        return len(data)

    async def seek(self, offset: int, whence: int) -> int:
        if whence not in (SEEK_SET, SEEK_CUR):
            raise EINVAL
        return 0

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        if request == 0x80045200:  # RNDGETENTCNT
            task.put(argument, (256).to_bytes(4, "little"))
            return 0
        return await super().ioctl(task, request, argument)


def _register(minor: int, file: type[DeviceFile]) -> None:
    async def open_device(task: Task, path: Path, flags: int) -> FileDescription:
        return file(flags, path)

    special.devices[MEM_MAJOR, minor] = open_device


_register(3, NullFile)
_register(5, ZeroFile)
_register(7, FullFile)
_register(8, RandomFile)
_register(9, RandomFile)
