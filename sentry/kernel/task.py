"""Tasks: what Linux calls a task_struct, one for each thread of a guest."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from pysc.cabi.linux.resource import RLIMIT_FSIZE, RLIMIT_NOFILE
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.pending import PendingSignals, SignalHandlers
from pysc.sentry.kernel.scheduler import Completion, now
from pysc.sentry.kernel.scheduling import Scheduling

if TYPE_CHECKING:
    from collections.abc import Callable

    from pysc.sentry.fs.context import FsContext
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.ipc.mqueue import Waiter
    from pysc.sentry.ipc.sem import UndoList, Waiting
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.memory import Memory
    from pysc.sentry.kernel.scheduler import Routine
    from pysc.sentry.kernel.thread_group import ThreadGroup
    from pysc.sentry.net.message import Received
    from pysc.sentry.platform.interface import Thread
    from pysc.sentry.syscalls.table import Restart


class TaskState(Enum):
    """Where a task is."""

    GUEST = "R"  # its thread runs, or waits natively
    KERNEL = "S"  # its thread is stopped and the kernel works, or waits, for it
    HELD = "T"  # its thread is stopped and has no verdict before SIGCONT or a thaw
    DEAD = "X"


class Return(msgspec.Struct):
    """How a task goes back to its guest: kept until the verdict is given.

    A system call has ``nr`` and ``args``.  ``result`` is None for what has none (a preemption, a fault, sigreturn);
    with ``restart`` the call was interrupted and has none yet.  ``child`` is made with the verdict.
    """

    nr: int = -1
    args: tuple[int, ...] = ()
    result: int | None = None
    restart: Restart | None = None
    child: Task | None = None
    thawed: bool = False
    """Nothing but a freeze has interrupted the call: it goes on, whatever signals have come."""


class Record(msgspec.Struct):
    """The restart record: what a call leaves for its own continuation when it is interrupted without a handler.

    A freeze may end any :func:`~pysc.sentry.kernel.scheduler.park`, and the call is begun again from its number, its
    arguments and this.  So what it has done and what is noted here change together, with no ``await`` between.
    """

    deadline: int | None = None
    """When it gives up waiting, on the clock that it waits by."""
    until: int | None = None
    """When a call of several messages, each with a deadline, begins no further one."""
    messages: int = 0
    """Messages that were moved."""
    waited: bool = False
    """What it names was there, and it waited for that: if it is gone, it was removed meanwhile."""
    place: Waiting | Waiter | None = None
    """Its place among those who wait for semaphores or a message queue, which it keeps, so that its turn may come."""
    done: int = 0
    """Bytes of the last message, or of all that is moved, that have been."""
    taken: bytes | Received | None = None
    """What a file has taken to answer with more of it."""
    left: bytes = b""
    """What was read from one file and not yet written to the other."""
    files: dict[int, FileDescription] = {}
    """What its descriptors stood for when it began, with a reference each: they may have been closed since."""


class AltStack(msgspec.Struct, frozen=True):
    """sigaltstack(2)."""

    sp: int
    flags: int
    size: int


def _nothing() -> None:
    """Do nothing."""


class Task:
    """One thread of a guest, its identity and what it shares with others.

    ``thread`` is stopped whenever code of the kernel runs on behalf of this task.
    """

    __slots__ = (
        "_creds",
        "_fds",
        "_fs",
        "_handlers",
        "altstack",
        "attention",
        "comm",
        "default_timer_slack",
        "exit_code",
        "group",
        "kernel",
        "killed",
        "memory",
        "native",
        "pdeath_signal",
        "pending",
        "personality",
        "preempting",
        "record",
        "returning",
        "routine",
        "saved_mask",
        "scheduling",
        "sigwait",
        "start_time",
        "state",
        "thread",
        "tid",
        "timer_slack",
        "undo",
        "untake",
        "vfork",
        "vfork_wait",
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
        self._creds = creds
        self._fs = fs
        self._fds = fds
        self.memory = memory
        """What is known of the address space: brk, exe, argument area; shared with CLONE_VM."""
        self.comm = b""
        self.routine: Routine | None = None
        """The coroutine of the call in progress, if it waits."""
        self.state = TaskState.KERNEL
        self.start_time = now()

        # Signals
        self._handlers = SignalHandlers()
        self.saved_mask: int | None = None
        """The mask that comes back when the call in progress ends (rt_sigsuspend, ppoll …)."""
        self.sigwait = 0
        """Signals that rt_sigtimedwait(2) takes though they are blocked."""
        self.pending = PendingSignals()
        """Signals to this thread alone."""
        self.altstack: AltStack | None = None
        self.attention = False
        """Something may have to be looked at before the task goes back to its guest."""
        self.preempting = False
        """Its thread was told to report, and has not yet."""
        self.killed = False
        """It ends before it runs guest code again."""

        # The call in progress
        self.returning: Return | None = None
        """Set while the task is HELD."""
        self.record: Record | None = None
        """None when a call begins; kept when the kernel runs the same call again."""
        self.native: Return | None = None
        """The call whose native part the thread carries out by itself."""
        self.untake: Callable[[], None] | None = None
        """Undoes what the call took, if it cannot be stored."""

        # Birth and end
        self.exit_code = 0
        """The wait(2) status that exit(2) gave."""
        self.pdeath_signal = 0
        self.vfork: Completion[None] | None = None
        """Resolved at exec or exit: the parent of a vfork waits for it."""
        self.vfork_wait: Completion[None] | None = None
        """What this task, a vfork's parent, waits for."""
        self.personality = 0
        """What uname(2) shows, and the rest of personality(2), which is only kept."""
        self.undo: UndoList | None = None
        """What its end undoes of semaphores: shared with CLONE_SYSVSEM; None: nothing was ever noted."""
        self.scheduling = Scheduling()
        self.timer_slack = self.default_timer_slack = 50_000

    @property
    def creds(self) -> Credentials:
        """Who it is.  Immutable; setuid(2) and friends replace it."""
        return self._creds

    @creds.setter
    def creds(self, creds: Credentials) -> None:
        self._creds = creds
        self.publish_ids()

    @property
    def mask(self) -> int:
        """The blocked signals.  The thread has them: while it is quiet it changes them without the kernel."""
        return self.thread.sigmask

    @mask.setter
    def mask(self, mask: int) -> None:
        self.thread.sigmask = mask

    @property
    def handlers(self) -> SignalHandlers:
        """What signals do: shared with CLONE_SIGHAND."""
        return self._handlers

    @handlers.setter
    def handlers(self, handlers: SignalHandlers) -> None:
        self._handlers = handlers
        self.thread.use_handlers(handlers.index)

    @property
    def fds(self) -> FDTable:
        """Its descriptors: shared with CLONE_FILES."""
        return self._fds

    @fds.setter
    def fds(self, fds: FDTable) -> None:
        self._fds = fds
        self.publish_files()

    @property
    def fs(self) -> FsContext:
        """Root, working directory, umask: shared with CLONE_FS."""
        return self._fs

    @fs.setter
    def fs(self, fs: FsContext) -> None:
        self._fs = fs
        self.thread.use_context(fs.index)

    def publish_files(self) -> None:
        """Tell fast paths what the descriptors of this thread mean, and its limits; after every change of those."""
        self._fds.set_limits(self.group.limit(RLIMIT_NOFILE), self.group.limit(RLIMIT_FSIZE))
        self.thread.use_files(self._fds.index)

    def publish_ids(self) -> None:
        """Tell the guest half what getpid(2) and its kin answer, and fast paths our rights; after every change."""
        parent = self.group.parent
        creds = self._creds
        self.thread.set_ids(
            self.group.tgid,
            self.tid,
            0 if parent is None else parent.tgid,
            creds.uid,
            creds.euid,
            creds.gid,
            creds.egid,
        )
        self.thread.set_access(creds.access)

    def attach(self, thread: Thread) -> None:
        """Make ``thread`` this task's."""
        self.thread = thread
        thread.owner = self
        thread.on_frame_fault(self._on_frame_fault)
        thread.set_quiet(not (self.pending.mask or self.group.pending.mask))
        self.publish_ids()
        self.publish_files()
        thread.use_context(self._fs.index)
        thread.use_handlers(self._handlers.index)
        thread.set_limits(self.group.packed_limits())

    def rebuild(self) -> None:
        """Let the thread know what another process has made of this (pysc.sentry.state)."""
        self.attach(self.thread)

    def detach(self) -> None:
        """Forget each other: the task is dead, the thread ends by itself."""
        self.thread.owner = None
        self.thread.on_frame_fault(_nothing)

    def _on_frame_fault(self) -> None:
        from pysc.sentry.kernel.delivery import on_frame_fault

        on_frame_fault(self)

    def deadline(self, timeout_ns: int) -> int:
        """Return the absolute deadline of a relative timeout: that of the first run if the call was run again."""
        record = self.recorded()
        if record.deadline is None:
            record.deadline = now() + timeout_ns
        return record.deadline

    def recorded(self) -> Record:
        """Return the restart record of the call in progress, to note something in it."""
        if self.record is None:
            self.record = Record()
        return self.record

    def forget_record(self) -> None:
        """Nothing is begun again: the call has ended."""
        self.forget_files()
        self.record = None

    def forget_files(self) -> None:
        """The call has ended, and if it is begun again its descriptors stand for what they do by then."""
        if self.record is not None:
            files, self.record.files = self.record.files, {}
            for file in files.values():
                file.put()

    def take_place(self) -> Waiting | Waiter | None:
        """Return where the call waited before a freeze, if it did; it waits on by itself from here."""
        record = self.record
        if record is None:
            return None
        place, record.place = record.place, None
        return place

    def resume(self) -> int:
        """Return the bytes that the call had moved before it was begun again; it counts them on by itself from here."""
        record = self.record
        if record is None:
            return 0
        done, record.done = record.done, 0
        return done

    def take_back(self) -> Any:
        """Return what a file had taken for the call before it was begun again, or None."""
        record = self.record
        if record is None:
            return None
        taken, record.taken = record.taken, None
        return taken

    # Guest memory, by the guest half (interface.Thread has the contracts)
    async def copy_in(self, address: int, size: int) -> bytes:
        """Copy guest memory in.  EFAULT."""
        data = self.thread.prefetched(address, size)
        if data is None:
            data = await self.thread.copy_in(address, size)
        if self.kernel.strace is not None:
            self.kernel.strace.on_copy(self, address, data)
        return data

    async def copy_in_string(self, address: int, limit: int = 4096) -> bytes:
        """Copy a C string in.  EFAULT, ENAMETOOLONG."""
        string = await self.thread.copy_in_string(address, limit)
        if self.kernel.strace is not None:
            self.kernel.strace.on_strings(self, address, (string,))
        return string

    async def copy_in_strings(self, address: int, limit: int) -> list[bytes]:
        """Copy an array of C strings in, ``limit`` bytes in all.  EFAULT, E2BIG."""
        strings = await self.thread.copy_in_strings(address, limit)
        if self.kernel.strace is not None:
            self.kernel.strace.on_strings(self, address, strings)
        return strings

    async def copy_out(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy to guest memory now.  EFAULT."""
        if self.kernel.strace is not None:
            self.kernel.strace.on_copy(self, address, data)
        await self.thread.copy_out(address, data)

    def put(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy to guest memory with the reply (at most 60 KiB a call): a fault turns the result into EFAULT."""
        if self.kernel.strace is not None:
            self.kernel.strace.on_copy(self, address, data)
        self.thread.put(address, data)
