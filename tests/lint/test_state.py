"""Where the state of a daemon is: in objects that somebody owns, where a checkpoint finds it; not in modules."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections import deque
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from tests.support.kernel_classes import kernel_classes
from tests.support.sources import COMPONENTS, ROOT, modules, parse

DAEMONS = sorted(set(COMPONENTS) - {"cabi"})
ALLOWED = {
    # Faces of the structures that fast paths work on, by index: a process has one set of those (cabi/objects.py).
    "sentry.fs.file.referenced",
    "sentry.fs.dcache.caches",
    "sentry.fs.path.mounts",
    # What the numbers of this process's table of descriptors mean: it has one.
    "sentry.hostfds._held",
    # Weak references in the order of their use: what bounds the memory of this process, whoever's the names are.
    "sentry.fs.path._cached",
    # The next of numbers that are never used again: a checkpoint saves how far they are.
    "sentry.fs.path._mount_ids",
    "sentry.fs.inode._minors",
    "sentry.fs.anonymous._numbers",
    # What is charged to it is charged to nobody.
    "sentry.fs.memory_file.UNLIMITED_BUDGET",
    # Registered while modules are imported, and tables from then on.
    "sentry.fs.special.devices",
    "sentry.fs.special.open_fifo",
    "sentry.fs.special.record_lock",
    "sentry.fs.special.pipe_size",
    "sentry.fs.mounting.types",
    # The process's own directory of itself, which no path leads to after lock-down.
    "sentry.fs.hostproc._Opened",
    # Tables, whole once they are imported.
    "sentry.syscalls.x86_64.X86_64",
    "urpc.schema.gofer.GOFER",
    "urpc.schema.netstack.NETSTACK",
    "urpc.schema.sentry.CONTROL",
    "urpc.schema.spawner.SPAWNER",
    "urpc.schema.supervisor.COMMANDS",
    # A cache of what is a function of its arguments.
    "sentry.loader.elf._parse_table",
    "sentry.fs.sysfs._trees",
    # Where this process writes its reports, as its stderr.
    "urpc.report._sink",
    # Before there is a supervisor, in its process.
    "supervisor.prefork._early",
}
"""Why each is not some object's: in short here, at length where it is."""

CHANGES = {
    "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft",
    "remove", "reverse", "setdefault", "sort", "update",
}  # fmt: skip
MUTABLE = (bytearray, deque, itertools.count, WeakKeyDictionary, WeakValueDictionary)


def base(target: ast.expr) -> list[str]:
    """Return the dotted name that an expression begins with."""
    names: list[str] = []
    while True:
        match target:
            case ast.Attribute(value=value, attr=attr):
                names.insert(0, attr)
                target = value
            case ast.Subscript(value=value):
                names.clear()
                target = value
            case ast.Name(id=name):
                return [name, *names]
            case _:
                return []


class Changed(ast.NodeVisitor):
    """What functions of a module change that is not theirs: names of modules, attributes of modules and classes."""

    def __init__(self, component: str, path: Path) -> None:
        self.module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.found: set[str] = set()
        self._outside: dict[str, str] = {}
        self._depth = 0
        tree = parse(path)
        for node in tree.body:
            for name in bound(node):
                self._outside[name] = f"{self.module}.{name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pysc."):
                for alias in node.names:
                    self._outside[alias.asname or alias.name] = f"{node.module.removeprefix('pysc.')}.{alias.name}"
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if any("cache" in ast.unparse(decorator) for decorator in node.decorator_list):
            self.found.add(f"{self.module}.{node.name}")
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # named by ast

    def visit_Global(self, node: ast.Global) -> None:
        self.found.update(f"{self.module}.{name}" for name in node.names)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._store(target)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._store(node.target)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._store(target)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES and self._depth:
            self._note(node.func.value)
        self.generic_visit(node)

    def _store(self, target: ast.expr) -> None:
        if isinstance(target, (ast.Attribute, ast.Subscript)):
            self._note(target.value if isinstance(target, ast.Subscript) else target)

    def _note(self, target: ast.expr) -> None:
        names = base(target)
        if not names or names[0] not in self._outside:
            return
        where = self._outside[names[0]]
        module = ROOT.joinpath(*where.split(".")).with_suffix(".py")
        if module.is_file():
            if len(names) == 1:
                return  # a function of that module is called
            where = f"{where}.{names[1]}"
        self.found.add(where)


def bound(node: ast.stmt) -> Iterator[str]:
    """Give the names that a statement at the top of a module binds to what may be state: values and classes."""
    match node:
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.ClassDef(name=name):
            yield name


def has_state(value: Any) -> bool:
    """Whether an object is one that changes, or could."""
    if isinstance(value, MUTABLE):
        return True
    kind = type(value)
    if not kind.__module__.startswith("pysc.") or isinstance(value, (type, Enum, tuple)):
        return False
    if isinstance(value, msgspec.Struct):
        return not kind.__struct_config__.frozen
    return bool(getattr(value, "__dict__", None)) or any(vars(base).get("__slots__") for base in kind.__mro__)


@lru_cache
def state() -> dict[str, str]:
    """Find what is not owned by an object, and say where."""
    found: dict[str, str] = {}
    for component in DAEMONS:
        for path in modules(component):
            changed = Changed(component, path)
            found.update(dict.fromkeys(changed.found, str(path.relative_to(ROOT))))
            if path.stem == "__main__":
                continue
            module = importlib.import_module(f"pysc.{changed.module.removesuffix('.__init__')}")
            for node in parse(path).body:
                for name in bound(node):
                    if has_state(getattr(module, name, None)):
                        found[f"{changed.module}.{name}"] = str(path.relative_to(ROOT))
    return found


def test_modules_have_no_state() -> None:
    wrong = [f"{name} (changed in {where})" for name, where in sorted(state().items()) if name not in ALLOWED]
    assert not wrong, "give it an owner:\n" + "\n".join(wrong)


def test_what_is_allowed_is_there() -> None:
    assert not ALLOWED - state().keys()


def test_kernel_classes_say_what_they_have() -> None:
    """A slot is a field that a checkpoint saves or makes anew; an instance dictionary could have any."""
    wrong = [
        f"{kind.__module__}.{kind.__qualname__}: {base.__qualname__} has no __slots__"
        for kind in kernel_classes()
        if not getattr(kind, "_is_protocol", False) and not issubclass(kind, msgspec.Struct)
        for base in kind.__mro__
        if base.__module__.startswith("pysc.") and "__slots__" not in vars(base)
    ]
    assert not wrong, "\n".join(wrong)


def test_all_that_is_drawn_is_drawn_in_one_place() -> None:
    """What a sandbox keeps of it stands in one class there: a copy of the sandbox must have its own."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in modules("sentry")
        if path.stem != "chance"
        for node in ast.walk(parse(path))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.urandom", "os.getrandom"))
        or (isinstance(node, ast.Import) and {alias.name for alias in node.names} & {"random", "secrets", "uuid"})
        or (isinstance(node, ast.ImportFrom) and node.module in ("random", "secrets", "uuid"))
    ]
    for path in sorted((ROOT / "cabi/dispatch").glob("*.c")):
        if path.stem != "fast_self" and re.search(r"\b(getrandom|rdrand|rand|random)\w*\(", path.read_text()):
            wrong.append(str(path.relative_to(ROOT)))
    assert not wrong, "\n".join(wrong)


OWN_MEMORY = {"pysc_table": {"files", "used", "cloexec"}, "pysc_data": {"small"}, "pysc_pipe": {"bytes"}} | {
    "pysc_dentry": {"name", "target"},
    "pysc_locks": {"records"},
}
"""What an object has beside its structure."""


def test_no_object_points_to_another() -> None:
    """They name each other by indices, which mean the same in another process (cabi/dispatch/objects.h)."""
    pointing: dict[str, set[str]] = {}
    kinds = 0
    for name in ("objects.h", "object.h"):
        text = (ROOT / "cabi/dispatch" / name).read_text()
        for struct, members in re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.M | re.S):
            if "struct pysc_header header;" in members:
                kinds += 1
                pointers = re.findall(r"\*\s*(\w+)", re.sub(r"/\*.*?\*/", "", members, flags=re.S))
                pointing |= {struct: set(pointers)} if pointers else {}
    assert pointing == OWN_MEMORY
    assert (
        kinds
        == len(re.findall(r"^#define PYSC_OBJECT_\w+ \d+$", (ROOT / "cabi/dispatch/objects.h").read_text(), re.M)) - 1
    )
