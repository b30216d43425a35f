"""How a system call is declared: typed handlers, compiled once to decoders, in one table by number.

A handler is a function of the task and its arguments; the annotations say how each register is read::

    def eventfd2(task: Task, initval: U32, flags: EfdFlags) -> int: ...
    async def openat(task: Task, dirfd: Fd, path: Path, flags: U32, mode: Mode) -> int: ...

``def`` cannot wait; ``async def`` may.  It returns the result (None is 0), or a :class:`HostCall` for the thread to
make by itself, or :data:`PREPARED`, or :data:`NO_REPLY` when it has given the thread its verdict already (exit, exec,
sigreturn).
It fails by raising a LinuxError.  An :class:`~pysc.sentry.kernel.scheduler.Interrupted` that escapes it is answered
as its :class:`Restart` says.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec

from pysc.cabi.linux.errors import EINVAL, ENOSYS, LinuxError

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

CO_COROUTINE: Final = 0x80
"""Flag of the code object of an ``async def``."""


class Read(msgspec.Struct, frozen=True):
    """How one register becomes an argument."""

    decode: Callable[[int], int]


def _u32(value: int) -> int:
    return value & 0xFFFF_FFFF


def _i32(value: int) -> int:
    return ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


def _i64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _u64(value: int) -> int:
    return value


def only_bits(allowed: int) -> Read:
    """Read a 32-bit flag word: EINVAL if it has bits outside ``allowed``."""

    def decode(value: int) -> int:
        value &= 0xFFFF_FFFF
        if value & ~allowed:
            raise EINVAL(f"unknown flags {value & ~allowed:#x}")
        return value

    return Read(decode)


U32 = Annotated[int, Read(_u32)]
I32 = Annotated[int, Read(_i32)]
I64 = Annotated[int, Read(_i64)]
U64 = Annotated[int, Read(_u64)]
Fd = Annotated[int, Read(_i32)]
Pid = Annotated[int, Read(_i32)]
Size = Annotated[int, Read(_u64)]
Mode = Annotated[int, Read(lambda value: value & 0o177777)]
Addr = Annotated[int, Read(_u64)]
"""A guest address, not looked at: copy with task.copy_in and task.copy_out."""


class _Path:
    """Marks an argument that is copied in as a C string before the handler runs; unless it is NULL, if it may be."""

    __slots__ = ("may_be_null",)

    def __init__(self, *, may_be_null: bool = False) -> None:
        self.may_be_null = may_be_null


Path = Annotated[bytes, _Path()]
"""A path, copied in first, as Linux does: EFAULT, ENAMETOOLONG (PATH_MAX).  May be empty."""
PathOrNull = Annotated[bytes | None, _Path(may_be_null=True)]
"""The same, but NULL is no fault yet."""


class Restart(Enum):
    """What an interrupted call becomes (the ERESTART* of the kernel): after a handler ran, or without one."""

    SYS = "restarted if the handler has SA_RESTART, else EINTR; restarted without a handler"
    NOHAND = "EINTR after a handler; restarted without one"
    NOINTR = "always restarted"
    BLOCK = "EINTR after a handler; continued from its record without one"


F = TypeVar("F", bound=Callable[..., Any])


def restarts(policy: Restart) -> Callable[[F], F]:
    """Declare a handler's restart policy; without it, it is ``Restart.SYS``."""

    def mark(handler: F) -> F:
        handler.__dict__["restart"] = policy
        return handler

    return mark


class HostCall(msgspec.Struct, frozen=True):
    """A handler's result: the thread makes this call of the keyhole and goes on with its result."""

    nr: int
    args: tuple[int, ...]


class Prepared(msgspec.Struct, frozen=True):
    """A handler's result: the thread goes on with the result of what it was told to do with its verdict."""

    child: Task | None = None
    """Whom it was told to make."""


PREPARED: Final = Prepared()


class NoReply:
    """The type of :data:`NO_REPLY`."""

    __slots__ = ()


NO_REPLY: Final = NoReply()

Support = Literal["full", "partial", "refused"]


class Row(msgspec.Struct, frozen=True):
    """One system call.  ``refused`` rows have an errno and no handler."""

    name: str
    support: Support
    note: str
    handler: Callable[..., Any] | None
    errno: int
    decoders: tuple[Callable[[int], int] | None, ...]
    """One an argument; None for a path."""
    finds_names: bool
    """Whether it has a path, or is one of :data:`FINDS_NAMES`."""
    is_async: bool
    restart: Restart

    takes_null: bool = False
    """Whether its path may be NULL."""

    grows: bool = False
    """Whether it is one of :data:`GROWS`."""

    conversions: tuple[tuple[int, Callable[[int], int]], ...] = ()
    """The decoders that change what they read, and of which argument."""

    def decode(self, args: tuple[int, ...]) -> list[Any]:
        """Read the registers of a call without path arguments.  Raises what the types raise."""
        values = list(args[: len(self.decoders)])
        for index, decode in self.conversions:
            values[index] = decode(values[index])
        return values


def _row(handler: Callable[..., Any], support: Support, note: str) -> Row:
    # Done for hundreds of handlers at each start: inspect.signature and get_type_hints would take 20 ms.
    code = handler.__code__
    decoders: list[Callable[[int], int] | None] = []
    takes_null = False
    for name in code.co_varnames[1 : code.co_argcount]:
        # Only registers are evaluated: Task and the result may be names that exist for type checkers alone.
        hint = handler.__annotations__[name]
        if isinstance(hint, str):
            hint = handler.__globals__.get(hint) or eval(hint, handler.__globals__)  # noqa: S307
        read = next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, (Read, _Path))), None)
        if read is None:
            raise TypeError(f"{handler.__qualname__}: {name} is not a register type")
        decoders.append(read.decode if isinstance(read, Read) else None)
        takes_null = takes_null or (isinstance(read, _Path) and read.may_be_null)
    return Row(
        name=handler.__name__.rstrip("_"),
        support=support,
        note=note,
        handler=handler,
        errno=0,
        decoders=tuple(decoders),
        finds_names=None in decoders or handler.__name__.rstrip("_") in FINDS_NAMES,
        is_async=bool(code.co_flags & CO_COROUTINE),
        restart=getattr(handler, "restart", Restart.SYS),
        takes_null=takes_null,
        grows=handler.__name__.rstrip("_") in GROWS,
        conversions=tuple((i, decode) for i, decode in enumerate(decoders) if decode not in (None, _u64)),
    )


def full(handler: Callable[..., Any]) -> Row:
    """Declare a call that does all that Linux does."""
    return _row(handler, "full", "")


def partial(handler: Callable[..., Any], missing: str) -> Row:
    """Declare a call and say what is missing."""
    return _row(handler, "partial", missing)


def refused(name: str, error: type[LinuxError] = ENOSYS, why: str = "") -> Row:
    """Declare a call that always fails with ``error``, and why."""
    return Row(name, "refused", why, None, error.errno, (), False, False, Restart.SYS)


GROWS: Final = frozenset(
    {
        "accept", "accept4", "clone", "clone3", "epoll_create", "epoll_create1", "eventfd", "eventfd2", "fork",
        "getdents", "getdents64", "inotify_add_watch", "inotify_init", "inotify_init1", "mq_timedsend", "pidfd_open",
        "pipe", "pipe2", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "setgroups", "shmat", "signalfd", "signalfd4",
        "socket", "socketpair", "timer_create", "timerfd_create", "unshare", "vfork",
    }
)  # fmt: skip
"""Calls after which the kernel keeps more than before, whatever they are asked: ENOMEM while memory is out."""

FINDS_NAMES: Final = frozenset({"bind", "connect", "futimesat", "utimensat"})
"""Calls that copy their path in by themselves."""


class SyscallTable:
    """Every number of one architecture."""

    __slots__ = ("arch", "rows")

    def __init__(self, arch: str, rows: dict[int, Row]) -> None:
        self.arch = arch
        self.rows = rows
