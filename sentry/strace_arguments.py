"""How --strace shows an argument: by its name in the table of calls and, of a pointer, by what was copied there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pysc.cabi.linux import clock, fcntl, ipc, mman, mount, poll, prctl, resource, sched, signals, socket, stat, termios
from pysc.cabi.linux.errors import EBADF
from pysc.sentry.syscalls import copying, eventfd, futex, locks, system, timerfd

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

_STRING_MAX: Final = 256
_ELEMENTS_MAX: Final = 16
"""So many of an array are shown."""
KEPT: Final = 256
"""At least so much of what was copied is kept: the structures."""
_ESCAPES: Final = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}


class Call(msgspec.Struct, frozen=True):
    """What is known of a call when its line is written."""

    task: Task
    copied: Mapping[int, bytes]
    """What was copied in or out, or the beginning of it, by address; the first of several."""
    strings: Mapping[int, Sequence[bytes]]
    """C strings, and arrays of them, by address."""
    args: tuple[int, ...]
    result: int | None
    most: int
    """Bytes of a buffer that are shown; 0: only its address."""


Formatter = Callable[[Call, int], str]


def quote(data: bytes, most: int = _STRING_MAX) -> str:
    """Return bytes as a line may hold them."""
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else _escape(byte) for byte in data[:most])
    return f'"{text}"' + ("..." if len(data) > most else "")


def _escape(byte: int) -> str:
    return _ESCAPES.get(byte) or f"\\x{byte:02x}"


# Names of numbers
def _values(module: Any, *prefixes: str, but: tuple[str, ...] = ()) -> dict[int, str]:
    found: dict[int, str] = {}
    for name, value in vars(module).items():
        if name.startswith(prefixes) and isinstance(value, int) and not name.startswith(but):
            found.setdefault(value, name)
    return found


def _bits(module: Any, *prefixes: str, but: tuple[str, ...] = ()) -> dict[int, str]:
    found = _values(module, *prefixes, but=but)
    return {value: name for value, name in found.items() if value and value & (value - 1) == 0}


def _words(names: Mapping[int, str], value: int) -> tuple[list[str], int]:
    words = [name for bit, name in names.items() if value & bit]
    return words, value & ~sum(bit for bit in names if value & bit)


def _flags(names: Mapping[int, str], none: str = "0x0") -> Formatter:
    def show(_call: Call, value: int) -> str:
        words, rest = _words(names, value)
        return "|".join([*words, hex(rest)] if rest else words or [none])

    return show


def _flags_and_mode(names: Mapping[int, str]) -> Formatter:
    def show(_call: Call, value: int) -> str:
        words, rest = _words(names, value)
        return "|".join([*words, f"{rest:#05o}"])

    return show


def _one_of(names: Mapping[int, str], flags: Mapping[int, str] | None = None) -> Formatter:
    """Return what shows one of ``names``, with any of ``flags``."""

    def show(_call: Call, value: int) -> str:
        words, rest = _words(flags or {}, value & 0xFFFF_FFFF)
        return "|".join([names.get(rest, str(value) if not words else hex(rest)), *words])

    return show


def _open_flags() -> Formatter:
    names = _bits(fcntl, "O_", but=("O_ACCMODE", "O_WRONLY", "O_RDWR", "O_TMPFILE"))

    def show(_call: Call, value: int) -> str:
        words = [{0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR"}.get(value & fcntl.O_ACCMODE, "O_ACCMODE")]
        value &= ~fcntl.O_ACCMODE
        for several, name in ((fcntl.O_TMPFILE, "O_TMPFILE"), (fcntl.O_SYNC, "O_SYNC")):
            if value & several == several:
                words.append(name)
                value &= ~several
        more, rest = _words(names, value)
        return "|".join([*words, *more, *([hex(rest)] if rest else [])])

    return show


def number(_call: Call, value: int) -> str:
    """Show what has no other meaning."""
    return str(value) if -(1 << 16) < value < 1 << 16 else hex(value)


def _fd(call: Call, value: int) -> str:
    if value == fcntl.AT_FDCWD:
        return "AT_FDCWD"
    task = call.task
    try:
        file = task.fds.get_raw(value)
    except EBADF:
        return str(value)
    if file.path is None:
        return f"{value}<{type(file).__name__}>"
    from pysc.sentry.fs.path import show

    return f"{value}<{quote(show(file.path, task.fs.root))}>"


def _signal(_call: Call, value: int) -> str:
    return signals.NAMES.get(value, str(value))


def _mode(_call: Call, value: int) -> str:
    return f"{value:#o}"


def _key(_call: Call, value: int) -> str:
    return f"{value & 0xFFFF_FFFF:#x}" if value else "IPC_PRIVATE"


# What pointers point to
def _structure(layout: Struct, show: Callable[[tuple[Any, ...]], str]) -> Formatter:
    def shown(call: Call, address: int) -> str:
        data = call.copied.get(address, b"")
        return show(layout.unpack_from(data)) if len(data) >= layout.size else number(call, address)

    return shown


def _array(layout: Struct, show: Callable[[Call, tuple[Any, ...]], str], count: Callable[[Call], int]) -> Formatter:
    def shown(call: Call, address: int) -> str:
        data, wanted = call.copied.get(address), count(call)
        if data is None or wanted < 0:
            return number(call, address)
        there = min(wanted, len(data) // layout.size, _ELEMENTS_MAX)
        items = [show(call, layout.unpack_from(data, i * layout.size)) for i in range(there)]
        return "[" + ", ".join(items + ["..."] * (there < wanted)) + "]"

    return shown


def _argument(index: int) -> Callable[[Call], int]:
    return lambda call: ((call.args[index] & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


def _returned(call: Call) -> int:
    return -1 if call.result is None else call.result


def _two(call: Call) -> int:
    return 2 if call.result == 0 else -1


def _buffer(call: Call, address: int) -> str:
    data = call.copied.get(address)
    return number(call, address) if data is None or not call.most else quote(data, call.most)


def _strings(call: Call, address: int) -> str:
    found = call.strings.get(address)
    if found is None:
        return number(call, address)
    words = [quote(word, call.most or _STRING_MAX) for word in found[:_ELEMENTS_MAX]]
    return "[" + ", ".join(words + ["..."] * (len(found) > _ELEMENTS_MAX)) + "]"


def _how_many(call: Call, address: int) -> str:
    found = call.strings.get(address)
    return number(call, address) + (f" /* {len(found)} strings */" if found is not None else "")


def signal_set(mask: int) -> str:
    """Return a sigset_t as strace(1) shows it: the names of those in it or, if these are fewer, not in it."""
    inverted = mask.bit_count() > 32
    numbers = [n for n in range(1, 65) if (mask >> (n - 1) & 1) != inverted]
    names = (signals.NAMES.get(n, f"SIGRT_{n - signals.SIGRTMIN}").removeprefix("SIG") for n in numbers)
    return "~" * inverted + "[" + " ".join(names) + "]"


def _sigaction() -> Formatter:
    names = _bits(signals, "SA_", but=("SA_UNSUPPORTED", "SA_EXPOSE"))

    def show(fields: tuple[int, ...]) -> str:
        handler, flags, _restorer, mask = fields
        name = {signals.SIG_DFL: "SIG_DFL", signals.SIG_IGN: "SIG_IGN"}.get(handler, hex(handler))
        return f"{{sa_handler={name}, sa_mask={signal_set(mask)}, sa_flags={_or_zero(names, flags)}}}"

    return _structure(signals.SIGACTION, show)


def _status(fields: tuple[int]) -> str:
    (status,) = fields
    if status & 0xFF == 0x7F:
        return f"[{{WIFSTOPPED(s) && WSTOPSIG(s) == {signals.NAMES.get(status >> 8 & 0xFF, status >> 8 & 0xFF)}}}]"
    if status == 0xFFFF:
        return "[{WIFCONTINUED(s)}]"
    if status & 0x7F:
        return f"[{{WIFSIGNALED(s) && WTERMSIG(s) == {signals.NAMES.get(status & 0x7F, status & 0x7F)}}}]"
    return f"[{{WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}}}]"


def _stat(layout: Struct, mode: int, size: int) -> Formatter:
    """Return what shows the fields of those numbers."""
    names = _values(stat, "S_IF", but=("S_IFMT",))

    def show(fields: tuple[int, ...]) -> str:
        kind = fields[mode] & stat.S_IFMT
        return f"{{mode={names.get(kind, hex(kind))}|{fields[mode] & stat.PERMISSIONS:#o}, size={fields[size]}, ...}}"

    return _structure(layout, show)


def _limit(value: int) -> str:
    return "RLIM_INFINITY" if value == resource.RLIM_INFINITY else str(value)


def _or_zero(names: Mapping[int, str], value: int) -> str:
    words, rest = _words(names, value)
    return "|".join([*words, hex(rest)] if rest else words) or "0"


def _iovec(call: Call, fields: tuple[int, int]) -> str:
    base, length = fields
    return f"{{iov_base={_buffer(call, base)}, iov_len={length}}}"


def _address() -> Formatter:
    names = _values(socket, "AF_")

    def show(call: Call, where: int) -> str:
        data = call.copied.get(where, b"")
        if len(data) < 2:
            return number(call, where)
        family = int.from_bytes(data[:2], "little")
        name = names.get(family, str(family))
        if family != socket.AF_UNIX:
            return f"{{sa_family={name}, ...}}"
        path = data[2:] if data[2:3] == b"\0" else data[2:].split(b"\0")[0]
        return f"{{sa_family={name}, sun_path={quote(path)}}}" if path else f"{{sa_family={name}}}"

    return show


_TIME: Final = _structure(clock.TIMESPEC, lambda f: f"{{tv_sec={f[0]}, tv_nsec={f[1]}}}")
_TIMEVAL: Final = _structure(clock.TIMESPEC, lambda f: f"{{tv_sec={f[0]}, tv_usec={f[1]}}}")
_SIGNALS: Final = _structure(Struct("<Q"), lambda f: signal_set(f[0]))
_LIMITS: Final = _structure(resource.RLIMIT, lambda f: f"{{rlim_cur={_limit(f[0])}, rlim_max={_limit(f[1])}}}")
_FDS: Final = _array(Struct("<i"), lambda _call, f: str(f[0]), _two)
_IOV: Final = _array(socket.IOVEC, _iovec, _argument(2))
_STATUS: Final = _structure(Struct("<i"), _status)

_FILE_FLAGS: Final = {fcntl.O_CLOEXEC: "O_CLOEXEC", fcntl.O_NONBLOCK: "O_NONBLOCK"}
_COMMANDS: Final = {"shmctl": ipc.SHM_COMMANDS, "semctl": ipc.SEM_COMMANDS, "msgctl": ipc.MSG_COMMANDS}
_ACCESS: Final = {stat.R_OK: "R_OK", stat.W_OK: "W_OK", stat.X_OK: "X_OK"}
_FUTEX_FLAGS: Final = {futex.FUTEX_PRIVATE: "FUTEX_PRIVATE_FLAG", futex.FUTEX_CLOCK_REALTIME: "FUTEX_CLOCK_REALTIME"}


def _by_name() -> dict[str, Formatter]:
    """Return how arguments of any call are shown."""
    af = _values(socket, "AF_")
    clocks = _values(clock, "CLOCK_")
    how = _bits(ipc, "IPC_CREAT", "IPC_EXCL", "IPC_NOWAIT")
    return {
        **dict.fromkeys(
            ("fd", "dirfd", "oldfd", "newfd", "old_dirfd", "new_dirfd", "epfd", "out_fd", "in_fd", "mqdes", "pidfd"),
            _fd,
        ),
        **dict.fromkeys(("signo", "signum", "sig"), _signal),
        "mode": _mode,
        "key": _key,
        **dict.fromkeys(("buf", "msg_ptr"), _buffer),
        **dict.fromkeys(("clock", "clockid"), _one_of(clocks)),
        **dict.fromkeys(("sigmask", "mask"), _SIGNALS),
        "resource": _one_of(_values(resource, "RLIMIT_")),
        "family": _one_of(af),
        "level": _one_of({socket.SOL_SOCKET: "SOL_SOCKET"}),
        "semflg": _flags_and_mode(how),
        "msgflg": _flags_and_mode(how),
        "shmflg": _flags_and_mode(_bits(ipc, "IPC_CREAT", "IPC_EXCL", "SHM_HUGETLB", "SHM_NORESERVE")),
        "argv": _strings,
        "envp": _how_many,
        "iov": _IOV,
        **dict.fromkeys(("request", "remainder"), _TIME),
    }


def _every(calls: str, argument: str, formatter: Formatter) -> dict[tuple[str, str], Formatter]:
    return {(call, argument): formatter for call in calls.split()}


def _by_call() -> dict[tuple[str, str], Formatter]:
    """Return how those are shown that are something else in one call than in others."""
    at = _bits(fcntl, "AT_")
    sock = _bits(socket, "SOCK_NONBLOCK", "SOCK_CLOEXEC")
    types = _values(socket, "SOCK_", but=("SOCK_NONBLOCK", "SOCK_CLOEXEC", "SOCK_TYPE"))
    msg = _bits(socket, "MSG_")
    events = _bits(poll, "POLL")
    epoll = _bits(poll, "EPOLL", but=("EPOLL_",)) | events
    waits = _bits(sched, "W")
    clone = _flags(_bits(sched, "CLONE_", but=("CLONE_ARGS",)))
    operations = _values(futex, "FUTEX_", but=("FUTEX_PRIVATE", "FUTEX_CLOCK", "FUTEX_BITSET"))
    return {
        **_every("open openat", "flags", _open_flags()),
        ("mq_open", "oflag"): _open_flags(),
        **_every("pipe2 dup3 epoll_create1 inotify_init1 signalfd4", "flags", _flags(_FILE_FLAGS)),
        ("eventfd2", "flags"): _flags({eventfd.EFD_SEMAPHORE: "EFD_SEMAPHORE", **_FILE_FLAGS}),
        **_every("mmap mprotect", "prot", _flags(_bits(mman, "PROT_"), "PROT_NONE")),
        ("mmap", "flags"): _flags(_bits(mman, "MAP_", but=("MAP_HUGE_",))),
        ("mremap", "flags"): _flags(_bits(mman, "MREMAP_")),
        ("msync", "flags"): _flags(_bits(mman, "MS_")),
        ("madvise", "advice"): _one_of(_values(mman, "MADV_")),
        ("unshare", "flags"): clone,
        ("clone", "flags"): lambda call, value: "|".join(
            [clone(call, value & ~sched.CSIGNAL)] + [_signal(call, value & sched.CSIGNAL)] * bool(value & sched.CSIGNAL)
        ),
        **_every("newfstatat statx execveat faccessat2 fchmodat2 fchownat linkat utimensat", "flags", _flags(at, "0")),
        ("unlinkat", "flags"): _flags({fcntl.AT_REMOVEDIR: "AT_REMOVEDIR"}, "0"),
        ("renameat2", "flags"): _flags(_bits(fcntl, "RENAME_"), "0"),
        ("fallocate", "mode"): _flags(_bits(fcntl, "FALLOC_"), "0"),
        **_every("access faccessat faccessat2", "mode", _flags(_ACCESS, "F_OK")),
        ("lseek", "whence"): _one_of(_values(fcntl, "SEEK_")),
        ("fcntl", "cmd"): _one_of(
            _values(fcntl, "F_", but=("F_RDLCK", "F_WRLCK", "F_UNLCK", "F_SEAL_", "F_ALL_SEALS"))
        ),
        ("flock", "operation"): _flags(_bits(locks, "LOCK_")),
        ("memfd_create", "flags"): _flags(_bits(fcntl, "MFD_"), "0"),
        ("ioctl", "request"): _one_of(_values(termios, "TCG", "TCS", "TCX", "TCF", "TIOC", "FIO")),
        ("mount", "flags"): _flags(_bits(mount, "MS_"), "0"),
        ("umount2", "flags"): _flags(_bits(mount, "MNT_", "UMOUNT_"), "0"),
        **_every("socket socketpair", "type", _one_of(types, sock)),
        ("accept4", "flags"): _flags(sock, "0"),
        ("shutdown", "how"): _one_of(_values(socket, "SHUT_")),
        **_every("getsockopt setsockopt", "name", _one_of(_values(socket, "SO_"))),
        **_every("sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg", "flags", _flags(msg, "0")),
        **_every("connect bind accept accept4 getsockname getpeername sendto recvfrom", "address", _address()),
        **_every("pipe pipe2 socketpair", "fds", _FDS),
        **_every("stat fstat lstat newfstatat", "buf", _stat(stat.STAT, 3, 7)),
        **_every("getdents getdents64 statfs fstatfs shmctl msgctl", "buf", number),
        ("statx", "buf"): _stat(stat.STATX, 6, 8),
        **_every(
            "poll ppoll",
            "fds",
            _array(
                poll.POLLFD,
                lambda _call, f: f"{{fd={f[0]}, events={_or_zero(events, f[1] & 0xFFFF)}}}",
                _argument(1),
            ),
        ),
        ("epoll_ctl", "op"): _one_of(_values(poll, "EPOLL_CTL_")),
        ("epoll_ctl", "event"): _structure(poll.EPOLL_EVENT, lambda f: _epoll_event(epoll, f)),
        **_every(
            "epoll_wait epoll_pwait epoll_pwait2",
            "events",
            _array(poll.EPOLL_EVENT, lambda _call, f: _epoll_event(epoll, f), _returned),
        ),
        ("rt_sigaction", "new"): _sigaction(),
        ("rt_sigaction", "old"): _sigaction(),
        ("rt_sigprocmask", "how"): _one_of(_values(signals, "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK")),
        ("rt_sigprocmask", "new"): _SIGNALS,
        ("rt_sigprocmask", "old"): _SIGNALS,
        **_every("rt_sigsuspend rt_sigpending", "address", _SIGNALS),
        ("rt_sigtimedwait", "signals"): _SIGNALS,
        ("wait4", "status"): _STATUS,
        ("wait4", "options"): _flags(waits, "0"),
        ("waitid", "options"): _flags(waits),
        ("waitid", "idtype"): _one_of(_values(sched, "P_")),
        ("prctl", "option"): _one_of(_values(prctl, "PR_", but=("PR_CAP_AMBIENT_",))),
        **_every("prlimit64", "new", _LIMITS),
        **_every("prlimit64", "old", _LIMITS),
        **_every("getrlimit setrlimit", "address", _LIMITS),
        **_every("clock_gettime clock_settime clock_getres", "address", _TIME),
        **_every("rt_sigtimedwait ppoll pselect6 epoll_pwait2 semtimedop recvmmsg futex", "timeout", _TIME),
        ("select", "timeout"): _TIMEVAL,
        ("gettimeofday", "timeval"): _TIMEVAL,
        **_every(
            "timerfd_settime timer_settime clock_nanosleep",
            "flags",
            _flags(
                {
                    timerfd.TFD_TIMER_ABSTIME: "TIMER_ABSTIME",
                    timerfd.TFD_TIMER_CANCEL_ON_SET: "TFD_TIMER_CANCEL_ON_SET",
                },
                "0",
            ),
        ),
        ("futex", "op"): _one_of(operations, _FUTEX_FLAGS),
        ("getrandom", "flags"): _flags(_bits(system, "GRND_"), "0"),
        **_every("splice tee vmsplice", "flags", _flags(_bits(copying, "SPLICE_F_"), "0")),
        ("msgrcv", "msgflg"): _flags(_bits(ipc, "IPC_NOWAIT", "MSG_NOERROR", "MSG_EXCEPT", "MSG_COPY")),
        ("msgsnd", "msgflg"): _flags(_bits(ipc, "IPC_NOWAIT")),
        ("shmat", "shmflg"): _flags(_bits(ipc, "SHM_RDONLY", "SHM_RND", "SHM_REMAP", "SHM_EXEC")),
        **{(name, "cmd"): _one_of(names) for name, names in _COMMANDS.items()},
    }


def _epoll_event(names: Mapping[int, str], fields: tuple[int, int]) -> str:
    return f"{{events={_or_zero(names, fields[0])}, data={fields[1]:#x}}}"


class Formatters:
    """How each argument is shown.  Only who traces makes one: it takes a few milliseconds to collect all the names."""

    __slots__ = ("_by_call", "_by_name")

    def __init__(self) -> None:
        self._by_name = _by_name()
        self._by_call = _by_call()

    def of(self, call: str, argument: str) -> Formatter:
        """Return how an argument of a call is shown."""
        return self._by_call.get((call, argument)) or self._by_name.get(argument) or number
