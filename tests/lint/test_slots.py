"""What the kernel's objects have, slot by slot: what a checkpoint can save, or what it need not, and why.

A slot may hold plain data, other objects of the kernel, and collections of these.  All else is transient: made anew in
another process.  The types are the type checker's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.lint.test_state import kernel_classes
from tests.support.sources import ROOT

PLAIN = {
    "None", "int", "bool", "bytes", "bytearray", "str", "float", "tuple", "list", "dict", "set", "frozenset", "type",
    "array.array", "collections.deque", "collections.OrderedDict", "itertools.count", "typing.Mapping",
    "typing.Sequence", "weakref.WeakValueDictionary",
    "fallback",  # the class of a named tuple
}  # fmt: skip
"""And all classes of the sentry that are not transient, whose own slots are looked at, too."""
DATA = ("pysc.cabi.linux.", "pysc.urpc.schema.", "pysc.sentry.")

TRANSIENT = {
    "pysc.sentry.hostfds.HostFd": "had again by what the table says that it is of",
    "pysc.sentry.kernel.scheduler": "who waits begins the call again, by what its Record has",
    "pysc.sentry.fs.mutex": "held by calls, which begin again",
    "pysc.sentry.kernel.dispatch": "a call that is being decoded",
    "pysc.sentry.platform": "of host processes, which are made anew from their memory and registers",
    "pysc.sentry.loader": "of an execve(2) in progress, which begins again",
    "pysc.sentry.kernel.workers": "threads of this process",
    "pysc.sentry.fs.tree.Caller": "a connection, which is made anew",
    "pysc.sentry.log": "by the flags",
    "pysc.sentry.kernel.kernel.Log": "by the flags",
    "pysc.sentry.strace": "by the flags",
    "pysc.sentry.strace_arguments.Formatters": "by the flags",
    "pysc.sentry.syscalls.table.Row": "of a table that is there from the start",
    "pysc.sentry.syscalls.table.Read": "of a table that is there from the start",
    "pysc.sentry.main": "what a process is begun with",
    "select.poll": "of a descriptor that stands beside it",
}
"""Types, and packages of such: how another process comes by one."""

_FACE = "where the structure is that an index beside it names"
_TABLE = "a function of a table of the module's, which is found by the name again"
SLOTS = {
    "fs.context.FsContext._c": _FACE,
    "fs.data.Data.c": _FACE,
    "fs.epoll.EpollItem.c": _FACE,
    "fs.epoll.EpollFile._epoll": _FACE,
    "fs.eventfd.EventFile._counter": _FACE,
    "fs.file.FileDescription._c": _FACE,
    "fs.memory_file.Budget._c": _FACE,
    "fs.memory_file.Contents._c": "that of its Data",
    "fs.pipe.Pipe._c": _FACE,
    "fs.regular._Position._c": "that of its description",
    "fs.shown.ShownInode._c": _FACE,
    "fs.superblock._Calls._c": "that of its superblock",
    "fs.superblock.Superblock.c": _FACE,
    "fs.superblock.Superblock._pulse": "there is one",
    "kernel.fd_table.FDTable._c": _FACE,
    "kernel.locks.FileLocks._c": _FACE,
    "kernel.pending.SignalHandlers._c": _FACE,
    "fs.file.Referenced.see": "a function of a module, set while modules are imported",
    "fs.proc.base.Folder._table": _TABLE,
    "fs.proc.base._Function._read": _TABLE,
    "fs.proc.base._Function._write": _TABLE,
    "fs.proc.base._Table.names": _TABLE,
    "fs.proc.base._Link.read": _TABLE,
    "fs.proc.process.ProcessEntry.read": _TABLE,
    "fs.proc.process.ProcessEntry.write": _TABLE,
    "fs.proc.process.LinkEntry.follow": _TABLE,
    "fs.proc.process.ProcessText._entry": _TABLE,
    "fs.proc.process.MagicLink._entry": _TABLE,
    "ipc.objects.IpcTable._keys": "its objects are of the class that the table is of",
    "ipc.objects.IpcTable._objects": "its objects are of the class that the table is of",
    "kernel.kernel.Kernel.settings": "its keys are objects of such a table, one for each name",
    "kernel.kernel.Kernel.workers": "threads of this process; tests have none",
    "net.message.Message.data": "a message that is being sent; what is queued has bytes",
}
"""Those whose types do not say that they are transient: how they are made anew."""

GUESTS = {
    "fs.epoll.EpollItem.fd", "fs.fasync.Notice._fd", "fs.proc.descriptors.FdLink._fd", "fs.proc.descriptors.FdInfo._fd",
    "kernel.clone.CloneArgs.pidfd", "kernel.siginfo.SigInfo.fd",
}  # fmt: skip
"""Numbers of descriptors that are a guest's."""


def fields(kind: type) -> list[str]:
    """Return the names of what an object has by this class."""
    if issubclass(kind, msgspec.Struct):
        return [name for name in kind.__struct_fields__ if name in kind.__annotations__]
    if issubclass(kind, tuple):
        return list(getattr(kind, "_fields", ()))
    return [name for name in vars(kind).get("__slots__", ()) if not name.startswith("__")]


def kinds() -> Iterator[type]:
    """Give the classes of which objects are the kernel's state, as far as their place tells."""
    for kind in kernel_classes():
        if not getattr(kind, "_is_protocol", False) and not transient(f"{kind.__module__}.{kind.__qualname__}"):
            yield kind


def transient(name: str) -> str | None:
    """Return how what has this name is made anew; None: it is state, or nothing that is known."""
    return next((how for prefix, how in TRANSIENT.items() if name == prefix or name.startswith(f"{prefix}.")), None)


def types(place: Path) -> dict[str, str]:
    """Ask the type checker what all slots are, by names below ``pysc.sentry``."""
    lines = ["from __future__ import annotations", *sorted({f"import {kind.__module__}" for kind in kinds()})]
    asked = {}
    for kind in kinds():
        name = f"{kind.__module__}.{kind.__qualname__}"
        lines.append(f"def _(it: {name}) -> None: ...")
        for field in fields(kind):
            lines[-1] = lines[-1].removesuffix(" ...")
            lines.append(f"    reveal_type(it.{field})")
            asked[len(lines)] = f"{name}.{field}".removeprefix("pysc.sentry.")
    script = place / "slots.py"
    script.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-P", "-m", "mypy", "--explicit-package-bases", "--no-pretty", str(script)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    # What is known from before is said of where the same lines stood then.
    found = re.findall(r'slots\.py:(\d+): note: Revealed type is "(.*)"$', checked.stdout, re.M)
    told = {asked[int(line)]: type_ for line, type_ in found}
    assert not set(asked.values()) - told.keys(), checked.stdout[-4000:] + checked.stderr[-4000:]
    return told


def unfit(type_: str) -> list[str]:
    """Return what of a type is neither state nor known to be transient."""
    type_ = re.sub(r"Literal\[[^]]*\]", "int", type_)
    if re.search(r"\bdef\b", type_):
        return ["def"]
    names = set(re.findall(r"[A-Za-z_][\w.]*", type_))
    return sorted(name for name in names if name not in PLAIN and not name.startswith(DATA) and transient(name) is None)


@pytest.mark.timeout(300)  # where the type checker has looked at nothing before
def test_all_slots_are_state_or_transient(tmp_path: Path) -> None:
    told = types(tmp_path)
    wrong = [f"{slot}: {type_}" for slot, type_ in told.items() if unfit(type_) and slot not in SLOTS]
    assert not wrong, "\n".join(
        ["say how another process would make it, or let it have a type that can be saved:", *wrong]
    )
    # Descriptors of the host's stand in their table; its processes are the platform's, all of which is transient.
    descriptors = {slot for slot in told if re.search(r"(^|_)(fd|pidfd)$", slot.rpartition(".")[2])}
    assert {slot for slot in descriptors if told[slot] == "int"} == GUESTS
    assert [slot for slot in told if re.search(r"host_?(pid|tid)", slot)] == []
    # And what is allowed is there.
    assert [slot for slot in SLOTS if not unfit(told.get(slot, ""))] == []
    used = {name for type_ in told.values() for name in re.findall(r"[A-Za-z_][\w.]*", type_)}
    used |= {f"{kind.__module__}.{kind.__qualname__}" for kind in kernel_classes()}
    assert [name for name in TRANSIENT if not any(other.startswith(name) for other in used)] == []
