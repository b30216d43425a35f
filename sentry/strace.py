"""--strace: one line a system call, like strace(1).  Names and types come from the table's own annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi.linux import signals
from pysc.cabi.linux.errors import BY_NUMBER, LinuxError
from pysc.sentry.kernel.scheduler import Interrupted, now
from pysc.sentry.strace_arguments import KEPT, Call, Formatter, Formatters, number, quote, signal_set

if TYPE_CHECKING:
    from pysc.sentry.kernel.siginfo import SigInfo
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.syscalls.table import Row

_CODES: Final = {
    value: name for name, value in vars(signals).items() if name.startswith("SI_") and isinstance(value, int)
}
_CHILD_CODES: Final = {value: name for name, value in vars(signals).items() if name.startswith("CLD_")}
_SEGV_CODES: Final = {value: name for name, value in vars(signals).items() if name.startswith("SEGV_")}


def show_siginfo(info: SigInfo) -> str:
    """Return a siginfo_t with the fields that its layout has, as strace(1) shows it."""
    signo, child = signals.NAMES.get(info.signo, str(info.signo)), info.layout == "child"
    names = _CHILD_CODES if child else _SEGV_CODES if info.signo == signals.SIGSEGV and info.code > 0 else {}
    fields = [("signo", signo), ("code", names.get(info.code) or _CODES.get(info.code) or str(info.code))]
    if info.errno:
        fields.append(("errno", str(info.errno)))
    status = info.status
    killed = child and info.code != signals.CLD_EXITED
    by_layout: dict[str, list[tuple[str, object]]] = {
        "kill": [("pid", info.pid), ("uid", info.uid)],
        "rt": [("pid", info.pid), ("uid", info.uid), ("value", f"{info.value:#x}")],
        "timer": [("timerid", info.timer), ("overrun", info.overrun), ("value", f"{info.value:#x}")],
        "child": [
            ("pid", info.pid),
            ("uid", info.uid),
            ("status", signals.NAMES.get(status, status) if killed else status),
            ("utime", info.utime),
            ("stime", info.stime),
        ],
        "fault": [("addr", f"{info.address:#x}")],
        "poll": [("band", info.band), ("fd", info.fd)],
        "sys": [("call_addr", f"{info.address:#x}"), ("syscall", info.fd)],
    }
    rest = [] if info.code == signals.SI_KERNEL else by_layout[info.layout]
    return "{" + ", ".join(f"si_{name}={value}" for name, value in [*fields, *rest]) + "}"


class Current:
    """The call that a task is in, or was in last."""

    __slots__ = ("args", "copied", "row", "started", "strings")

    def __init__(self, row: Row | None, args: tuple[int, ...]) -> None:
        self.row = row
        self.args = args
        self.started = now()
        self.copied: dict[int, bytes] = {}
        """The beginnings of what it copied, by address."""
        self.strings: dict[int, Sequence[bytes]] = {}


class Strace:
    """Prints through ``write(level, line)``; ``names`` limits it to those calls (None: all).

    ``most`` bytes of a buffer are shown: what the call copied in or out at its address.
    """

    __slots__ = ("_arguments", "_current", "_formatters", "_most", "_names", "_write")

    def __init__(self, write: Callable[[str, str], None], names: frozenset[str] | None = None, most: int = 64) -> None:
        self._most = most
        self._current: dict[Task, Current] = {}
        self._write = write
        self._names = names
        self._arguments = Formatters()
        self._formatters: dict[str, list[Formatter]] = {}

    def on_enter(self, task: Task, row: Row | None, args: tuple[int, ...]) -> None:
        """A call begins (or begins again)."""
        before, current = self._current.get(task), Current(row, args)
        if before is not None and task.record is not None:
            current.started = before.started
        self._current[task] = current

    def on_copy(self, task: Task, address: int, data: bytes | bytearray | memoryview) -> None:
        """Memory of the guest is read, or is about to be written."""
        current = self._current.get(task)
        if current is not None:
            current.copied.setdefault(address, bytes(data[: max(KEPT, self._most + 1)]))

    def on_strings(self, task: Task, address: int, strings: Sequence[bytes]) -> None:
        """A C string or an array of them is read."""
        current = self._current.get(task)
        if current is not None:
            current.strings.setdefault(address, strings)

    def on_exit(
        self,
        task: Task,
        nr: int,
        row: Row | None,
        args: tuple[int, ...],
        result: int | None,
        error: BaseException | None = None,
        values: Sequence[Any] = (),
    ) -> None:
        """A call has a result, or (None) was interrupted."""
        if not self._wants(row):
            return
        current = self._current.get(task)
        took = (now() - current.started if current is not None else 0) / 1e9
        self._line(task, f"{self._call(task, nr, row, args, values, result)} = {_result(result, error)} <{took:.6f}>")

    def on_native(self, task: Task, nr: int, row: Row, args: tuple[int, ...]) -> None:
        """A call goes to the host."""
        if self._wants(row):
            self._line(task, f"{self._call(task, nr, row, args, (), None)} = <by the host>")

    def on_sigreturn(self, task: Task, mask: int) -> None:
        """A handler has returned."""
        self._line(task, f"rt_sigreturn({{mask={signal_set(mask)}}})")

    def on_signal(self, task: Task, info: SigInfo) -> None:
        """A signal is delivered."""
        self._line(task, f"--- {signals.NAMES.get(info.signo, info.signo)} {show_siginfo(info)} ---")

    def on_birth(self, task: Task, child: Task) -> None:
        """A task was made."""
        kind = "thread" if child.group is task.group else "process"
        self._line(task, f"+++ new {kind} {child.tid} +++")

    def on_exec(self, task: Task) -> None:
        """A program was executed: the call does not come back."""
        current = self._current.get(task)
        if current is not None and current.row is not None and self._wants(current.row):
            self._line(task, f"{self._call(task, 0, current.row, current.args, (), 0)} = 0")

    def on_end(self, task: Task, status: int) -> None:
        """A task has ended; ``status`` as wait(2) encodes it."""
        self._current.pop(task, None)
        how = (
            f"killed by {signals.NAMES.get(status & 0x7F, status & 0x7F)}" if status & 0x7F else f"exited {status >> 8}"
        )
        self._line(task, f"+++ {how} +++")

    def _wants(self, row: Row | None) -> bool:
        return self._names is None or row is None or row.name in self._names

    def _line(self, task: Task, text: str) -> None:
        self._write("info", f"[{task.tid:5}] {task.comm.decode('ascii', 'backslashreplace')} {text}")

    def _call(
        self, task: Task, nr: int, row: Row | None, args: tuple[int, ...], values: Sequence[Any], result: int | None
    ) -> str:
        if row is None:
            return f"syscall_{nr}({', '.join(map(hex, args))})"
        if row.handler is None:
            return f"{row.name}({', '.join(map(hex, args))})"
        formatters = self._formatters.get(row.name)
        if formatters is None:
            code = row.handler.__code__
            formatters = [self._arguments.of(row.name, name) for name in code.co_varnames[1 : code.co_argcount]]
            self._formatters[row.name] = formatters
        current = self._current.get(task)
        copied, strings = ({}, {}) if current is None else (current.copied, current.strings)
        call = Call(task, copied, strings, args, result, self._most)
        shown = []
        for index, (show, decode) in enumerate(zip(formatters, row.decoders, strict=True)):
            string = strings.get(args[index], ())
            if index < len(values) and isinstance(values[index], bytes):
                shown.append(quote(values[index]))
            elif len(string) == 1 and (decode is None or show is number):
                shown.append(quote(string[0]))
            elif decode is None:
                shown.append(hex(args[index]))
            else:
                try:
                    shown.append(show(call, decode(args[index])))
                except LinuxError:
                    shown.append(hex(args[index]))
        return f"{row.name}({', '.join(shown)})"


def _result(result: int | None, error: BaseException | None) -> str:
    if result is None:
        return f"? ({error.reason.value})" if isinstance(error, Interrupted) else "?"
    if -4096 < result < 0:
        kind = BY_NUMBER.get(-result)
        name = kind.__name__ if kind is not None else "errno"
        detail = f" ({error})" if isinstance(error, LinuxError) and str(error) else ""
        return f"-{-result} {name}{detail}"
    return str(result) if result < 1 << 16 else hex(result)
