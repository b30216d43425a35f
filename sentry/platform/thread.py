"""A guest thread of the systrap platform: its birth, its registers and files, its verdicts."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import astuple

from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import EAGAIN, EFAULT, ENOEXEC, ENOMEM, LinuxError, linux_error
from pysc.cabi.linux.mman import MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pysc.sentry.fs import hostproc
from pysc.sentry.fs.file import FileDescription, referenced
from pysc.sentry.platform.commands import MASK, Commands
from pysc.sentry.platform.interface import Access, Image, Kind, Registers, SignalFrame, ThreadGone

if TYPE_CHECKING:
    from pysc.sentry.platform.space import SystrapSpace

_REGISTERS: Final = struct.Struct("<19Q")
_FRAME: Final = struct.Struct("<iI7Q128s")
_NO_PRIORITY: Final = os.sched_param(0)
_SLOT_REGS: Final[int] = ffi.offsetof("struct pysc_slot", "regs")
_SLOT_FRAME: Final[int] = ffi.offsetof("struct pysc_slot", "frame")
_IDS: Final = struct.Struct("<IiiiIIII")
_SLOT_IDS: Final[int] = ffi.offsetof("struct pysc_slot", "ids")
_SLOT_CLEAR_TID: Final[int] = ffi.offsetof("struct pysc_slot", "clear_tid")
_SLOT_ROBUST_LIST: Final[int] = ffi.offsetof("struct pysc_slot", "robust_list")


class SystrapThread(Commands):
    """Invariant: ``number`` names it in the engine while ``gone`` is false; ``stopped`` says whose turn it is."""

    __slots__ = (
        "_conditional",
        "_decisive",
        "_frame_fault",
        "_host_tid",
        "_preempted",
        "_prepared",
        "_prepared_flags",
        "child",
        "maker",
        "owner",
        "said",
        "slot",
        "space",
        "stack",
        "stopped",
        "tls",
    )

    def __init__(self, space: SystrapSpace, slot: int, maker: SystrapThread | None = None) -> None:
        """``maker`` is who is going to be told to make it; else it is a blank's, and will report."""
        engine = space.platform.engine
        number = lib.pysc_thread_add(engine, space.number, slot, maker is not None)
        if number < 0:
            raise linux_error(-number)
        super().__init__(engine, number, space.channel.slots + slot)
        self.space: SystrapSpace = space
        self.slot = slot
        self.owner: Any = None
        self.said = (0, 0)
        self._host_tid = 0
        self.stopped = maker is not None
        self.maker = maker
        """Who is told to make it, until it has reported."""
        self.child: SystrapThread | None = None
        """Whom it prepared to make, until it has reported."""
        self.stack = 0
        self.tls: int | None = None
        self._frame_fault: Callable[[], None] | None = None
        self._preempted = False
        self._prepared = 0
        self._prepared_flags = 0
        self._conditional = False
        """The next verdict is to be given only if what has been ordered works."""
        self._decisive = 0
        """The command whose failure forbids the verdict."""
        space.threads[slot] = self
        space.platform.threads[self.number] = self

    # Called by the platform
    def done(self) -> None:
        """Continue who awaits the batch; if nobody does, a verdict was impossible."""
        completion, self._completion = self._completion, None
        if completion is None:
            self._refuse()
            return
        for index in self._puts:
            if lib.pysc_result(self.engine, self.number, index) < 0:
                self._put_failed = True
        self._puts.clear()
        completion.resolve(None)

    def _refuse(self) -> None:
        """What a verdict depended on has failed."""
        self.stopped = True
        if self.child is not None:
            self.child.drop()
            self.child = None
        result = self._result(self._decisive)
        self.space.platform.tell(self, Kind.FAILED, -result if -4096 < result < 0 else EAGAIN.errno)

    def made(self) -> None:
        """Whom it was told to make it has made, as far as it can say."""
        child, self.child = self.child, None
        if child is not None:
            child.space.note_made()

    def begin_as(self, pid: int) -> None:
        """The space's process is known; this is its first thread."""
        self._host_tid = pid
        slot = self.space.channel.slots[self.slot]
        slot.tid = pid
        if slot.early:
            lib.pysc_tgkill(pid, pid, lib.PYSC_SIGNAL_PREEMPT)

    @property
    def busy(self) -> bool:
        """Whether it has been given commands whose end is awaited."""
        return self._completion is not None

    def frame_failed(self) -> None:
        """A verdict's frame could not be written."""
        self.stopped = True
        if self._frame_fault is not None:
            self._frame_fault()

    def end(self) -> None:
        """The host thread is no more."""
        if self.gone:
            return
        self.gone = True
        platform = self.space.platform
        held = lib.pysc_thread_remove(self.engine, self.number)
        if held >= 0:
            referenced[held].put()
        self.space.donation.taken()
        platform.threads.pop(self.number, None)
        completion, self._completion = self._completion, None
        if completion is not None:
            completion.fail(ThreadGone())
        self._memory = None
        self.maker = None
        self.made()
        platform.tell(self, Kind.GONE)

    # Files and registers
    async def map_file(self, address: int, length: int, prot: int, flags: int, file: int, offset: int) -> int:
        """Donate the descriptor ``file`` (borrowed), let the thread mmap it, and close it there; address or -errno."""
        async with self.space.donation:
            if self.gone:
                raise ThreadGone
            index = self._map_donated(file, address, length, prot, flags, offset)
            await self._batch()
            return self._result(index)

    async def map_image(self, address: int, length: int, prot: int, file: int, offset: int) -> int:
        """Map memory that was saved in ``file`` (borrowed), instead of what is there; address or -errno."""
        async with self.space.donation:
            if self.gone:
                raise ThreadGone
            flags = MAP_PRIVATE | MAP_FIXED
            index = self._map_donated(file, address, length, prot, flags, offset, command_flags=lib.PYSC_FLAG_IMAGE)
            await self._batch()
            return self._result(index)

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
        """Donate the descriptor ``file`` (borrowed) for a mmap that goes with :meth:`reply_prepared`; false: not now.

        ``again``: the description of that index (cabi) may be mapped privately by fast paths from now on, and whether
        for execution.

        A space of several threads must hear when the message has been taken, since another may donate meanwhile.
        """
        if self.gone or len(self.space.threads) != 1:
            return False
        if again is not None and flags & MAP_SHARED == 0:
            lib.pysc_space_note_mapping(self.engine, self.space.number, again[0], file, again[1])
        self._prepared = self._map_donated(file, address, length, prot, flags, offset)
        self._prepared_flags = lib.PYSC_FLAG_RESULT
        return True

    def _map_donated(
        self, file: int, address: int, length: int, prot: int, flags: int, offset: int, *, command_flags: int = 0
    ) -> int:
        self.space.donate([file])
        self._command(lib.PYSC_CMD_RECEIVE, 1)
        index = self._command(lib.PYSC_CMD_MAP, address, length, prot, flags, 0, offset, flags=command_flags)
        self._command(lib.PYSC_CMD_CLOSE)
        return index

    async def registers(self) -> Registers:
        """Return the guest's registers at the event."""
        if self.gone:
            raise ThreadGone
        return Registers(*_REGISTERS.unpack_from(self._memory, _SLOT_REGS))

    async def set_registers(self, registers: Registers) -> None:
        """Change them; the guest half drops what a guest may not have (flags, segments)."""
        if self.gone:
            raise ThreadGone
        r = registers
        values: tuple[int, ...] = (r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11)
        values += (r.r12, r.r13, r.r14, r.r15, r.rip, r.eflags, r.fs_base)
        packed = _REGISTERS.pack(*[value & MASK for value in values])
        self._memory[_SLOT_REGS : _SLOT_REGS + _REGISTERS.size] = packed
        self._command(lib.PYSC_CMD_SET_REGISTERS)

    def set_ids(self, pid: int, tid: int, ppid: int, uid: int, euid: int, gid: int, egid: int) -> None:
        """Set what the guest half answers getpid and its kin from; call it at birth and whenever one changes."""
        if not self.gone:
            packed = _IDS.pack(1, pid, tid, ppid, uid, euid, gid, egid)
            self._memory[_SLOT_IDS : _SLOT_IDS + _IDS.size] = packed
            lib.pysc_thread_set_pid(self.engine, self.number, pid)

    @property
    def clear_tid(self) -> int:
        """The word that is cleared when the thread ends, as the guest half has it."""
        return self._word(_SLOT_CLEAR_TID)

    @clear_tid.setter
    def clear_tid(self, address: int) -> None:
        self._set_word(_SLOT_CLEAR_TID, address)

    @property
    def robust_list(self) -> int:
        """The head of its robust list."""
        return self._word(_SLOT_ROBUST_LIST)

    @robust_list.setter
    def robust_list(self, address: int) -> None:
        self._set_word(_SLOT_ROBUST_LIST, address)

    def _word(self, offset: int) -> int:
        return 0 if self.gone else int.from_bytes(self._memory[offset : offset + 8], "little")

    def _set_word(self, offset: int, value: int) -> None:
        if not self.gone:
            self._memory[offset : offset + 8] = value.to_bytes(8, "little")

    # New threads
    def fork(self) -> SystrapThread:
        """Prepare a space that is to be a copy of this one, with one thread that is a copy of this one.  EAGAIN.

        It is stopped, and may be given its verdict at once; it begins once this one has borne it.
        """
        space = self.space.platform.copy_of(self.space)
        try:
            self.child = SystrapThread(space, self.slot, self)
        except BaseException:
            space.close()
            raise
        return self.child

    def clone(self, stack: int, tls: int | None) -> SystrapThread:
        """Prepare a thread here, as :meth:`fork` does: with this one's registers, but its stack and FS base.  EAGAIN.

        ``stack`` 0, ``tls`` None: they are this one's.
        """
        if self.gone:
            raise ThreadGone
        self.child = thread = SystrapThread(self.space, self.space.free_slot(), self)
        thread.stack, thread.tls = stack, tls
        return thread

    async def bear(self, told: tuple[int, bytes] | None = None) -> None:
        """Make the thread that was prepared last.  EAGAIN, ENOMEM: it is dropped, and no event tells of it.

        ``told`` (an address, and what) is copied to this thread's memory; a fault is ignored.
        """
        space, child = self.space, self._prepared_child()
        try:
            if child.space is space:
                index = self._order(child, told)
                await self._batch()
            else:
                async with space.donation:
                    with space.unlimited():
                        index = self._order(child, told)
                        await self._batch()
            result = self._result(index)
            if result < 0:
                raise ENOMEM if result == -ENOMEM.errno else EAGAIN
            self.made()
        except LinuxError:
            child.drop()
            raise

    def prepare_birth(self, told: tuple[int, bytes] | None, tid: int) -> bool:
        """Let :meth:`reply_prepared` do it, and reply ``tid``, or else report Kind.FAILED; false: not now."""
        space, child = self.space, self._prepared_child()
        if child.space is not space and (len(space.threads) != 1 or space.limited):
            return False  # it must be known when the message has been taken, or when the limit may hold again
        try:
            self._decisive = self._order(child, told)
        except LinuxError:
            child.drop()
            raise
        self._prepared = tid
        self._prepared_flags = lib.PYSC_FLAG_UNLESS_FAILED
        return True

    def _order(self, child: SystrapThread, told: tuple[int, bytes] | None) -> int:
        """Append what makes the child; return the index of what says whether it could be made."""
        if self.gone:
            raise ThreadGone
        if child.gone:
            raise EAGAIN
        if child.space is self.space:
            self._tell(told)  # the child may look at it
            index = self._command(lib.PYSC_CMD_CLONE, child.slot, child.stack, child.tls is not None, child.tls or 0)
        else:
            self.space.donate([child.space.memory, child.space.guest_socket])
            child.space.close_guest_ends()
            index = self._command(lib.PYSC_CMD_FORK)
            self._tell(told)  # and has none of it here
        if lib.pysc_bear(self.engine, self.number, self.space.host_pid, child.number) != 0:
            raise RuntimeError("a thread bears one child at a time")
        return index

    def _prepared_child(self) -> SystrapThread:
        if self.child is None:
            raise RuntimeError("no child was prepared")
        return self.child

    def _tell(self, told: tuple[int, bytes] | None) -> None:
        if told is not None:
            lib.pysc_put(self.engine, self.number, lib.PYSC_CMD_COPY_OUT, told[0] & MASK, told[1], len(told[1]))

    def drop(self) -> None:
        """Forget a thread that was prepared and will not be: no event tells of it."""
        self.owner = None
        if self.gone:
            return
        if self.maker is not None and self.maker.space is self.space:
            self.space.threads.pop(self.slot, None)
            self.end()
        else:
            self.space.abandon()

    async def exec(self, image: Image) -> SystrapThread:
        """Start ``image`` in a fresh space: return its first thread, stopped at the entry (verdict: resume()).

        This thread stays stopped; the kernel then ends it, or its whole space.  EAGAIN, ENOMEM, ENOEXEC.  What cannot
        be mapped is reported as Kind.FAILED once there is a verdict.
        """
        return await self.space.platform.first_thread(image, checked=False)

    async def load(self, image: Image, *, checked: bool) -> None:
        """Make this blank thread's space the image's: now, or with the verdict.  ENOMEM, ENOEXEC."""
        checks: list[tuple[int, int]] = []
        if image.files:
            self.space.donate(list(image.files))
            self._command(lib.PYSC_CMD_RECEIVE, len(image.files))
        for entry in image.maps:
            if len(checks) > lib.PYSC_COMMANDS - 4:
                await self._check(checks)
            arguments = (entry.address, entry.length, entry.prot, entry.flags, entry.file, entry.offset)
            kind = lib.PYSC_FLAG_IMAGE if entry.image else 0
            checks.append((self._command(lib.PYSC_CMD_MAP, *arguments, flags=kind), entry.address))
            if entry.zero_from:
                size = -entry.zero_from % 4096
                checks.append((self._command(lib.PYSC_CMD_ZERO, entry.zero_from, size), size))
        address, data = image.stack
        if len(data) <= lib.PYSC_DATA_ROOM:
            index = lib.pysc_put(self.engine, self.number, lib.PYSC_CMD_COPY_OUT, address, data, len(data))
            checks.append((index, len(data)))
        else:
            await self._check(checks)
            await self.copy_out(address, data)
        self._command(lib.PYSC_CMD_CLOSE)
        await self.set_registers(image.registers)
        if checked:
            await self._check(checks)
        self._conditional = not checked

    async def _check(self, checks: list[tuple[int, int]]) -> None:
        await self._batch()
        for index, wanted in checks:
            result = self._result(index)
            if result == -ENOMEM.errno:
                raise ENOMEM
            if result != wanted:
                raise ENOEXEC("it cannot be mapped: its segments are malformed or cut off")
        checks.clear()

    # Verdicts
    def _verdict(self, op: int, frame: SignalFrame | None, a0: int = 0, a1: int = 0) -> None:
        if self.gone:
            return
        if frame is not None:
            self._write_frame(frame)
        flags = lib.PYSC_FLAG_FRAME if frame is not None else 0
        if self._conditional:
            flags |= lib.PYSC_FLAG_UNLESS_FAILED
        self._command(op, a0, a1, flags=flags | (lib.PYSC_FLAG_PREEMPT if self._preempted else 0))
        self._go()

    def _go(self) -> None:
        self._puts.clear()
        self._put_bytes = 0
        self._put_failed = False
        self._preempted = False
        self._conditional = False
        self.stopped = False
        lib.pysc_flush(self.engine, self.number)

    def _write_frame(self, frame: SignalFrame) -> None:
        stack = frame.stack or (0, 0, 0)
        has_stack = frame.stack is not None
        numbers = (frame.handler, frame.restorer, frame.mask, *stack, frame.on_stack)
        packed = _FRAME.pack(frame.signo, has_stack, *[n & MASK for n in numbers], frame.info)
        self._memory[_SLOT_FRAME : _SLOT_FRAME + _FRAME.size] = packed

    def reply(self, result: int, frame: SignalFrame | None = None) -> None:
        """End the syscall with ``result`` (signed; -errno) and go on, through ``frame``'s handler if there is one."""
        if self._put_failed:
            result = -EFAULT.errno
        if frame is not None or self.gone:
            self._verdict(lib.PYSC_CMD_REPLY, frame, result)
        else:
            self._reply(lib.pysc_reply, result)

    def reply_undoable(self, result: int) -> None:
        """The same; where what goes with it cannot be stored, report Kind.UNDONE."""
        if not self.gone:
            self._reply(lib.pysc_reply_undoable, result)

    def _reply(self, how: Callable[[Any, int, int], int], result: int) -> None:
        if self._puts:
            self._puts.clear()
        self._put_bytes = 0
        self._put_failed = False
        self._preempted = False
        self.stopped = False
        if how(self.engine, self.number, result) < 0:
            raise RuntimeError("reply to a thread that is not stopped")

    def resume(self, frame: SignalFrame | None = None) -> None:
        """Go on with the registers as they are (after PREEMPTED, FAULT, SIGRETURN, exec)."""
        self._verdict(lib.PYSC_CMD_RESUME, frame)

    def restart(self, nr: int, frame: SignalFrame | None = None) -> None:
        """Go back to the syscall instruction, with rax = ``nr`` (the same call, or restart_syscall)."""
        self._verdict(lib.PYSC_CMD_RESTART, frame, nr)

    def run_host_call(self, nr: int, *args: int) -> None:
        """Let the thread make one host call of the keyhole by itself, and go on with its result as the syscall's.

        The thread is running meanwhile: futex and clock_nanosleep may take long; preempt() ends them as INTERRUPTED.
        """
        if self.gone:
            return
        a = (*args, 0, 0, 0, 0, 0, 0)
        flags = lib.PYSC_FLAG_PREEMPT if self._preempted else 0
        self._command(lib.PYSC_CMD_RUN, nr, a[0], a[1], a[2], a[3], a[4], a[5], flags=flags)
        self._go()

    def reply_prepared(self) -> None:
        """End the syscall with the result of what was prepared."""
        if not self.gone:
            self._command(lib.PYSC_CMD_REPLY, self._prepared, flags=self._prepared_flags)
            self._go()

    def exit(self, clear_tid: int) -> None:
        """End this host thread: it first handles its robust list, then clears and wakes ``clear_tid`` (0: none).

        GONE follows.  The last thread's end is its space's.
        """
        if not self.gone:
            if len(self.space.threads) == 1:
                self._preempt_nobody()
            self._verdict(lib.PYSC_CMD_EXIT, None, clear_tid)
            self.space.part_with(self)

    def _preempt_nobody(self) -> None:
        """Let the host do its part of a process's end when we have told those who wait for it, not before."""
        host_tid = self.host_tid
        if host_tid:
            try:
                os.sched_setscheduler(host_tid, os.SCHED_BATCH, _NO_PRIORITY)
            except OSError:  # it has ended
                pass

    def on_frame_fault(self, callback: Callable[[], None]) -> None:
        """Call back instead of running when a verdict's frame could not be written: the kernel then forces SIGSEGV."""
        self._frame_fault = callback

    def use_files(self, table: int) -> None:
        """Let the calls of this thread that fast paths answer refer to the descriptor table of that index (cabi)."""
        if not self.gone:
            lib.pysc_thread_use_table(self.engine, self.number, table)

    def set_limits(self, limits: bytes) -> None:
        """Let them show these resource limits: 16 pairs of u64."""
        if not self.gone:
            lib.pysc_thread_set_limits(self.engine, self.number, limits, len(limits))

    def use_handlers(self, handlers: int) -> None:
        """Let them set the dispositions of that index (cabi)."""
        if not self.gone:
            lib.pysc_thread_use_handlers(self.engine, self.number, handlers)

    def use_context(self, context: int) -> None:
        """Let them walk paths from the root and working directory of that index (cabi)."""
        if not self.gone:
            lib.pysc_thread_use_context(self.engine, self.number, context)

    def set_access(self, access: Access) -> None:
        """Let them check permissions by these."""
        if not self.gone:
            fields = ffi.new("struct pysc_access *", astuple(access))
            lib.pysc_thread_set_access(self.engine, self.number, fields)

    @property
    def sigmask(self) -> int:
        """The blocked signals."""
        return 0 if self.gone else lib.pysc_thread_sigmask(self.engine, self.number)

    @sigmask.setter
    def sigmask(self, mask: int) -> None:
        if not self.gone:
            lib.pysc_thread_set_sigmask(self.engine, self.number, mask)

    def set_quiet(self, quiet: bool) -> None:
        """Say whether no signal is pending for it, so that it may change ``sigmask`` by itself."""
        if not self.gone:
            lib.pysc_thread_set_quiet(self.engine, self.number, quiet)

    def let_wait(self) -> None:
        """The call that it made waits: the thread need not look for its answer."""
        if not self.gone:
            lib.pysc_thread_let_wait(self.engine, self.number)

    def take_held(self) -> FileDescription | None:
        """Return what the call has waited with that is RESUMED: the reference is the caller's."""
        held = -1 if self.gone else lib.pysc_thread_take_held(self.engine, self.number)
        return referenced[held] if held >= 0 else None

    @property
    def waits(self) -> bool:
        """Whether it waits in a call that the kernel has not seen: a fast path's, or one that it makes by itself."""
        if self.gone:
            return False
        if lib.pysc_thread_waits(self.engine, self.number):
            return True
        own = lib.pysc_thread_has_turn(self.engine, self.number)
        return bool(own) and hostproc.sleeps(self.space.host_pid, self.host_tid)

    def preempt(self) -> None:
        """Make a running thread report soon (PREEMPTED or INTERRUPTED, or the event that it was about to make anyway).

        Of a stopped thread it is remembered until its verdict: a native call is then not begun, but INTERRUPTED, and
        a handler that is entered is PREEMPTED before its first instruction.
        """
        if self.stopped:
            self._preempted = True
        elif not self.gone and not lib.pysc_thread_rouse(self.engine, self.number):
            self.space.channel.slots[self.slot].early = 1  # it looks there when it begins, if it has not yet
            host_tid = self.host_tid
            if host_tid:
                lib.pysc_tgkill(self.space.host_pid, host_tid, lib.PYSC_SIGNAL_PREEMPT)

    @property
    def host_tid(self) -> int:
        """What the host calls it, as its slot says, and one of its own process; 0 before it has begun."""
        if not self._host_tid and self.space.host_pid and not self.space.dead:
            tid = self.space.channel.slots[self.slot].tid
            if tid and lib.pysc_tgkill(self.space.host_pid, tid, 0) == 0:
                self._host_tid = tid
        return self._host_tid
