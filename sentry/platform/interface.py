"""What a platform offers the kernel: address spaces, threads, events.  Every platform implements these protocols.

A *space* is one host thread group with its memory; a *thread* is one host thread in it.  Which guest process a
thread belongs to is the kernel's knowledge (a vfork child is a thread of its parent's space).

A thread is either *running* (guest code, or a native wait) or *stopped*: it has reported an :class:`Event` and waits
for the kernel.  All methods but :meth:`Thread.preempt` and :meth:`Space.kill` need a stopped thread.  While it is
stopped the kernel may await any number of ``copy_*``, ``host_call`` and so on, then gives exactly one *verdict*
(``reply``, ``resume``, ``restart``, ``run_host_call``, ``exit``), after which it runs.

Awaited operations end with a result, or with :class:`ThreadGone` when the host thread died meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription

LIMIT: Final = 0x400000
"""Guest addresses start here; the guest half is below (vm.mmap_min_addr inside)."""

TASK_SIZE: Final = 0x7FFF_FFFF_F000
"""Guest addresses end here."""


class ThreadGone(Exception):
    """The host thread or its space died: no answer will come."""


class Kind(IntEnum):
    """What a thread reports."""

    SYSCALL = 1  # nr, args
    PREEMPTED = 2  # it was running guest code, or a native wait that is undone and can be restarted
    FAULT = 3  # signo, code, address, and the trap number and error code of the CPU
    INTERRUPTED = (
        4  # a native futex or sleep was aborted by preempt(): nr, args are the call's; restart, or reply -EINTR
    )
    SIGRETURN = 5  # the guest called rt_sigreturn: args[0] is the signal mask in the frame; registers are already taken
    GONE = 6  # the host thread has ended, by exit() or otherwise; the last event of a thread
    FAILED = 7  # the verdict was not carried out, since what it depended on failed: args[0] is the errno
    RESUMED = 8  # as SYSCALL, of a call that has waited in a fast path, with a description: see Thread.take_held()
    UNDONE = 9  # what went with the last reply did not fit its memory; nr, args are the call's, which has no result yet


class Event(msgspec.Struct):
    """One report of a stopped thread.  Everything in it comes from the guest and may be forged, ``thread`` excepted."""

    thread: Thread
    kind: Kind
    nr: int
    args: tuple[int, int, int, int, int, int]
    """A syscall's six arguments as u64; for FAULT: signo, code, address, trapno, error code."""


class Stall(NamedTuple):
    """The loop was away for so long that others had to wait."""

    ns: int
    """Not counting the time that others had its processor."""
    blocked: int
    """Of these, waiting for the host."""
    on_file: bool
    """The last of that was a call on a file of the host's."""
    handled: Sequence[Event]
    """What it was away for, as far as it began with an event."""


class Registers(msgspec.Struct):
    """The general registers of a stopped thread (names of struct user_regs_struct); all u64."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rbp: int = 0
    rsp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    eflags: int = 0x202
    fs_base: int = 0


class SignalFrame(msgspec.Struct):
    """A signal to be delivered with the verdict: the guest half writes the frame and enters the handler.

    The kernel has decided everything; the guest half adds registers and FP state (rt_sigframe of x86-64, with
    FP_XSTATE_MAGIC1/2) and loads rip=handler, rdi=signo, rsi=&info, rdx=&ucontext, rsp=frame.
    """

    signo: int
    handler: int
    restorer: int
    info: bytes
    """siginfo_t, 128 bytes."""
    mask: int
    """The mask to be restored by rt_sigreturn: goes into uc_sigmask."""
    stack: tuple[int, int, int] | None
    """The alternate stack (sp, flags, size) as it goes into uc_stack; None: none is set."""
    on_stack: int = 0
    """Top of the stack to switch to (SA_ONSTACK and not yet on it); 0: go on below the guest's own rsp and red zone."""


class MapEntry(msgspec.Struct):
    """One mmap of a new image, carried out in order; all MAP_FIXED inside an earlier reservation, or at ``address``.

    ``file`` indexes the descriptors of :class:`Image`; -1 is anonymous.
    """

    address: int
    length: int
    prot: int
    flags: int
    file: int = -1
    offset: int = 0
    zero_from: int = 0
    """If not 0: zero memory from here to the end of its page after mapping (the part of .bss in the last file page)."""
    image: bool = False
    """As :meth:`Thread.map_image`; the flags are those of a private mapping."""


class Image(msgspec.Struct):
    """A program ready to be started in a blank: maps, what its stack holds, registers."""

    files: Sequence[int]
    """Host descriptors (borrowed): binary, interpreter.  At most 4."""
    maps: Sequence[MapEntry]
    registers: Registers
    stack: tuple[int, bytes]
    """Where it is written to what has been mapped, and what."""


class Access(msgspec.Struct, frozen=True, gc=False):
    """What permissions of files are checked by (struct pysc_access)."""

    fsuid: int
    fsgid: int
    has_groups: bool
    """There are supplementary groups."""
    override: bool
    """CAP_DAC_OVERRIDE."""
    read_search: bool
    """CAP_DAC_READ_SEARCH."""
    real: bool
    """The real ids, which access(2) asks by, are the same; it counts capabilities only if ``privileged``."""
    privileged: bool


class Thread(Protocol):
    """A host thread of a guest."""

    owner: object
    """The kernel's task, set by the kernel."""
    clear_tid: int
    """The word that the guest wants cleared and woken at the thread's end (set_tid_address(2)); 0 at birth."""
    sigmask: int
    """The blocked signals; a thread that is quiet changes them by itself."""
    robust_list: int
    """The head of its robust list (set_robust_list(2)); 0 at birth."""
    said: tuple[int, int]
    """The kernel's: what it said last of its processor time, the program's and the host kernel's (kernel/usage.py)."""

    @property
    def host_tid(self) -> int:
        """What the host calls it; 0 before it has begun."""

    @property
    def busy(self) -> bool:
        """Whether it has been told to do something of which the end is awaited; a guest may never come to it."""

    @property
    def space(self) -> Space:
        """Its memory."""

    # Memory: short and uninterruptible; guest faults are EFAULT.
    def prefetched(self, address: int, size: int) -> bytes | None:
        """Return guest bytes that came with the request, or None.  Never waits."""

    async def copy_in(self, address: int, size: int) -> bytes:
        """Copy ``size`` bytes from the guest.  EFAULT if any is unreadable."""

    async def copy_in_string(self, address: int, limit: int) -> bytes:
        """Copy a NUL-terminated string without its NUL.  ENAMETOOLONG if no NUL within ``limit`` bytes; EFAULT."""

    async def copy_in_strings(self, address: int, limit: int) -> list[bytes]:
        """Copy a NULL-terminated array of strings (argv, envp).  E2BIG over ``limit`` bytes in all; EFAULT."""

    async def copy_out(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` to the guest now.  EFAULT if any of it is unwritable (a prefix may have been written)."""

    def put(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` to the guest together with the verdict; a fault there makes the syscall's result -EFAULT.

        The data of all puts of one verdict together is at most 60 KiB: more raises ValueError (use copy_out).
        """

    # Host calls, made by the thread itself (architecture.md 4.5); the result is as the kernel gives it: -errno.
    async def host_call(self, nr: int, *args: int) -> int:
        """Let the thread make one host call of the keyhole, and return its result, maybe -errno."""

    async def move_heap(self, end: int) -> int:
        """Move the end of the heap (brk(2)), and return where it is now, changed or not."""

    async def futex_wake_op(self, uaddr: int, op: int, wake: int, wake2: int, uaddr2: int, operation: int) -> int:
        """futex(2) with FUTEX_WAKE_OP, which the keyhole lacks: the number of the woken, or -errno."""

    async def map_file(self, address: int, length: int, prot: int, flags: int, file: int, offset: int) -> int:
        """Donate the descriptor ``file`` (borrowed), let the thread mmap it, and close it there; address or -errno."""

    async def map_image(self, address: int, length: int, prot: int, file: int, offset: int) -> int:
        """Map memory that was saved in ``file`` (borrowed), instead of what is there; address or -errno.

        To the guest it is anonymous memory, whatever it does there; never such that grows down.  Nobody may write to
        the file any more, and it must lie where programs may be executed.  ENOMEM, too, if there are PYSC_IMAGES
        ranges.
        """

    def prepare_map_file(
        self,
        address: int,
        length: int,
        prot: int,
        flags: int,
        file: int,
        offset: int,
        again: tuple[int, bool] | None = None,
    ) -> bool:
        """Donate ``file`` (borrowed) for a mmap that goes with :meth:`reply_prepared`; false: not now.  ENOMEM.

        ``again``: the description of that index (cabi) may be mapped privately by fast paths from now on, and whether
        for execution.
        """

    async def registers(self) -> Registers:
        """Return the guest's registers at the event."""

    async def set_registers(self, registers: Registers) -> None:
        """Change them; the guest half drops what a guest may not have (flags, segments)."""

    def set_ids(self, pid: int, tid: int, ppid: int, uid: int, euid: int, gid: int, egid: int) -> None:
        """Set what the guest half answers getpid and its kin from; at birth and whenever one changes.

        Locks tell ``pid``, too.
        """

    # New threads.  They are stopped: the kernel sets their owner and gives the verdict (reply(0) in the usual case).
    def fork(self) -> Thread:
        """Prepare a space that is to be a copy of this one, with one thread that is a copy of this one.  EAGAIN.

        It is stopped, and may be given its verdict at once; it begins once this one has borne it.
        """

    def clone(self, stack: int, tls: int | None) -> Thread:
        """Prepare a thread here, as :meth:`fork` does: with this one's registers, but its stack and FS base.  EAGAIN.

        ``stack`` 0, ``tls`` None: they are this one's.
        """

    async def bear(self, told: tuple[int, bytes] | None = None) -> None:
        """Make the thread that was prepared last.  EAGAIN, ENOMEM: it is dropped, and no event tells of it.

        ``told`` (an address, and what) is copied to this thread's memory; a fault is ignored.
        """

    def prepare_birth(self, told: tuple[int, bytes] | None, tid: int) -> bool:
        """Let :meth:`reply_prepared` do it, and reply ``tid``, or else report Kind.FAILED; false: not now."""

    async def exec(self, image: Image) -> Thread:
        """Start ``image`` in a fresh space: return its first thread, stopped at the entry (verdict: resume()).

        This thread stays stopped; the kernel then ends it, or its whole space.  EAGAIN, ENOMEM, ENOEXEC.  What cannot
        be mapped is reported as Kind.FAILED once there is a verdict.
        """

    # Verdicts
    def reply(self, result: int, frame: SignalFrame | None = None) -> None:
        """End the syscall with ``result`` (signed; -errno) and go on, through ``frame``'s handler if there is one."""

    def reply_undoable(self, result: int) -> None:
        """The same; where what goes with it cannot be stored, report Kind.UNDONE."""

    def resume(self, frame: SignalFrame | None = None) -> None:
        """Go on with the registers as they are (after PREEMPTED, FAULT, SIGRETURN, exec)."""

    def restart(self, nr: int, frame: SignalFrame | None = None) -> None:
        """Go back to the syscall instruction, with rax = ``nr`` (the same call, or restart_syscall)."""

    def run_host_call(self, nr: int, *args: int) -> None:
        """Let the thread make one host call of the keyhole by itself, and go on with its result as the syscall's.

        The thread is running meanwhile: futex and clock_nanosleep may take long; preempt() ends them as INTERRUPTED.
        """

    def reply_prepared(self) -> None:
        """End the syscall with what :meth:`prepare_map_file` or :meth:`prepare_birth` has prepared."""

    def exit(self, clear_tid: int) -> None:
        """End this host thread: it first handles its robust list, then clears and wakes ``clear_tid`` (0: none).

        GONE follows.  The last thread's end is its space's.
        """

    def on_frame_fault(self, callback: Callable[[], None]) -> None:
        """Call back instead of running when a verdict's frame could not be written: the kernel then forces SIGSEGV."""

    def use_files(self, table: int) -> None:
        """Let the calls of this thread that fast paths answer refer to the descriptor table of that index (cabi)."""

    def set_limits(self, limits: bytes) -> None:
        """Let them show these resource limits: 16 pairs of u64."""

    def use_handlers(self, handlers: int) -> None:
        """Let them set the dispositions of that index (cabi)."""

    def use_context(self, context: int) -> None:
        """Let them walk paths from the root and working directory of that index (cabi)."""

    def set_access(self, access: Access) -> None:
        """Let them check permissions by these."""

    def set_quiet(self, quiet: bool) -> None:
        """Say whether no signal is pending for it, so that it may change ``sigmask`` by itself; false at birth."""

    def let_wait(self) -> None:
        """The call that it made waits: the thread need not look for its answer."""

    def take_held(self) -> FileDescription | None:
        """Return the description that the call has waited with which is RESUMED, with a reference; None: it is gone."""

    # A running thread
    @property
    def waits(self) -> bool:
        """Whether it waits, by itself or in a fast path, in a call that only :meth:`preempt` shows."""

    def preempt(self) -> None:
        """Make a running thread report soon (PREEMPTED, INTERRUPTED, or what it was about to report anyway).

        Of a stopped thread it is remembered until its verdict: a native call is then not begun, but INTERRUPTED, and
        a handler that is entered is PREEMPTED before its first instruction.
        """


class Mapped(NamedTuple):
    """A file that fast paths have mapped: the host's device and inode, and what it was opened by (cabi)."""

    device: int
    inode: int
    dentry: int
    mount: int


class Space(Protocol):
    """A host thread group: memory."""

    host_pid: int
    """0: a child that has been told of, and of which nothing has been heard yet."""
    fault: int
    """The signal of a fault that it ended by in the host's hands, since its guest half was there no more; else 0."""
    said: tuple[int, int]
    """As a thread's."""

    async def begun(self) -> None:
        """Wait until ``host_pid`` is known, or it is known that there will be none.  Interrupted."""

    @property
    def hidden(self) -> tuple[int, int]:
        """Memory from here to there is the platform's, and no part of the guest."""

    @property
    def own(self) -> tuple[int, int]:
        """Pages in the host process that are the platform's: all of them, and what the host counts as data."""

    def take_mapped(self) -> Sequence[Mapped]:
        """Return what fast paths have mapped since the last time; the caller leaves the dentries."""

    def set_heap(self, start: int) -> None:
        """Say where brk(2) begins, before a program runs there; copies have theirs from what they are copies of."""

    @property
    def heap_end(self) -> int:
        """Where brk(2) is now, as the guest says: for show."""

    def limit_heap(self, limit: int) -> None:
        """Let brk(2) make the heap no larger than ``limit`` bytes (RLIMIT_DATA); 2**64-1 is no limit."""

    def limit_memory(self, limit: int) -> None:
        """Let memory calls fail with ENOMEM that would make the guest's part larger (RLIMIT_AS; copies inherit it).

        2**64-1 is no limit.
        """

    def tell_peak(self, callback: Callable[[int], None]) -> None:
        """Call ``callback`` once the host process has ended, with how many KiB of it were resident at most.

        With 0, soon, if that will never be known.
        """

    def set_attached(self, start: int, end: int) -> None:
        """Let calls be the kernel's that unmap, move or replace what is mapped between two addresses; 0, 0: none is."""

    def kill(self) -> None:
        """End the space and all its threads at once: GONE follows for each."""


class Platform(Protocol):
    """What runs guests.  Life: construct, ``start`` (before lock-down), ``wait`` in a loop, ``stop``."""

    @property
    def vdso_address(self) -> int:
        """Where every guest process has a vDSO image (AT_SYSINFO_EHDR); 0: nowhere."""

    def start(self) -> None:
        """Start what needs execve and other calls that lock-down takes away.

        Raises:
            PlatformError: this host cannot; its text is one line with the remedy.
        """

    async def first_thread(self, image: Image) -> Thread:
        """Start ``image`` in a fresh space (the first program of a container); as :meth:`Thread.exec`.

        What cannot be mapped is ENOMEM, ENOEXEC here.
        """

    def wait(self, timeout_ns: int | None) -> Sequence[Event]:
        """Sleep until there are events, a watched descriptor is ready or ``timeout_ns`` has passed; return the events.

        Callbacks of watched descriptors and completions of awaited operations are made from inside.
        """

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call ``callback(ready)`` from :meth:`wait` whenever ``fd`` has one of EPOLL* ``events``.

        Level-triggered, unless ``events`` has EPOLLET: they go to epoll_ctl(2) as they are.
        """

    def unwatch(self, fd: int) -> None:
        """Undo :meth:`watch`."""

    def stop(self) -> None:
        """Kill all spaces and free everything."""


class PlatformError(Exception):
    """The platform cannot work on this host; the message names the cause and the remedy."""
