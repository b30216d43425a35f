"""--strace: one line a system call, like strace(1).  Names and types come from the table's own annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from pysc.cabi.linux import fcntl, ipc, mman, sched, signals
from pysc.cabi.linux.errors import BY_NUMBER, EBADF, LinuxError
from pysc.sentry.kernel.scheduler import Interrupted, now

if TYPE_CHECKING:
    from pysc.sentry.kernel.siginfo import SigInfo
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.syscalls.table import Row

Formatter = Callable[["Task", int], str]

_STRING_MAX: Final = 256
_ESCAPES: Final = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
_FD_NAMES: Final = frozenset(
    {"fd", "dirfd", "oldfd", "newfd", "olddirfd", "newdirfd", "epfd", "out_fd", "in_fd", "mqdes"}
)
_SIGNAL_NAMES: Final = frozenset({"signo", "signum", "sig"})
_MODE_NAMES: Final = frozenset({"mode"})


def _names(module: Any, *prefixes: str, but: Sequence[str] = ()) -> dict[int, str]:
    found = {
        value: name
        for name, value in vars(module).items()
        if name.startswith(prefixes) and isinstance(value, int) and value and name not in but
    }
    return {value: name for value, name in found.items() if value & (value - 1) == 0}


_OPEN: Final = _names(fcntl, "O_")
_PROT: Final = _names(mman, "PROT_")
_MAP: Final = _names(mman, "MAP_")
_CLONE: Final = _names(sched, "CLONE_", but=("CLONE_ARGS_SIZE_VER0",))
_AT: Final = _names(fcntl, "AT_")
_CODES: Final = {
    value: name for name, value in vars(signals).items() if name.startswith("SI_") and isinstance(value, int)
}
_CHILD_CODES: Final = {value: name for name, value in vars(signals).items() if name.startswith("CLD_")}
_SEGV_CODES: Final = {value: name for name, value in vars(signals).items() if name.startswith("SEGV_")}
_WITH_BUFFERS: Final = frozenset(
    {
        "read",
        "write",
        "pread64",
        "pwrite64",
        "sendto",
        "recvfrom",
        "readlink",
        "readlinkat",
        "getcwd",
        "mq_timedsend",
        "mq_timedreceive",
    }
)
"""Their ``buf`` or ``msg_ptr`` is shown, not only its address."""
_IPC: Final = _names(ipc, "IPC_CREAT", "IPC_EXCL", "IPC_NOWAIT")
_SHMAT: Final = _names(ipc, "SHM_RDONLY", "SHM_RND", "SHM_REMAP", "SHM_EXEC")
_MSG: Final = _names(ipc, "IPC_NOWAIT", "MSG_NOERROR", "MSG_EXCEPT", "MSG_COPY")
_COMMANDS: Final = {"shmctl": ipc.SHM_COMMANDS, "semctl": ipc.SEM_COMMANDS, "msgctl": ipc.MSG_COMMANDS}
_CREATING: Final = {
    "semflg": _IPC,
    "msgflg": _IPC,
    "shmflg": _names(ipc, "IPC_CREAT", "IPC_EXCL", "SHM_HUGETLB", "SHM_NORESERVE"),
}
"""Flags that have a mode in them, by the name of the argument of semget(2) and its kin."""
_FLAGS: Final = {
    ("openat", "flags"): _OPEN,
    ("open", "flags"): _OPEN,
    ("mq_open", "oflag"): _OPEN,
    ("pipe2", "flags"): _OPEN,
    ("dup3", "flags"): _OPEN,
    ("mmap", "prot"): _PROT,
    ("mprotect", "prot"): _PROT,
    ("mmap", "flags"): _MAP,
    ("clone", "flags"): _CLONE,
    ("unshare", "flags"): _CLONE,
    ("newfstatat", "flags"): _AT,
    ("statx", "flags"): _AT,
    ("execveat", "flags"): _AT,
    ("faccessat2", "flags"): _AT,
    ("fchownat", "flags"): _AT,
    ("unlinkat", "flags"): _AT,
    ("linkat", "flags"): _AT,
    ("msgrcv", "msgflg"): _MSG,
    ("msgsnd", "msgflg"): _MSG,
    ("shmat", "shmflg"): _SHMAT,
}


def _fd(task: Task, value: int) -> str:
    if value == fcntl.AT_FDCWD:
        return "AT_FDCWD"
    try:
        file = task.fds.get_raw(value)
    except EBADF:
        return str(value)
    if file.path is None:
        return f"{value}<{type(file).__name__}>"
    from pysc.sentry.fs.path import show

    return f"{value}<{quote(show(file.path, task.fs.root))}>"


def _signal(_task: Task, value: int) -> str:
    return signals.NAMES.get(value, str(value))


def _mode(_task: Task, value: int) -> str:
    return f"{value:#o}"


def _number(_task: Task, value: int) -> str:
    return str(value) if -(1 << 16) < value < 1 << 16 else hex(value)


def _buffer(task: Task, value: int) -> str:
    return _number(task, value)


def _flags(names: dict[int, str]) -> Formatter:
    def show(_task: Task, value: int) -> str:
        words = [name for bit, name in names.items() if value & bit]
        rest = value & ~sum(bit for bit in names if value & bit)
        return "|".join([*words, hex(rest)] if rest or not words else words)

    return show


def _flags_and_mode(names: dict[int, str]) -> Formatter:
    def show(_task: Task, value: int) -> str:
        words = [name for bit, name in names.items() if value & bit]
        return "|".join([*words, f"{value & ~sum(bit for bit in names if value & bit):#05o}"])

    return show


def _key(_task: Task, value: int) -> str:
    return f"{value & 0xFFFF_FFFF:#x}" if value else "IPC_PRIVATE"


def _one_of(names: dict[int, str]) -> Formatter:
    return lambda _task, value: names.get(value, str(value))


def quote(data: bytes, most: int = _STRING_MAX) -> str:
    """Return bytes as a line may hold them."""
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else _escape(byte) for byte in data[:most])
    return f'"{text}"' + ("..." if len(data) > most else "")


def _escape(byte: int) -> str:
    return _ESCAPES.get(byte) or f"\\x{byte:02x}"


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


class Strace:
    """Prints through ``write(level, line)``; ``names`` limits it to those calls (None: all).

    ``most`` bytes of a buffer are shown: what the call copied in or out at its address.
    """

    __slots__ = ("_copied", "_formatters", "_most", "_names", "_started", "_write")

    def __init__(self, write: Callable[[str, str], None], names: frozenset[str] | None = None, most: int = 64) -> None:
        self._most = most
        self._copied: dict[int, dict[int, bytes]] = {}
        """The beginnings of what the call in progress of a task copied, by tid and address."""
        self._write = write
        self._names = names
        self._formatters: dict[str, list[Formatter]] = {}
        self._started: dict[int, int] = {}
        """When the call in progress of a task began, by tid."""

    def on_enter(self, task: Task, nr: int, row: Row | None, args: tuple[int, ...]) -> None:
        """A call begins (or begins again)."""
        del nr, row, args
        self._copied.pop(task.tid, None)
        if task.record is None:
            self._started[task.tid] = now()

    def on_copy(self, task: Task, address: int, data: bytes | bytearray | memoryview) -> None:
        """Memory of the guest is read, or is about to be written."""
        if self._most:
            self._copied.setdefault(task.tid, {}).setdefault(address, bytes(data[: self._most + 1]))

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
        took = (now() - self._started.get(task.tid, now())) / 1e9
        self._line(task, f"{self._call(task, nr, row, args, values)} = {_result(result, error)} <{took:.6f}>")

    def on_native(self, task: Task, nr: int, row: Row, args: tuple[int, ...]) -> None:
        """A call goes to the host."""
        if self._wants(row):
            self._line(task, f"{self._call(task, nr, row, args, ())} = <by the host>")

    def on_sigreturn(self, task: Task, mask: int) -> None:
        """A handler has returned."""
        self._line(task, f"rt_sigreturn({{mask={mask:#x}}})")

    def on_signal(self, task: Task, info: SigInfo) -> None:
        """A signal is delivered."""
        self._line(task, f"--- {signals.NAMES.get(info.signo, info.signo)} {show_siginfo(info)} ---")

    def on_birth(self, task: Task, child: Task) -> None:
        """A task was made."""
        kind = "thread" if child.group is task.group else "process"
        self._line(task, f"+++ new {kind} {child.tid} +++")

    def on_exec(self, task: Task) -> None:
        """A program was executed."""
        self._line(task, f"+++ executed as {quote(task.comm)} +++")

    def on_end(self, task: Task, status: int) -> None:
        """A task has ended; ``status`` as wait(2) encodes it."""
        self._started.pop(task.tid, None)
        self._copied.pop(task.tid, None)
        how = (
            f"killed by {signals.NAMES.get(status & 0x7F, status & 0x7F)}" if status & 0x7F else f"exited {status >> 8}"
        )
        self._line(task, f"+++ {how} +++")

    def _wants(self, row: Row | None) -> bool:
        return self._names is None or row is None or row.name in self._names

    def _line(self, task: Task, text: str) -> None:
        self._write("info", f"[{task.tid:5}] {task.comm.decode('ascii', 'backslashreplace')} {text}")

    def _call(self, task: Task, nr: int, row: Row | None, args: tuple[int, ...], values: Sequence[Any]) -> str:
        if row is None:
            return f"syscall_{nr}({', '.join(map(hex, args))})"
        if row.handler is None:
            return f"{row.name}({', '.join(map(hex, args))})"
        formatters = self._formatters.get(row.name)
        if formatters is None:
            formatters = self._formatters[row.name] = _formatters(row)
        shown = []
        copied = self._copied.get(task.tid, {}) if row.name in _WITH_BUFFERS else {}
        for index, (formatter, decode) in enumerate(zip(formatters, row.decoders, strict=True)):
            if index < len(values) and isinstance(values[index], bytes):
                shown.append(quote(values[index]))
            elif decode is None:
                shown.append(hex(args[index]))
            elif formatter is _buffer and args[index] in copied:
                shown.append(quote(copied[args[index]], self._most))
            else:
                try:
                    shown.append(formatter(task, decode(args[index])))
                except LinuxError:
                    shown.append(hex(args[index]))
        return f"{row.name}({', '.join(shown)})"


def _formatters(row: Row) -> list[Formatter]:
    assert row.handler is not None
    code = row.handler.__code__
    found: list[Formatter] = []
    for name in code.co_varnames[1 : code.co_argcount]:
        names = _FLAGS.get((row.name, name))
        if names is not None:
            found.append(_flags(names))
        elif name in _FD_NAMES:
            found.append(_fd)
        elif name in _CREATING:
            found.append(_flags_and_mode(_CREATING[name]))
        elif name == "cmd" and row.name in _COMMANDS:
            found.append(_one_of(_COMMANDS[row.name]))
        elif name == "key":
            found.append(_key)
        elif name in _SIGNAL_NAMES:
            found.append(_signal)
        elif name in _MODE_NAMES:
            found.append(_mode)
        elif name in ("buf", "msg_ptr"):
            found.append(_buffer)
        else:
            found.append(_number)
    return found


def _result(result: int | None, error: BaseException | None) -> str:
    if result is None:
        return f"? ({error.reason.value})" if isinstance(error, Interrupted) else "?"
    if -4096 < result < 0:
        kind = BY_NUMBER.get(-result)
        name = kind.__name__ if kind is not None else "errno"
        detail = f" ({error})" if isinstance(error, LinuxError) and str(error) else ""
        return f"-{-result} {name}{detail}"
    return str(result) if result < 1 << 16 else hex(result)
