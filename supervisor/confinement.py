"""What each process of a running sandbox really has, read from /proc and from the kernel's copy of its filters.

Only root may read those (CAP_SYS_ADMIN): an ordinary user is shown what the filters that pysc built allow, and that
they were read there.  What the host hides from the reader otherwise is *unreadable*.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from pysc.cabi import confine
from pysc.cabi.bpf_reach import reach
from pysc.supervisor.names import capability_names
from pysc.supervisor.reaping import children

NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")
_PTRACE_SEIZE: Final = 0x4206
_PTRACE_INTERRUPT: Final = 0x4207
_WALL: Final = 0x40000000
FILTERED: Final = "2"
_SECCOMP: Final = {"0": "off", "1": "strict", FILTERED: "filter"}
UNREADABLE: Final = "unreadable (run as root)"
T = TypeVar("T")


class Confinement(msgspec.Struct):
    """One process."""

    role: str
    pid: int
    uids: list[str]
    """Real, effective, saved, file system, as the reader sees them."""
    groups: list[str]
    uid_map: list[str]
    capabilities: dict[str, list[str]]
    """By set: effective, permitted, inheritable, bounding, ambient."""
    no_new_privs: bool
    namespaces: dict[str, str]
    """By kind: ``host``, where it is the reader's, ``own``, or ``unreadable``."""
    seccomp: str
    filters: int
    allowed: int | None
    """Host calls that pass with any arguments; None where the filters cannot be read."""
    allowed_by_argument: int | None
    source: str
    """Where the two come from."""
    root: list[str] | None
    """What lies in its root directory; None where that is unreadable."""
    descriptors: dict[str, int] | None
    held: dict[str, int] | None = None
    """The sentry's own word for what they are of; None: it was not asked."""
    unknown: list[int] = []
    """Those of which it says that it does not know."""


def look(role: str, pid: int) -> Confinement:
    """Look at one process.

    Raises:
        OSError: it is gone.
    """
    status = _status(pid)
    programs, source = read_filters(pid)
    if not programs and status["Seccomp"] == FILTERED:
        from pysc.supervisor.built_filters import built  # root need not load it

        programs, source = built(role), f"the filter that pysc built (the kernel's copy: {source})"
    calls = reach(programs) if programs else None
    return Confinement(
        role=role,
        pid=pid,
        uids=status["Uid"].split(),
        groups=status["Groups"].split(),
        uid_map=[" ".join(line.split()) for line in _text(f"/proc/{pid}/uid_map").splitlines()],
        capabilities={
            name: capability_names(int(status[key], 16))
            for name, key in (
                ("effective", "CapEff"),
                ("permitted", "CapPrm"),
                ("inheritable", "CapInh"),
                ("bounding", "CapBnd"),
                ("ambient", "CapAmb"),
            )
        },
        no_new_privs=status["NoNewPrivs"] == "1",
        namespaces={kind: _whose(pid, kind) for kind in NAMESPACES if os.path.lexists(f"/proc/self/ns/{kind}")},
        seccomp=_SECCOMP.get(status["Seccomp"], status["Seccomp"]),
        filters=int(status.get("Seccomp_filters", "0")),
        allowed=len(calls[0]) if calls else None,
        allowed_by_argument=len(calls[1]) if calls else None,
        source=source,
        root=_permitted(lambda: sorted(os.listdir(f"/proc/{pid}/root"))[:8]),
        descriptors=_permitted(lambda: dict(sorted(descriptors(pid).items()))),
    )


def guests(sentry: int) -> list[tuple[str, int]]:
    """Return the sentry's children: the zygote, which makes blank processes, and guests, with or without a program."""
    return [("zygote" if name.startswith("memfd:") else "guest", pid) for pid, name in children(sentry)]


def _permitted(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except PermissionError:
        return None


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _status(pid: int) -> dict[str, str]:
    rows = (line.split(":", 1) for line in _text(f"/proc/{pid}/status").splitlines())
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def _whose(pid: int, kind: str) -> str:
    theirs = _permitted(lambda: os.readlink(f"/proc/{pid}/ns/{kind}"))
    if theirs is None:
        return UNREADABLE
    return "host" if theirs == os.readlink(f"/proc/self/ns/{kind}") else "own"


def descriptors(pid: int) -> Counter[str]:
    """Count the open descriptors of a process by kind."""
    kinds: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        kinds[_kind(target)] += 1
    return kinds


def _kind(target: str) -> str:
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    if target.startswith("/memfd:"):
        return "memfd"
    if not target.startswith("/"):
        return re.sub(r":?\[\d+\]$", "", target)
    if target.startswith("/dev/"):
        return target
    if target == "/proc" or target.startswith("/proc/"):
        return "procfs"
    return "file or directory"


def read_filters(pid: int) -> tuple[list[bytes], str]:
    """Return the seccomp filters of a process, newest first, and where they were read."""
    from ptrace import PtraceError
    from ptrace.binding import ptrace_detach
    from ptrace.binding.func import ptrace

    attached = False
    try:
        ptrace(_PTRACE_SEIZE, pid, 0, 0)
        attached = True
        ptrace(_PTRACE_INTERRUPT, pid, 0, 0)
        os.waitpid(pid, _WALL)
        found: list[bytes] = []
        while (program := confine.get_filter(pid, len(found))) is not None:
            found.append(program)
        return found, "the kernel (PTRACE_SECCOMP_GET_FILTER)"
    except (PtraceError, OSError) as error:
        return [], os.strerror(error.errno) if error.errno else str(error)
    finally:
        if attached:
            with suppress(PtraceError):  # it has ended meanwhile
                ptrace_detach(pid, 0)


def show(processes: list[Confinement]) -> str:
    """Return all of it as text; guests that differ in nothing but their pids are shown once."""
    sections: dict[tuple[str, str], list[int]] = {}
    for process in processes:
        key = process.role if process.role == "guest" else f"{process.role} {process.pid}"
        sections.setdefault((key, _body(process)), []).append(process.pid)
    return "\n".join(
        f"{key.partition(' ')[0]} (pid {', '.join(map(str, pids))})\n{body}" for (key, body), pids in sections.items()
    )


def _body(process: Confinement) -> str:
    own = [kind for kind, whose in process.namespaces.items() if whose == "own"]
    host = [kind for kind, whose in process.namespaces.items() if whose == "host"]
    hidden = UNREADABLE in process.namespaces.values()
    rows = [
        ("uid", " ".join(process.uids) + (f"  groups {' '.join(process.groups)}" if process.groups else "")),
        ("uid map", "; ".join(process.uid_map[:4]) + (" …" if len(process.uid_map) > 4 else "")),
        *((f"caps {name}", _capabilities(names)) for name, names in process.capabilities.items()),
        ("no_new_privs", "yes" if process.no_new_privs else "NO"),
        (
            "namespaces",
            UNREADABLE if hidden else f"own: {' '.join(own) or 'none'}; the host's: {' '.join(host) or 'none'}",
        ),
        ("seccomp", f"{process.seccomp}, {process.filters} filter{'s' if process.filters != 1 else ''}"),
        ("host calls", _calls(process)),
        ("root", UNREADABLE if process.root is None else " ".join(process.root) or "empty"),
        ("descriptors", UNREADABLE if process.descriptors is None else _counts(process.descriptors)),
    ]
    if process.held is not None:
        rows.append(("held by it as", _counts(process.held)))
    if process.unknown:
        rows.append(("HELD BY NOBODY", " ".join(map(str, process.unknown))))
    return "".join(f"  {name:17} {value}\n" for name, value in rows)


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"


def _capabilities(names: list[str]) -> str:
    return "none" if not names else "all" if len(names) > 38 else " ".join(names)


def _calls(process: Confinement) -> str:
    if process.allowed is None:
        return "all" if process.seccomp == "off" else f"unreadable: {process.source}"
    return f"{process.allowed} allowed, {process.allowed_by_argument} more by argument; from {process.source}"
