"""Seccomp filters of the daemons, by libseccomp: what a process of CPython needs anyway, and how to install one.

The guest's own filter is not made here: it tests the instruction pointer, which libseccomp cannot say.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

import pyseccomp

from pysc.cabi import confine

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

PROT_EXEC: Final = 4
NO_NEW_CODE: Final = (
    ("mmap", (pyseccomp.Arg(2, pyseccomp.MASKED_EQ, PROT_EXEC, 0),)),
    ("mprotect", (pyseccomp.Arg(2, pyseccomp.MASKED_EQ, PROT_EXEC, 0),)),
)
"""Nothing becomes executable any more."""

Rule = tuple[str, tuple[Any, ...]]


def build(allowed: Iterable[str], rules: Iterable[Rule] = ()) -> pyseccomp.SyscallFilter:
    """Return a filter that allows :data:`PYTHON`, ``allowed``, and the calls of ``rules`` with those arguments.

    Everything else kills the process, but for what is named in :data:`REFUSED`.
    """
    made = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS)
    plain = dict.fromkeys((*PYTHON, *allowed))
    for name in plain:
        _add(made, pyseccomp.ALLOW, name)
    with_rules = set()
    for name, arguments in (*NO_NEW_CODE, *rules):
        assert name not in plain, f"{name} is allowed as a whole"
        _add(made, pyseccomp.ALLOW, name, *arguments)
        with_rules.add(name)
    for name in with_rules:  # the kernel caches the verdict on those without rules; these are decided first
        made.syscall_priority(name, 255)
    for name in RINGS:
        _add(made, pyseccomp.ERRNO(ENOSYS), name)
    for name in REFUSED:
        if name not in plain and name not in with_rules:
            _add(made, pyseccomp.ERRNO(ENOSYS if name == "clone3" else EACCES), name)
    return made


def _add(made: pyseccomp.SyscallFilter, action: int, name: str, *arguments: Any) -> None:
    try:
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    except (OSError, ValueError):
        return
    if number >= 0:
        made.add_rule(action, name, *arguments)


def export(made: pyseccomp.SyscallFilter) -> bytes:
    """Return the filter as struct sock_filter[]."""
    fd = os.memfd_create("filter", os.MFD_CLOEXEC)
    with os.fdopen(fd, "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def install(made: pyseccomp.SyscallFilter) -> None:
    """Lock this process down; no_new_privs must be set."""
    confine.load_filter(export(made))
