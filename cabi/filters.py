"""Seccomp filters of the daemons: what a process of CPython needs anyway, and how to make and install one.

libseccomp compiles them, when pysc is installed (``python -m pysc.supervisor.export_filters``): each lies beside its
component as ``filter.bpf``, headed by a checksum of what it was made from.  One that is missing or stale is compiled
when it is needed, which costs 20 ms.  The guest's own filter is not made here: it tests the instruction pointer, which
libseccomp cannot say.
"""

from __future__ import annotations

import os
from binascii import crc32
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pysc.cabi import confine
from pysc.cabi.linux.mman import PROT_EXEC

EACCES: Final = 13
ENOSYS: Final = 38

PYTHON: Final = (
    "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "exit", "exit_group", "fstat", "futex",
    "getpid", "getrandom", "gettid", "gettimeofday", "lseek", "madvise", "mremap", "munmap", "nanosleep", "poll",
     "ppoll", "read", "readv", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
    "sched_getaffinity", "sched_yield", "sigaltstack", "write", "writev", "getuid", "geteuid", "getgid", "getegid",
    "getppid", "rseq", "set_robust_list", "uname",
)  # fmt: skip
"""What an interpreter calls that runs no program and opens no file (found by tracing one)."""

REFUSED: Final = (
    "access", "chdir", "faccessat", "faccessat2", "fcntl", "ioctl", "lstat", "mkdir", "newfstatat", "open", "openat",
    "openat2", "readlink", "readlinkat", "stat", "statfs", "statx", "unlink", "unlinkat", "getdents64", "getcwd",
    "sysinfo", "prlimit64", "getrlimit", "socket", "connect", "bind", "getsockopt", "setsockopt", "getsockname",
    "clone3", "prctl", "umask",
)  # fmt: skip
"""EACCES (clone3: ENOSYS) where a filter does not allow them: killing would turn a traceback into a dead daemon."""

RINGS: Final = ("io_uring_setup", "io_uring_enter", "io_uring_register")

EQ: Final = 4
MASKED_EQ: Final = 7
"""How to compare an argument; the numbers are libseccomp's (enum scmp_compare)."""


class Arg(NamedTuple):
    """A condition on argument ``position`` of a call: EQ ``a``, or MASKED_EQ: its bits ``a`` are ``b``."""

    position: int
    comparison: int
    a: int
    b: int = 0


Rule = tuple[str, tuple[Arg, ...]]

NO_NEW_CODE: Final[tuple[Rule, ...]] = (
    ("mmap", (Arg(2, MASKED_EQ, PROT_EXEC, 0),)),
    ("mprotect", (Arg(2, MASKED_EQ, PROT_EXEC, 0),)),
)
"""Nothing becomes executable any more."""

_CHECKSUM_SIZE: Final = 4
LAST_CALL: Final = 511
"""No number of x86-64 is higher (512 and on are x32's)."""


def load(component: str, allowed: Sequence[str], rules: Sequence[Rule] = ()) -> bytes:
    """Return the filter of a component, ready to be installed; call it while there are files to read.

    It allows :data:`PYTHON`, ``allowed``, and the calls of ``rules`` with those arguments.  Every other call that is
    known kills the process, but for what is named in :data:`REFUSED`; other arguments than the rules allow, and calls
    that libseccomp does not know yet, are EACCES.
    """
    return _read(component, _checksum(allowed, rules)) or build(allowed, rules)


def _read(component: str, checksum: bytes) -> bytes:
    try:
        with open(path_of(component), "rb") as file:
            head, program = file.read(_CHECKSUM_SIZE), file.read()
    except OSError:
        return b""
    return program if head == checksum else b""


def load_refusing(component: str, refused: Sequence[str]) -> bytes:
    """As :func:`load`, of a filter that allows everything but ``refused`` (EACCES) and io_uring."""
    return _read(component, _checksum(refused, ())) or build_refusing(refused)


def export_refusing(component: str, refused: Sequence[str]) -> None:
    """Compile such a filter and write it where it is looked for."""
    _write(component, _checksum(refused, ()) + build_refusing(refused))


def build_refusing(refused: Sequence[str]) -> bytes:
    """Compile such a filter."""
    import pyseccomp

    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in refused:
        _add(pyseccomp, made, pyseccomp.ERRNO(EACCES), name)
    for name in RINGS:
        _add(pyseccomp, made, pyseccomp.ERRNO(ENOSYS), name)
    return _exported(made)


def path_of(component: str) -> str:
    """Return where the compiled filter of a component is kept."""
    return os.path.join(os.path.dirname(confine.__file__), os.pardir, component, "filter.bpf")


def export(component: str, allowed: Sequence[str], rules: Sequence[Rule]) -> None:
    """Compile a filter and write it where :func:`load` looks."""
    _write(component, _checksum(allowed, rules) + build(allowed, rules))


def _write(component: str, data: bytes) -> None:
    path = path_of(component)
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)


def _checksum(allowed: Sequence[str], rules: Sequence[Rule]) -> bytes:
    source = repr((LAST_CALL, PYTHON, REFUSED, RINGS, NO_NEW_CODE, tuple(allowed), tuple(rules)))
    return crc32(source.encode()).to_bytes(_CHECKSUM_SIZE, "little")


def build(allowed: Sequence[str], rules: Sequence[Rule]) -> bytes:
    """Compile a filter to struct sock_filter[]."""
    import pyseccomp  # where nothing is compiled, it need not be loaded

    made = pyseccomp.SyscallFilter(pyseccomp.ERRNO(EACCES))
    plain = dict.fromkeys((*PYTHON, *allowed))
    for name in plain:
        _add(pyseccomp, made, pyseccomp.ALLOW, name)
    with_rules = set()
    for name, arguments in (*NO_NEW_CODE, *rules):
        assert name not in plain, f"{name} is allowed as a whole"
        _add(pyseccomp, made, pyseccomp.ALLOW, name, *(pyseccomp.Arg(*argument) for argument in arguments))
        with_rules.add(name)
    for name in with_rules:  # the kernel caches the verdict on those without rules; these are decided first
        made.syscall_priority(name, 255)
    for name in RINGS:
        _add(pyseccomp, made, pyseccomp.ERRNO(ENOSYS), name)
    if "clone3" not in plain:
        _add(pyseccomp, made, pyseccomp.ERRNO(ENOSYS), "clone3")
    for name in sorted(_every_call(pyseccomp) - plain.keys() - with_rules - {*REFUSED, *RINGS}):
        _add(pyseccomp, made, pyseccomp.KILL_PROCESS, name)
    return _exported(made)


def _exported(made: Any) -> bytes:
    fd = os.memfd_create("filter", os.MFD_CLOEXEC)
    with os.fdopen(fd, "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _every_call(pyseccomp: Any) -> set[str]:
    names = set()
    for number in range(LAST_CALL + 1):
        try:
            names.add(pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, number).decode())
        except (OSError, ValueError):
            continue
    return names


def _add(pyseccomp: Any, made: Any, action: int, name: str, *arguments: Any) -> None:
    try:
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    except (OSError, ValueError):
        return  # newer than this libseccomp
    if number >= 0:
        made.add_rule(action, name, *arguments)


def with_value(program: bytes, placeholder: int, value: int) -> bytes:
    """Return the filter with another number where it compares an argument with ``placeholder``."""
    return program.replace(placeholder.to_bytes(4, "little"), value.to_bytes(4, "little"))


def install(program: bytes) -> None:
    """Lock this process down; no_new_privs must be set."""
    confine.load_filter(program)
