"""A task in a mount namespace, that calls handlers as a guest would."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pysc.cabi.linux.errors import EFAULT, ENAMETOOLONG, LinuxError
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.stat import STAT
from pysc.sentry.fs.context import FsContext
from pysc.sentry.fs.inode import Filesystem
from pysc.sentry.fs.path import MountNamespace
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.machine import Machine
from pysc.sentry.kernel.scheduler import Scheduler
from pysc.sentry.syscalls.x86_64 import X86_64

ALL_CAPS = (1 << 41) - 1
BASE = 0x10000
BUFFER = BASE + 0x80000


class Group:
    """The limits and numbers of a process."""

    tgid = 1

    def limit(self, resource: int) -> int:
        return (1 << 64) - 1 if resource != 7 else 1024


class World:
    """One task on a fake memory of 2 MiB; ``call`` runs a system call by its name and returns -errno or the result."""

    def __init__(self, fs: Filesystem, creds: Credentials | None = None, flags: int = 0) -> None:
        self.namespace = MountNamespace.of(fs, flags)
        self.fs = FsContext(self.namespace.root_path)
        self.creds = creds or Credentials.of(0, 0, caps=ALL_CAPS)
        self.fds = FDTable()
        self.group: Any = Group()
        self.kernel: Any = SimpleNamespace(machine=Machine(), tasks={})
        self.tid = 1
        self.comm = b"test"
        self.memory = bytearray(2 << 20)
        self.scheduler = Scheduler()
        self.handlers: dict[str, Callable[..., Any]] = {
            row.name: row.handler for row in X86_64.rows.values() if row.handler is not None
        }

    # What a task offers handlers
    record = None

    def resume(self) -> int:
        return 0

    def take_back(self) -> None:
        return None

    def _at(self, address: int, size: int) -> int:
        start = address - BASE
        if start < 0 or start + size > len(self.memory):
            raise EFAULT
        return start

    async def copy_in(self, address: int, size: int) -> bytes:
        start = self._at(address, size)
        return bytes(self.memory[start : start + size])

    async def copy_in_string(self, address: int, limit: int = 4096) -> bytes:
        text = (await self.copy_in(address, limit)).partition(b"\0")
        if not text[1]:
            raise ENAMETOOLONG
        return text[0]

    async def copy_out(self, address: int, data: bytes) -> None:
        self.put(address, data)

    def put(self, address: int, data: bytes) -> None:
        start = self._at(address, len(data))
        self.memory[start : start + len(data)] = data

    # What tests use
    def run(self, coroutine: Any, settle: Callable[[], None] | None = None) -> Any:
        ended: list[tuple[Any, BaseException | None]] = []
        self.scheduler.start(coroutine, self, lambda value, error: ended.append((value, error)))
        for _ in range(100_000):
            if ended:
                break
            self.scheduler.run_ready()
            if settle is not None:
                settle()
        assert ended, "the call waits"
        value, error = ended[0]
        if error is not None:
            raise error
        return value

    settle: Callable[[], None] | None = None

    def try_call(self, name: str, *args: Any) -> Any:
        """Run a handler; raises LinuxError."""
        result = self.handlers[name](self, *args)
        if hasattr(result, "send"):
            result = self.run(result, self.settle)
        return 0 if result is None else result

    def call(self, name: str, *args: Any) -> int:
        try:
            return int(self.try_call(name, *args))
        except LinuxError as error:
            return -error.errno

    def poke(self, data: bytes, address: int = BUFFER) -> int:
        self.put(address, data)
        return address

    def peek(self, size: int, address: int = BUFFER) -> bytes:
        start = self._at(address, size)
        return bytes(self.memory[start : start + size])

    def open(self, path: bytes, flags: int = 0, mode: int = 0o644, dirfd: int = AT_FDCWD) -> int:
        return self.call("openat", dirfd, path, flags, mode)

    def write(self, fd: int, data: bytes) -> int:
        return self.call("write", fd, self.poke(data), len(data))

    def read(self, fd: int, size: int = 65536) -> bytes:
        got = self.try_call("read", fd, BUFFER, size)
        return self.peek(got)

    def stat(self, path: bytes, follow: bool = True) -> tuple[int, ...]:
        """Return the fields of struct stat in order of :data:`STAT`."""
        self.try_call("stat" if follow else "lstat", path, BUFFER)
        return STAT.unpack(self.peek(144))

    def put_file(self, path: bytes, data: bytes = b"", mode: int = 0o644) -> None:
        fd = self.open(path, 0o102 | 0o1000, mode)
        assert fd >= 0, fd
        at = 0
        while at < len(data):
            at += self.write(fd, data[at : at + 65536])
        self.call("close", fd)

    def get_file(self, path: bytes) -> bytes:
        fd = self.open(path)
        if fd < 0:
            raise OSError(-fd, "open")
        parts = []
        while part := self.read(fd):
            parts.append(part)
        self.call("close", fd)
        return b"".join(parts)

    def listdir(self, path: bytes) -> list[bytes]:
        fd = self.open(path, 0o200000)
        if fd < 0:
            raise OSError(-fd, "open")
        names = []
        while (size := self.try_call("getdents64", fd, BUFFER, 4096)) > 0:
            data = self.peek(size)
            at = 0
            while at < size:
                length = int.from_bytes(data[at + 16 : at + 18], "little")
                names.append(data[at + 19 : at + length].partition(b"\0")[0])
                at += length
        self.call("close", fd)
        return sorted(name for name in names if name not in (b".", b".."))
