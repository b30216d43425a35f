"""An address space of the systrap platform: a host process, its channel and socket."""

from __future__ import annotations

import os
import resource
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import EAGAIN, ENOMEM
from pysc.sentry.chance import below
from pysc.sentry.hostfds import NONE, Held, HostFd, Of, close, hold, is_for_process
from pysc.sentry.kernel.scheduler import Completion, WaitQueue, park
from pysc.sentry.platform.interface import LIMIT, Mapped, ThreadGone

if TYPE_CHECKING:
    from pysc.sentry.platform.systrap import Systrap
    from pysc.sentry.platform.thread import SystrapThread

CHANNEL_SIZE: Final[int] = ffi.sizeof("struct pysc_channel")
_STACKS_END: Final[int] = (-(-CHANNEL_SIZE // lib.PYSC_STACK_SIZE) + lib.PYSC_SLOTS) * lib.PYSC_STACK_SIZE
"""So far above the channel's beginning end the handler stacks (guest.h)."""
_BASES: Final = (0x7EB0_0000_0000, 0x7EE0_0000_0000)
"""Channels lie below all that the host maps by itself at first, above what programs fix and stacks."""
_ALIGN: Final = 0x20_0000
_PAGE: Final = 4096
_LOWEST: Final = 0x1_0000
_HIGH: Final[int] = CHANNEL_SIZE + _PAGE
"""The channel and the shared page."""
_DATA: Final[int] = lib.PYSC_SLOTS * lib.PYSC_STACK_SIZE + lib.PYSC_SPACE_OFFSET - 0x1_0000
"""The stacks, and what the guest half keeps of the space (guest.h)."""
_UNLIMITED: Final = 0xFFFF_FFFF_FFFF_FFFF
FAULTS: Final = (signal.SIGSEGV, signal.SIGBUS)
"""What the host ends a process by whose handlers cannot be entered, for they or their stacks are gone."""
_TABLES: Final[int] = (lib.PYSC_TABLE_END - lib.PYSC_TABLE_START - 8 * lib.PYSC_SITES) // _PAGE
"""Pages of the window where the jump table may begin."""


class Turn:
    """A lock whose waiters come in order: at most one message with descriptors is on its way to a space.

    Fast paths send descriptors, too: the first who waits for the lock waits for them.
    """

    __slots__ = ("_engine", "_held", "_number", "_until_taken", "_waiters", "closed")

    def __init__(self, engine: Any, number: int) -> None:
        self._engine = engine
        self._number = number
        self._held = False
        self._waiters: deque[Completion[None]] = deque()
        self._until_taken: Completion[None] | None = None
        self.closed = False

    async def __aenter__(self) -> None:
        if self._held:
            waiter: Completion[None] = Completion()
            self._waiters.append(waiter)
            await waiter
        self._held = True
        while not (self.closed or lib.pysc_donation_begin(self._engine, self._number)):
            self._until_taken = Completion()
            await self._until_taken

    async def __aexit__(self, *_: object) -> None:
        if self._waiters:
            self._waiters.popleft().resolve(None)  # still held, for it
        else:
            self._held = False
            if not self.closed:
                lib.pysc_donation_end(self._engine, self._number)

    def taken(self) -> None:
        """What a fast path has sent is not on its way any more, or who should have taken it has ended."""
        waiter, self._until_taken = self._until_taken, None
        if waiter is not None:
            waiter.resolve(None)

    def close(self) -> None:
        """The space ends: nothing is sent any more."""
        self.closed = True
        self.taken()


def _random_base() -> int:
    return _BASES[0] + below((_BASES[1] - _BASES[0]) // _ALIGN) * _ALIGN


class SystrapSpace:
    """Invariant: ``number`` names it in the engine until :meth:`close`; slots of ``threads`` are in use."""

    __slots__ = (
        "_begun",
        "_kill_at_birth",
        "_on_peak",
        "base",
        "blank",
        "born",
        "channel",
        "dead",
        "donation",
        "fault",
        "guest_socket",
        "host_pid",
        "leaving",
        "memory",
        "memory_limit",
        "number",
        "pidfd",
        "platform",
        "said",
        "silent",
        "socket",
        "table",
        "threads",
        "visits",
    )

    def __init__(self, platform: Systrap) -> None:
        """EAGAIN: the host has no descriptors or memory for one."""
        self.platform = platform
        self.base = 0
        self.host_pid = 0
        self.fault = 0
        self.said = (0, 0)
        self.visits = 0
        """How often it was found to have no process yet."""
        self.pidfd = NONE
        self.table = 0
        self.threads: dict[int, SystrapThread] = {}
        self.leaving: dict[int, SystrapThread | None] = {}
        """Slots whose threads have been told to end, and who was told to make those of which nothing has been heard."""
        self.blank = False
        """No program has been put there."""
        self.born: Completion[SystrapThread] = Completion()
        """The blank is ready."""
        self.dead = False
        self.silent = False
        """Nobody has spoken, and nobody will: who was told to make its process says whether it did."""
        self.memory_limit = _UNLIMITED
        """Of what the guest has; a fork has it from its parent."""
        self._kill_at_birth = False
        self._on_peak: Callable[[int], None] | None = None
        self._begun = WaitQueue()
        ends = ffi.new("struct pysc_space_ends *")
        self.number: int = lib.pysc_space_new(platform.engine, ends)
        if self.number < 0:
            raise EAGAIN
        if not is_for_process(max(ends.memory, ends.socket, ends.guest_socket)):
            lib.pysc_space_remove(platform.engine, self.number)
            raise EAGAIN
        self.memory, self.socket, self.guest_socket = ends.memory, ends.socket, ends.guest_socket
        self.donation = Turn(platform.engine, self.number)
        channel = self.channel = lib.pysc_space_channel(platform.engine, self.number)
        channel.version = lib.PYSC_CHANNEL_VERSION
        channel.fastpath = platform.fastpath

    def be_blank(self) -> None:
        """Be what the zygote makes a process for."""
        channel, program = self.channel, self.platform.filter
        self.blank = True
        channel.base = self.base = _random_base()
        channel.table = self.table = lib.PYSC_TABLE_START + below(_TABLES) * _PAGE
        channel.heap_limit = _UNLIMITED
        channel.filter_length = len(program) // 8
        ffi.buffer(channel.filter, len(program))[:] = program
        self.platform.unborn[self.number] = self

    def be_copy_of(self, parent: SystrapSpace) -> None:
        """Be what a process of the parent's is going to make a copy of itself for; its filter holds there."""
        channel, other = self.channel, parent.channel
        channel.base = self.base = parent.base
        channel.table = self.table = parent.table
        channel.heap_start, channel.heap_end = other.heap_start, other.heap_end
        channel.heap_limit = other.heap_limit
        self.memory_limit = parent.memory_limit
        self.platform.unborn[self.number] = self

    def born_as(self, pid: int) -> None:
        """Take the host process that has spoken first on the socket; 0: nobody has, and nobody will."""
        makers = [thread.maker for thread in self.threads.values() if thread.maker and thread.maker.child is thread]
        if makers and not pid:
            self.silent = True
            self.platform.unborn[self.number] = self  # nobody is waited for without an end
            return
        try:
            if not pid or pid in self.platform.spaces:  # a parent that speaks for its child
                raise ProcessLookupError
            self.pidfd = hold(os.pidfd_open(pid), Held(Of.GUEST))
        except OSError:
            self.platform.strays.suspect()
            self.close()
            return
        self.platform.watch(self.pidfd, 1, self._on_end)
        self.host_pid = pid
        self.platform.spaces[pid] = self
        if self.limited:
            self._apply(self.memory_limit)
        if self._kill_at_birth:
            self.kill()
        for thread in self.threads.values():  # one at most
            thread.begin_as(pid)
        self._begun.wake_all()

    def note_made(self) -> None:
        """Who was told to make its process has done so, or has ended."""
        if self.silent:
            self.platform.strays.suspect()
            self.close()

    async def begun(self) -> None:
        """Wait until ``host_pid`` is known, or it is known that there will be none.  Interrupted."""
        while not self.host_pid and not self.dead:
            await park(self._begun)

    def _forget(self, pidfd: HostFd) -> None:
        self.platform.unwatch(pidfd)
        close(pidfd)

    def close_guest_ends(self) -> None:
        """Close what is only kept until the guest has it."""
        lib.pysc_space_close_guest_ends(self.platform.engine, self.number)

    def free_slot(self) -> int:
        """Return a slot for a new thread.  EAGAIN."""
        for slot, maker in list(self.leaving.items()):
            # Of a thread that is not there yet the host has written nothing either.
            if self.channel.slots[slot].tid == 0 and (maker is None or maker.stopped or maker.gone):
                del self.leaving[slot]
        for slot in range(len(self.threads) + len(self.leaving) + 1):
            if slot not in self.threads and slot not in self.leaving:
                if slot >= lib.PYSC_SLOTS:
                    raise EAGAIN
                return slot
        raise EAGAIN

    def part_with(self, thread: SystrapThread) -> None:
        """Forget a thread that has been told to end.  Of the last one the end of the process tells."""
        if len(self.threads) > 1:
            del self.threads[thread.slot]
            self.leaving[thread.slot] = thread.maker
            thread.end()

    def donate(self, files: list[int]) -> None:
        """Send descriptors (borrowed) in one message.  ENOMEM: the host will not, or the last has not been taken."""
        if lib.pysc_donate(self.socket, files, len(files)) != 0:
            raise ENOMEM

    def take_mapped(self) -> list[Mapped]:
        """Return what fast paths have mapped since the last time; the caller leaves the dentries."""
        found, mapped = [], ffi.new("struct pysc_mapped *")
        while not self.dead and lib.pysc_space_take_mapped(self.platform.engine, self.number, mapped):
            found.append(Mapped(mapped.device, mapped.inode, mapped.dentry, mapped.mount))
        return found

    @property
    def hidden(self) -> tuple[int, int]:
        """From the guest half's own page to the end of its stacks."""
        return self.base - lib.PYSC_SPACE_OFFSET, self.base + _STACKS_END

    @property
    def own(self) -> tuple[int, int]:
        """From the lowest page to the guest's lowest all is mapped, most of it so that nothing else is."""
        low = LIMIT - _LOWEST
        return (low + _HIGH + _DATA) // _PAGE, _DATA // _PAGE

    def set_heap(self, start: int) -> None:
        """Say where brk(2) begins."""
        self.channel.heap_start = self.channel.heap_end = start

    @property
    def heap_end(self) -> int:
        """Where it is now, as the guest says."""
        end: int = 0 if self.dead else self.channel.heap_end
        return end

    def limit_heap(self, limit: int) -> None:
        """Let brk(2) make it no larger than ``limit`` bytes; 2**64-1 is no limit."""
        if not self.dead:
            self.channel.heap_limit = limit

    def limit_memory(self, limit: int) -> None:
        """Let memory calls fail with ENOMEM that would make the guest's part larger; 2**64-1 is no limit."""
        self.memory_limit = limit
        self._apply(limit)

    def set_attached(self, start: int, end: int) -> None:
        """Let calls be the kernel's that unmap, move or replace what is mapped between two addresses; 0, 0: none is."""
        if not self.dead:
            lib.pysc_space_set_attached(self.platform.engine, self.number, start, end)

    @property
    def limited(self) -> bool:
        """Whether there is such a limit."""
        return self.memory_limit != _UNLIMITED

    @contextmanager
    def unlimited(self) -> Iterator[None]:
        """While the guest half maps for itself what is no part of the guest."""
        limited = self.limited
        if limited:
            self._apply(_UNLIMITED)
        try:
            yield
        finally:
            if limited:
                self._apply(self.memory_limit)

    def _apply(self, limit: int) -> None:
        """Have the host count; the limit that cannot be raised again stays as it was."""
        if self.dead or not self.host_pid:
            return
        try:
            _soft, hard = resource.prlimit(self.host_pid, resource.RLIMIT_AS)
            soft = resource.RLIM_INFINITY if limit == _UNLIMITED else min(limit + self.platform.overhead, (1 << 62))
            if hard != resource.RLIM_INFINITY:
                soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
            resource.prlimit(self.host_pid, resource.RLIMIT_AS, (soft, hard))
        except ProcessLookupError:
            return

    def kill(self) -> None:
        """End the space and all its threads at once: GONE follows for each."""
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
        elif not self.dead:
            self._kill_at_birth = True

    def abandon(self) -> None:
        """Give up a space that the kernel has not seen, or has been told to forget."""
        for thread in self.threads.values():
            thread.owner = None
        if self.pidfd >= 0:
            self.kill()
        else:
            self.platform.strays.suspect()
            self.close()

    def _on_end(self, _ready: int) -> None:
        self.platform.unwatch(self.pidfd)
        self.platform.ended(self)

    def tell_peak(self, callback: Callable[[int], None]) -> None:
        """See :meth:`pysc.sentry.platform.interface.Space.tell_peak`."""
        if self.dead:
            callback(0)
        else:
            self._on_peak = callback

    def end(self) -> None:
        """The host process has ended: reap it, and tell of its threads."""
        if not self.dead:
            _pid, status, usage = os.wait4(self.host_pid, os.WNOHANG)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) in FAULTS:
                self.fault = os.WTERMSIG(status)
            self.close(usage.ru_maxrss)

    def close(self, peak: int = 0) -> None:
        """Free everything; threads that are left are gone, and ``peak`` KiB were resident at most."""
        if self.dead:
            return
        self.dead = True
        on_peak, self._on_peak = self._on_peak, None
        if on_peak is not None:
            on_peak(peak)
        self.donation.close()
        platform = self.platform
        for thread in list(self.threads.values()):
            thread.end()
        self.threads.clear()
        self.leaving.clear()
        self._begun.wake_all()
        born, self.born = self.born, Completion()  # a resolved one holds the first thread, which holds the space
        for waited_for in (born, self.born):
            waited_for.fail(ThreadGone())
        if self.pidfd >= 0:
            self._forget(self.pidfd)
            self.pidfd = NONE
            platform.spaces.pop(self.host_pid, None)
        platform.unborn.pop(self.number, None)
        lib.pysc_space_remove(platform.engine, self.number)
        self.channel = None
