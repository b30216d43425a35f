"""What each process of a running sandbox really has, read from /proc and from the kernel's copy of its filters."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Final

import msgspec

from pysc.cabi import confine
from pysc.cabi.bpf_reach import reach
from pysc.supervisor.names import capability_names

NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time")
_PTRACE_SEIZE: Final = 0x4206
_PTRACE_INTERRUPT: Final = 0x4207
_WALL: Final = 0x40000000
_SECCOMP: Final = {"0": "off", "1": "strict", "2": "filter"}


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
    """By kind: ``host``, where it is the reader's, or ``own``."""
    seccomp: str
    filters: int
    allowed: int | None
    """Host calls that pass with any arguments; None where the filters cannot be read."""
    allowed_by_argument: int | None
    source: str
    """Where the two come from."""
    root: list[str]
    """What lies in its root directory."""
    descriptors: dict[str, int]
    held: dict[str, int] | None = None
    """The sentry's own word for what they are of; None: it was not asked."""
    unknown: list[int] = []
    """Those of which it says that it does not know."""


def look(role: str, pid: int) -> Confinement:
    """Look at one process.

    Raises:
        OSError: it is gone, or belongs to somebody else.
    """
    status = _status(pid)
    filters, source = read_filters(pid)
    calls = reach(filters) if filters else None
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
        root=sorted(os.listdir(f"/proc/{pid}/root"))[:8],
        descriptors=dict(sorted(descriptors(pid).items())),
    )


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _status(pid: int) -> dict[str, str]:
    rows = (line.split(":", 1) for line in _text(f"/proc/{pid}/status").splitlines())
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def _whose(pid: int, kind: str) -> str:
    theirs, ours = os.readlink(f"/proc/{pid}/ns/{kind}"), os.readlink(f"/proc/self/ns/{kind}")
    return "host" if theirs == ours else "own"


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
        filters: list[bytes] = []
        while (program := confine.get_filter(pid, len(filters))) is not None:
            filters.append(program)
        return filters, "the kernel (PTRACE_SECCOMP_GET_FILTER)"
    except (PtraceError, OSError) as error:
        return [], f"unreadable: {error}"
    finally:
        if attached:
            ptrace_detach(pid, 0)


def show(processes: list[Confinement]) -> str:
    """Return all of it as text."""
    return "\n".join(_section(process) for process in processes)


def _section(process: Confinement) -> str:
    own = [kind for kind, whose in process.namespaces.items() if whose == "own"]
    host = [kind for kind, whose in process.namespaces.items() if whose == "host"]
    rows = [
        ("uid", " ".join(process.uids) + (f"  groups {' '.join(process.groups)}" if process.groups else "")),
        ("uid map", "; ".join(process.uid_map[:4]) + (" …" if len(process.uid_map) > 4 else "")),
        *((f"caps {name}", _capabilities(names)) for name, names in process.capabilities.items()),
        ("no_new_privs", "yes" if process.no_new_privs else "NO"),
        ("namespaces", f"own: {' '.join(own) or 'none'}; the host's: {' '.join(host) or 'none'}"),
        ("seccomp", f"{process.seccomp}, {process.filters} filters"),
        ("host calls", _calls(process)),
        ("root", " ".join(process.root) or "empty"),
        ("descriptors", _counts(process.descriptors)),
    ]
    if process.held is not None:
        rows.append(("held by it as", _counts(process.held)))
    if process.unknown:
        rows.append(("HELD BY NOBODY", " ".join(map(str, process.unknown))))
    body = "".join(f"  {name:17} {value}\n" for name, value in rows)
    return f"{process.role} (pid {process.pid})\n{body}"


def _counts(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"


def _capabilities(names: list[str]) -> str:
    return "none" if not names else "all" if len(names) > 38 else " ".join(names)


def _calls(process: Confinement) -> str:
    if process.allowed is None:
        return "all" if process.seccomp == "off" else process.source
    return f"{process.allowed} allowed, {process.allowed_by_argument} more by argument; from {process.source}"
