"""Writes ``sentry/state/schema.py``: what of each class of the kernel's is state, as the type checker has its types.

A slot may hold plain data, other objects of the kernel, and collections of these.  All else is transient, and here is
said how another process comes by it.  ``python -m tests.support.state_schema`` writes the file anew; classes that it
has keep their tags.
"""

from __future__ import annotations

import importlib
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pysc.cabi.linux.attributes import HostAttributes
from tests.support.kernel_classes import kernel_classes
from tests.support.sources import ROOT

SCHEMA = ROOT / "sentry/state/schema.py"
PACKAGE = "pysc.sentry."

PLAIN = {
    "None", "int", "bool", "bytes", "bytearray", "str", "float", "tuple", "list", "dict", "set", "frozenset",
    "array.array", "collections.deque", "collections.OrderedDict", "itertools.count", "typing.Mapping",
    "weakref.WeakValueDictionary", "face", "given", "table", "error", "callback", "object", "pulse", "borrowed",
    "deletable", "timers", "...",
}  # fmt: skip
"""What ``sentry/state/forms.py`` has forms for, beside classes of the kernel's."""

GIVEN = {
    "hostfds.HostFd": "had again by what the table says that it is of",
    "platform.interface.Platform": "made anew",
    "platform.interface.Space": "made anew from its memory",
    "platform.interface.Thread": "made anew from its registers",
    "kernel.workers.WorkerClient": "threads of this process",
    "fs.tree.Caller": "a connection, which is made anew",
    "kernel.kernel.Log": "by the flags",
    "strace.Strace": "by the flags",
    "syscalls.table.SyscallTable": "there is one",
    "loader.hwcap.Processor": "the machine's",
}
"""What is this process's: whoever loads has another."""

BEGUN = {
    "kernel.scheduler.WaitQueue": "who is parked begins the call again, by what its Record has",
    "kernel.scheduler.Completion": "who waits begins the call again",
    "kernel.scheduler.Scheduler": "all that was ready has run",
    "kernel.workers.Lane": "nothing is in work",
    "fs.mutex.Mutex": "held by calls, which begin again",
}
"""What begins as a new one does, but for the slots in SLOTS."""

OTHERS = {
    "kernel.scheduler": "who waits begins the call again, by what its Record has",
    "kernel.workers": "threads of this process",
    "kernel.dispatch": "a call that is being decoded",
    "platform": "of host processes, which are made anew from their memory and registers",
    "loader": "of an execve(2) in progress, which begins again",
    "log": "by the flags",
    "strace": "by the flags",
    "strace_arguments": "by the flags",
    "kernel.kernel.SilentLog": "by the flags",
    "syscalls": "of a call, which begins again, or of a table that is there from the start",
    "main": "what a process is begun with",
    "container": "what a process is begun with",
    "state": "what rows are made by",
    "hostfds": "the host's descriptors are had again, and stand in the table then",
    "fs.file.Referenced": "the registry itself: its entries are among GLOBALS",
    "fs.hostproc": "opened at every start",
    "fs.inode.Attributes": "an answer",
    "fs.inode.Changes": "of a call",
    "fs.inode.FsStatistics": "an answer",
    "fs.path._Changing": "of a call",
    "fs.proc.memory.Range": "of an answer",
    "fs.proc.status._Sizes": "of an answer",
    "fs.walk": "of a call",
    "fs.proc.process.ProcessEntry": "of a table that is there from the start",
    "fs.proc.process.LinkEntry": "of a table that is there from the start",
    "fs.proc.base._Table": "of a table that is there from the start",
    "fs.proc.base._Link": "of a table that is there from the start",
    "fs.proc.base._Function": "of a table that is there from the start",
    "fs.proc.base._Constant": "of a table that is there from the start",
    "fs.proc.sysctl": "of a table that is there from the start",
    "fs.proc.sysvipc": "of a table that is there from the start",
    "fs.proc.locks": "of a table that is there from the start",
    "kernel.clone.CloneArgs": "of a call",
    "net.message.Message": "of a call: what is queued is a Packet",
    "kernel.delivery._Ended": "of a call",
    "kernel.exit._Closed": "of a call",
}
"""What is in no row."""

SLOTS = {
    "fs.context.FsContext._c": "face[context]",
    "fs.data.Data.c": "face[data]",
    "fs.epoll.EpollItem.c": "face[item]",
    "fs.epoll.EpollFile._epoll": "face[epoll]",
    "fs.eventfd.EventFile._counter": "face[counter]",
    "fs.file.FileDescription._c": "face[file]",
    "fs.memory_file.Budget._c": "face[budget]",
    "fs.memory_file.Contents._c": "borrowed[data]",
    "fs.pipe.Pipe._c": "face[pipe]",
    "fs.regular._Position._c": "borrowed[file]",
    "fs.shown.ShownInode._c": "face[inode]",
    "fs.superblock._Calls._c": "borrowed[super]",
    "fs.superblock.Superblock.c": "face[super]",
    "fs.superblock.Superblock._pulse": "borrowed[pulse]",
    "kernel.fd_table.FDTable._c": "face[table]",
    "kernel.locks.FileLocks._c": "face[locks]",
    "kernel.pending.SignalHandlers._c": "face[handlers]",
    "fs.proc.base.Folder._table": "typing.Mapping",
    "fs.proc.base.TextLink._link": "table[fs.proc.base._Link]",
    "fs.proc.process.ProcessText._entry": "table[fs.proc.process.ProcessEntry]",
    "fs.proc.process.MagicLink._entry": "table[fs.proc.process.LinkEntry]",
    "ipc.objects.IpcTable._keys": "dict[int, ipc.objects.IpcObject]",
    "ipc.objects.IpcTable._objects": "dict[int, ipc.objects.IpcObject]",
    "kernel.kernel.Kernel.settings": "dict[fs.proc.base.Source, bytes]",
    "kernel.kernel.Kernel.workers": "given[kernel.workers.WorkerClient] | None",
    "kernel.siginfo.SigInfo.layout": "str",
    "kernel.scheduler.WaitQueue._watchers": "dict[object, bool] | None",
    "kernel.scheduler.Timer.callback": "callback | None",
    "kernel.scheduler.Timer.deadline": "int",
    "kernel.scheduler.Scheduler._timers": "timers",
    "kernel.task.Task.routine": "None",  # a frozen task has none
    "kernel.task.Task.untake": "None",  # it has no reply under way
    "kernel.thread_group.ThreadGroup.leader": "deletable[kernel.task.Task]",
    "net.socket.Socket.error": "error | None",
}
"""Those whose types do not say what they are."""

STRUCTURES = {
    "fs.memory_file.Contents._fd": "given[hostfds.HostFd]",
}
"""What structures of fast paths have that is this process's: properties, which are set once all slots are."""

REBUILT = {
    "fs.hostfile.HostStream._poller": "of its descriptor",
    "fs.hosttty.HostTerminal._poller": "of its descriptor",
}
"""Those that are in no row: a new object has another, by its class's ``rebuild``, or none."""

GLOBALS = {
    "sentry.fs.file.referenced": "dict[int, fs.file.FileDescription]",
    "sentry.fs.dcache.caches": "weakref.WeakValueDictionary[int, fs.dcache.Dcache]",
    "sentry.fs.path.mounts": "weakref.WeakValueDictionary[int, fs.path.Mount]",
    "sentry.fs.path._cached": "collections.deque[weakref.ref[fs.path.Dentry]]",
    "sentry.fs.path._mount_ids": "itertools.count[int]",
    "sentry.fs.inode._minors": "itertools.count[int]",
    "sentry.fs.anonymous._numbers": "itertools.count[int]",
}
"""What modules have of it (tests/lint/test_state.py says why)."""

FIXED = ("sentry.fs.memory_file.UNLIMITED_BUDGET",)
"""Objects that modules have."""


def transient(name: str) -> bool:
    """Whether no object of a class has a row."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in (*OTHERS, *GIVEN)) and name not in BEGUN


def is_value(kind: type) -> bool:
    """Whether its objects never change: they stand in the rows of those that have them."""
    if issubclass(kind, msgspec.Struct):
        return bool(kind.__struct_config__.frozen)
    return issubclass(kind, tuple)


def short(kind: type) -> str:
    """Return the name of a class below ``pysc.sentry``."""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix(PACKAGE)


def state_classes() -> Iterator[type]:
    """Give the classes of which objects are the kernel's state."""
    named = [
        getattr(importlib.import_module(PACKAGE + name.rpartition(".")[0]), name.rpartition(".")[2])
        for name in (*BEGUN, "kernel.scheduler.Timer")
    ]
    for kind in (*kernel_classes(), *named, HostAttributes):
        if not getattr(kind, "_is_protocol", False) and (kind in named or not transient(short(kind))):
            yield kind


def fields(kind: type) -> list[str]:
    """Return the names of what an object has by this class."""
    if issubclass(kind, msgspec.Struct):
        return [name for name in kind.__struct_fields__ if name in kind.__annotations__]
    if issubclass(kind, tuple):
        return list(getattr(kind, "_fields", ()))
    names = vars(kind).get("__slots__", ())
    if short(kind) in BEGUN or short(kind) == "kernel.scheduler.Timer":
        return [name for name in names if f"{short(kind)}.{name}" in SLOTS]
    return [name for name in names if not name.startswith("__") and f"{short(kind)}.{name}" not in REBUILT]


def revealed(classes: list[type]) -> dict[str, str]:
    """Ask the type checker what all slots are, by their names below ``pysc.sentry``."""
    lines = ["from __future__ import annotations", *sorted({f"import {kind.__module__}" for kind in classes})]
    asked = {}
    for kind in classes:
        lines.append(f"def _(it: {kind.__module__}.{kind.__qualname__}) -> None: ...")
        for field in fields(kind):
            lines[-1] = lines[-1].removesuffix(" ...")
            lines.append(f"    reveal_type(it.{field})")
            asked[len(lines)] = f"{short(kind)}.{field}"
    with tempfile.TemporaryDirectory() as place:
        script = Path(place, "slots.py")
        script.write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-P", "-m", "mypy", "--explicit-package-bases", "--no-pretty", str(script)]
        checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    # What is known from before is said of where the same lines stood then.
    found = re.findall(r'slots\.py:(\d+): note: Revealed type is "(.*)"$', checked.stdout, re.M)
    told = {asked[int(line)]: text for line, text in found}
    if missing := asked.values() - told.keys():
        raise SystemExit(f"{missing}\n{checked.stdout[-4000:]}{checked.stderr[-4000:]}")
    return told


def expression(slot: str, text: str) -> str:
    """Return the type of a slot as the schema has it."""
    if slot in SLOTS:
        return SLOTS[slot]
    text = text.replace(PACKAGE, "")
    # A named tuple is shown by its fields, innermost first.
    while (named := re.sub(r"tuple\[[^][]*(?:\[[^][]*\][^][]*)*, fallback=([\w.]+)\]", r"\1", text)) != text:
        text = named
    for name in GIVEN:
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", f"given[{name}]", text)
    return re.sub(r"(?<=Completion)\[None\]|(?<=itertools\.count)\[int\]|(?<=array\.array)\[int\]", "", text)


def unfit(text: str) -> list[str]:
    """Return what of an expression is neither state nor said to be transient."""
    if re.search(r"\bdef\b|\bAny\b", text):
        return [text]
    names = re.findall(r"[A-Za-z_][\w.]*", re.sub(r"(given|face|borrowed)\[[\w.]+\]", "", text))
    known = {
        *BEGUN,
        "kernel.scheduler.Timer",
        "fs.proc.process.ProcessEntry",
        "fs.proc.process.LinkEntry",
        "fs.proc.base._Link",
        "syscalls.table.Restart",
    }
    return [name for name in names if name not in PLAIN and name not in known and transient(name)]


def schema() -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]], list[str]]:
    """Return the slots of all classes, those of values, and what is wrong."""
    classes = sorted(state_classes(), key=short)
    told = revealed(classes)
    rows: dict[str, dict[str, str]] = {}
    values: dict[str, dict[str, str]] = {}
    wrong = []
    for kind in classes:
        slots = {field: expression(f"{short(kind)}.{field}", told[f"{short(kind)}.{field}"]) for field in fields(kind)}
        slots |= {
            name.rpartition(".")[2]: text for name, text in STRUCTURES.items() if name.rpartition(".")[0] == short(kind)
        }
        wrong += [f"{short(kind)}.{field}: {text}" for field, text in slots.items() if unfit(text)]
        (values if is_value(kind) else rows)[short(kind)] = slots
    return rows, values, wrong


def written() -> str:
    """Return the text of the file.  ValueError: something is neither state nor transient."""
    from pysc.sentry.state.schema import CLASSES

    rows, values, wrong = schema()
    if wrong:
        raise ValueError("\n".join(["give it a type that can be saved, or say how another process makes it:", *wrong]))
    tags = {name: described.tag for name, described in CLASSES.items()}
    unused = (tag for tag in itertools.count(1) if tag not in tags.values())
    lines = [HEAD, "CLASSES: Final = {"]
    for name, slots in rows.items():
        tag = tags.get(name) or next(unused)
        lines += [f'    "{name}": Described({tag}, {name in BEGUN}, {{', *_lines(slots, 8), "    }),"]
    lines += ["}", "", "VALUES: Final = {"]
    for name, slots in values.items():
        lines += [f'    "{name}": {{', *_lines(slots, 8), "    },"]
    lines += ["}", "", "GLOBALS: Final = {", *_lines(GLOBALS, 4), "}", ""]
    lines += [f"FIXED: Final = ({', '.join(repr(name) for name in FIXED)},)".replace("'", '"')]
    return "\n".join(lines) + "\n"


def _lines(slots: dict[str, str], indent: int) -> list[str]:
    return [f'{" " * indent}"{name}": "{text}",' for name, text in slots.items()]


HEAD = '''"""What of each class of the kernel's is state, by slot, as the type checker knows it: written by a program.

``python -m tests.support.state_schema`` writes it anew.  A tag stays its class's.
"""
# fmt: off

from __future__ import annotations

from typing import Final, NamedTuple


class Described(NamedTuple):
    """A class of which each object has a row."""

    tag: int
    begun: bool
    """Its other slots are as in a new one."""
    slots: dict[str, str]


'''


if __name__ == "__main__":
    SCHEMA.write_text(written())
