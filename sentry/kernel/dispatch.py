"""Events of threads become system calls of tasks, faults become signals.

A bug in a handler is contained: its call fails with EIO and the log has the traceback.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi import objects
from pysc.cabi.linux.errors import EFAULT, EIO, ENOMEM, ENOSYS, ESTALE, LinuxError
from pysc.cabi.linux.signals import SI_KERNEL, SIGKILL, SIGSEGV
from pysc.sentry.kernel.clone import forget
from pysc.sentry.kernel.delivery import return_to_guest
from pysc.sentry.kernel.exit import end_group, exit_task
from pysc.sentry.kernel.scheduler import Interrupted, Reason, yield_now
from pysc.sentry.kernel.signals import SigInfo, force_signal, notify, set_mask
from pysc.sentry.kernel.task import Record, Return, Task, TaskState
from pysc.sentry.platform.interface import Event, Kind, ThreadGone
from pysc.sentry.syscalls.table import HostCall, NoReply, Prepared, Restart, Row

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel

NR_FUTEX: Final = 202
FUTEX_COMMAND: Final = 127
FUTEX_WAITS: Final = frozenset({0, 9})
"""FUTEX_WAIT, FUTEX_WAIT_BITSET."""
SLEEPS: Final = frozenset({35, 230})
"""nanosleep, clock_nanosleep."""
STALE_TRIES: Final = 256
"""How often a call begins again because a file that it had found was replaced on the host.

Where somebody does that without pause, up to three tries in four come too late.
"""
_FATAL_NAMES = frozenset({"exit", "exit_group", "execve", "execveat", "rt_sigreturn"})
"""Calls after whose failure by a bug the task cannot go on."""


def on_event(kernel: Kernel, event: Event) -> None:
    """Handle one report of the platform's."""
    task = event.thread.owner
    if not isinstance(task, Task) or task.state is TaskState.DEAD or task.thread is not event.thread:
        if event.kind is not Kind.GONE:
            event.thread.exit(0)
        return
    if event.kind is Kind.GONE:
        _on_gone(task)
        return
    task.state = TaskState.KERNEL
    task.preempting = False
    native, task.native = task.native, None
    untake, task.untake = task.untake, None
    if event.kind is Kind.UNDONE and untake is not None:
        untake()
    if event.kind is Kind.FAILED:
        _on_failed(task, native, event.args[0])
        return
    if task.killed:
        held = event.thread.take_held() if event.kind is Kind.RESUMED else None
        if held is not None:
            held.put()
        exit_task(task)
        return
    match event.kind:
        case Kind.SYSCALL:
            task.record = None
            dispatch(task, event.nr, event.args)
        case Kind.RESUMED:
            held = event.thread.take_held()
            task.record = None if held is None else Record(files={event.args[0] & 0xFFFF_FFFF: held})
            dispatch(task, event.nr, event.args)
        case Kind.UNDONE:
            if kernel.strace is not None:
                kernel.strace.on_exit(task, event.nr, kernel.table.rows.get(event.nr), event.args, -EFAULT.errno)
            return_to_guest(task, Return(event.nr, event.args, -EFAULT.errno))
        case Kind.PREEMPTED:
            task.attention = True
            return_to_guest(task, Return())
        case Kind.INTERRUPTED:
            task.attention = True
            return_to_guest(task, Return(event.nr, event.args, None, _native_policy(event.nr, event.args)))
        case Kind.FAULT:
            signo, code, address = event.args[:3]
            if not 1 <= signo <= 31:
                signo = SIGSEGV
            code = code & 0xFFFF_FFFF
            code = code - (1 << 32) if code >> 31 else code
            info = SigInfo.kernel(signo) if code == SI_KERNEL else SigInfo.fault(signo, code, address)
            force_signal(task, info)
            return_to_guest(task, Return())
        case Kind.SIGRETURN:
            if kernel.strace is not None:
                kernel.strace.on_sigreturn(task, event.args[0])
            set_mask(task, event.args[0])
            return_to_guest(task, Return())


def _native_policy(nr: int, args: tuple[int, ...]) -> Restart:
    """Say what the interruption of a call becomes that the guest half was making, asked to or not."""
    if nr == NR_FUTEX and args[1] & FUTEX_COMMAND in FUTEX_WAITS:
        return Restart.BLOCK if args[3] else Restart.SYS
    return Restart.BLOCK if nr in SLEEPS else Restart.NOINTR


def _on_failed(task: Task, native: Return | None, error: int) -> None:
    """What goes with a verdict could not be done: no child was made, or a new program has no memory."""
    if native is None or native.child is None:
        end_group(task.group, SIGSEGV)
    else:
        forget(native.child)
        native = Return(native.nr, native.args, -error)
    if task.killed:
        exit_task(task)
    else:
        return_to_guest(task, native or Return())


def _on_gone(task: Task) -> None:
    """The host thread has ended under a living task: killed with its space, or by the host."""
    task.memory.ended = True
    if not task.killed:
        end_group(task.group, task.memory.space.fault or SIGKILL)
    if task.routine is None:
        exit_task(task, gone=True)


def dispatch(task: Task, nr: int, args: tuple[int, ...]) -> None:
    """Carry out a system call of a stopped task."""
    kernel = task.kernel
    row = kernel.table.rows.get(nr)
    if kernel.strace is not None:
        kernel.strace.on_enter(task, row, args)
    if row is None or row.handler is None:
        _note_refused(kernel, task, nr, row)
        result = -ENOSYS.errno if row is None else -row.errno
        if kernel.strace is not None:
            kernel.strace.on_exit(task, nr, row, args, result)
        return_to_guest(task, Return(nr, args, result))
        return
    if row.grows and objects.memory_is_out():
        finish(task, nr, args, row, None, ENOMEM())
        return
    if row.finds_names:
        call = _Call(task, nr, args, row)
        _start(task, _run_with_paths(call), call)
        return
    try:
        result = row.handler(task, *row.decode(args))
    except BaseException as error:  # contained: see finish
        finish(task, nr, args, row, None, error)
        return
    if row.is_async:
        _start(task, result, _Call(task, nr, args, row))
    else:
        finish(task, nr, args, row, result, None)


def _start(task: Task, coroutine: Coroutine[Any, Any, Any], call: _Call) -> None:
    routine = task.kernel.scheduler.start(coroutine, task, call)
    if not routine.done:
        task.routine = routine
        if routine.parked:
            task.thread.let_wait()


async def _run_with_paths(call: _Call) -> Any:
    task, row = call.task, call.row
    assert row.handler is not None
    values = call.values = []
    for decode, value in zip(row.decoders, call.args, strict=False):
        if decode is not None:
            values.append(decode(value))
        else:
            values.append(await task.copy_in_string(value) if value or not row.takes_null else None)
    for _ in range(STALE_TRIES):
        try:
            result = row.handler(task, *values)
            return await result if row.is_async else result
        except ESTALE:  # a name led to another file by the time that it was used (Linux: retry_estale)
            await yield_now()
    raise ESTALE


class _Call:
    """A call in progress that may wait; called at its end."""

    __slots__ = ("args", "nr", "row", "task", "values")

    def __init__(self, task: Task, nr: int, args: tuple[int, ...], row: Row) -> None:
        self.task = task
        self.nr = nr
        self.args = args
        self.row = row
        self.values: list[Any] = []
        """The decoded arguments of a call with paths."""

    def __call__(self, value: Any, error: BaseException | None) -> None:
        task = self.task
        task.routine = None
        if task.state is TaskState.DEAD:
            return
        if task.memory.ended and not isinstance(value, NoReply):
            exit_task(task, gone=True)
            return
        finish(task, self.nr, self.args, self.row, value, error, self.values)


def finish(
    task: Task,
    nr: int,
    args: tuple[int, ...],
    row: Row,
    value: Any,
    error: BaseException | None,
    values: Sequence[Any] = (),
) -> None:
    """Answer a call with what its handler returned or raised."""
    kernel = task.kernel
    back = Return(nr, args)
    if error is None:
        if value is None:
            back.result = 0
        elif isinstance(value, HostCall):
            _start_native(task, Return(nr, args), value)
            return
        elif isinstance(value, NoReply):
            return
        elif isinstance(value, Prepared):
            _start_native(task, Return(nr, args, child=value.child), None)
            return
        else:
            back.result = int(value)
    elif isinstance(error, LinuxError):
        back.result = -error.errno
        if task.record is not None:  # begun again, it failed before it was where it had been
            back.result = task.record.messages or task.record.done or back.result
    elif isinstance(error, Interrupted):
        back.restart = row.restart
        back.thawed = error.reason is Reason.FREEZE
        task.attention = True
    elif isinstance(error, ThreadGone):
        _on_gone(task)
        return
    else:
        kernel.report_bug(f"{row.name} of task {task.tid}", error)
        if row.name in _FATAL_NAMES:
            end_group(task.group, SIGKILL)
        back.result = -EIO.errno
    if kernel.strace is not None:
        kernel.strace.on_exit(task, nr, row, args, back.result, error, values)
    return_to_guest(task, back)


def _start_native(task: Task, back: Return, call: HostCall | None) -> None:
    if task.killed:
        exit_task(task)
        return
    kernel = task.kernel
    if kernel.strace is not None:
        kernel.strace.on_native(task, back.nr, kernel.table.rows[back.nr], back.args)
    task.native = back
    task.state = TaskState.GUEST
    if call is None:
        task.thread.reply_prepared()
    else:
        task.thread.run_host_call(call.nr, *call.args)
    if task.attention:
        notify(task)


def _note_refused(kernel: Kernel, task: Task, nr: int, row: Row | None) -> None:
    if nr in kernel.compat_seen or len(kernel.compat_seen) > 1024:
        return
    kernel.compat_seen.add(nr)
    name = f"number {nr}" if row is None else row.name
    if row is None or row.note == "not implemented":
        kernel.log.info(f"unsupported system call {name} by {task.comm!r}")
    else:
        kernel.log.debug(f"refused system call {name} by {task.comm!r}: {row.note}")
