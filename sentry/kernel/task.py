"""Tasks: what Linux calls a task_struct, one for each thread of a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.sentry.kernel.fd_table import FDTable

if TYPE_CHECKING:
    from pysc.sentry.fs.context import FsContext
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.memory import Memory
    from pysc.sentry.kernel.scheduler import Routine
    from pysc.sentry.kernel.thread_group import ThreadGroup
    from pysc.sentry.platform.interface import Thread


class Task:
    """One thread of a guest, its identity and what it shares with others.

    ``thread`` is stopped whenever code of the kernel runs on behalf of this task.
    """

    __slots__ = (
        "comm",
        "creds",
        "fds",
        "fs",
        "group",
        "kernel",
        "memory",
        "routine",
        "thread",
        "tid",
    )

    def __init__(
        self,
        kernel: Kernel,
        tid: int,
        group: ThreadGroup,
        thread: Thread,
        creds: Credentials,
        fs: FsContext,
        fds: FDTable,
        memory: Memory,
    ) -> None:
        self.kernel = kernel
        self.tid = tid
        self.group = group
        """The thread group (process); ``group.tgid`` is what getpid(2) returns; it has rlimits, session, signals."""
        self.thread = thread
        self.creds = creds
        """Immutable; setuid(2) and friends replace it."""
        self.fs = fs
        """Root, working directory, umask: shared with CLONE_FS."""
        self.fds = fds
        self.memory = memory
        """What is known of the address space: brk, exe, argument area; shared with CLONE_VM."""
        self.comm = b""
        self.routine: Routine | None = None
        """The coroutine of the call in progress, if it waits."""

    # Guest memory, by the guest half (interface.Thread has the contracts)
    async def copy_in(self, address: int, size: int) -> bytes:
        """Copy guest memory in.  EFAULT."""
        data = self.thread.prefetched(address, size)
        return data if data is not None else await self.thread.copy_in(address, size)

    async def copy_in_string(self, address: int, limit: int = 4096) -> bytes:
        """Copy a C string in.  EFAULT, ENAMETOOLONG."""
        return await self.thread.copy_in_string(address, limit)

    async def copy_out(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy to guest memory now.  EFAULT."""
        await self.thread.copy_out(address, data)

    def put(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy to guest memory with the reply (at most 60 KiB a call): a fault turns the result into EFAULT."""
        self.thread.put(address, data)
