"""Who may import whom, what must never be imported where, and the shape of the tree (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.support.sources import COMPONENTS, ROOT, Import, imports, modules, parse

MAY_IMPORT = {
    "cabi": {"cabi"},
    "urpc": {"urpc", "cabi"},
    "gofer": {"gofer", "urpc", "cabi"},
    "netstackd": {"netstackd", "urpc", "cabi"},
    "sentry": {"sentry", "urpc", "cabi"},
    "supervisor": {"supervisor", "urpc", "cabi"},
}
FORKS_DAEMONS = {
    "supervisor/spawner.py",
    "supervisor/daemon.py",
    "supervisor/launch.py",
    "supervisor/export_filters.py",
    "supervisor/built_filters.py",
}
"""Modules that may import a daemon's parts: they fork it, or write down or show its filter."""

PRINTS_TABLE = {"supervisor/commands/syscalls.py"}
"""``pysc syscalls`` prints the sentry's table, which is data."""

ONE_PYTHON_THREAD = ("threading", "_thread", "asyncio", "concurrent", "multiprocessing", "anyio", "uvloop")
NEVER = {
    "sentry": ONE_PYTHON_THREAD,
    "gofer": ("asyncio", "uvloop", "anyio", "concurrent", "multiprocessing"),
    "urpc": ("asyncio", "uvloop"),
}


def component_of(item: Import) -> str | None:
    """Return the component that an import names, if it is one of ours."""
    words = item.module.split(".")
    return words[1] if words[0] == "pysc" and len(words) > 1 and words[1] in COMPONENTS else None


@pytest.mark.parametrize("component", COMPONENTS)
def test_imports_point_down(component: str) -> None:
    wrong = []
    for path in modules(component):
        name = str(path.relative_to(ROOT))
        for item in imports(path):
            target = component_of(item)
            if target is None or target in MAY_IMPORT[component] or name in FORKS_DAEMONS:
                continue
            if name in PRINTS_TABLE and item.module.startswith("pysc.sentry.syscalls."):
                continue
            wrong.append(str(item))
    assert not wrong, "\n".join(wrong)


def test_urpc_uses_no_c() -> None:
    wrong = [
        str(item)
        for path in modules("urpc")
        for item in imports(path)
        if component_of(item) == "cabi" and not item.module.startswith("pysc.cabi.linux.")
    ]
    assert not wrong, "\n".join(wrong)


def test_c_is_behind_a_fence() -> None:
    """Single host calls have their face in cabi; the dispatcher is the sentry's, which holds its objects by handle."""
    wrong = [
        str(item)
        for component in COMPONENTS
        if component != "cabi"
        for path in modules(component)
        for item in imports(path)
        if item.module.split(".")[0] in ("cffi", "ctypes")
        or item.module.startswith("pysc.cabi._shim")
        or (item.module.startswith("pysc.cabi._") and component != "sentry")
    ]
    assert not wrong, "\n".join(wrong)


MAPS_ITS_OWN = {"start.c", "thread.c", "patch.c"}
"""Parts of the guest half that map, move and protect its own memory, and text that they have patched."""
IS_THE_GATE = {"gate.c", "remap.c"}


def test_memory_calls_of_guests_have_one_gate() -> None:
    """memory_call() sees each: there what is not anonymous, though it looks so, is told from what is."""
    call = re.compile(r"\bhost6?\(\s*([^,)]*)")
    memory = ("__NR_mmap", "__NR_munmap", "__NR_mprotect", "__NR_mremap", "__NR_madvise")
    of_any_number, around = set(), set()
    for path in sorted((ROOT / "cabi/guest").glob("*.c")):
        for number in call.findall(path.read_text()):
            if not number.startswith(("__NR_", "NR_")):
                of_any_number.add(path.name)
            elif number in memory:
                around.add(path.name)
    assert of_any_number == {"gate.c"}
    assert around == MAPS_ITS_OWN | IS_THE_GATE
    calls = re.compile(r"\b(?:memory_call|map_image)\(")
    assert {path.name for path in (ROOT / "cabi/guest").glob("*.c") if calls.search(path.read_text())} == {
        "commands.c", "gate.c", "heap.c", "native.c", "serve.c",
    }  # fmt: skip


@pytest.mark.parametrize("component", sorted(NEVER))
def test_what_a_component_never_imports(component: str) -> None:
    wrong = [
        str(item)
        for path in modules(component)
        for item in imports(path)
        if item.module.split(".")[0] in NEVER[component]
        and not item.for_types_only
        # The transport of each caller is a module of its own; only the anyio one knows a loop.
        and not (component == "urpc" and path.stem == "anyio")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("component", ["gofer", "netstackd", "sentry"])
def test_no_late_imports(component: str) -> None:
    """A daemon imports everything before it locks itself down: a first import in a function would fail there.

    Functions may name a module only to break a cycle, one that is loaded at the daemon's import in any case.
    """
    loaded = loaded_by(ROOT / component / "main.py")
    wrong = [
        str(item)
        for name in [component, "urpc", "cabi"]
        for path in modules(name)
        for item in imports(path)
        if item.inside_function
        and not loaded & {item.module, item.module.rpartition(".")[0]}
        and item.module != "pyseccomp"  # compiles a filter that an installation has not: at the daemon's import
    ]
    assert not wrong, "\n".join(wrong)


def loaded_by(entry: Path) -> set[str]:
    """Return the modules that importing ``entry`` loads by statements at the top of modules."""
    loaded: set[str] = set()
    left = [entry]
    while left:
        for item in imports(left.pop()):
            if item.inside_function or item.for_types_only:
                continue
            for name in (item.module, item.module.rpartition(".")[0]):
                path = ROOT.joinpath(*name.split(".")[1:]).with_suffix(".py")
                if name and name not in loaded:  # what is at the top has no package
                    loaded.add(name)
                    if name.startswith("pysc.") and path.is_file():
                        left.append(path)
    return loaded


def test_python_ptrace_has_one_importer() -> None:
    """It is GPL-licensed: only the ptrace platform and ``pysc debug`` load it, and nothing else depends on it."""
    for component in COMPONENTS:
        for path in modules(component):
            if any(item.module.split(".")[0] == "ptrace" for item in imports(path)):
                assert str(path.relative_to(ROOT)).startswith(
                    ("sentry/platform/ptrace", "supervisor/commands/debug", "supervisor/confinement")
                )


def test_components_are_links() -> None:
    for component in COMPONENTS:
        link = ROOT / "src/pysc" / component
        assert link.is_symlink(), f"{link} must be a symbolic link"
        assert link.readlink().as_posix() == f"../../{component}"
        assert (ROOT / component / "py.typed").is_file()


@pytest.mark.parametrize("component", COMPONENTS)
def test_name_guard(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root, ``import sentry`` would make a second copy of every class: it must fail."""
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(ImportError, match=f"pysc.{component}"):
        importlib.import_module(component)


@pytest.mark.parametrize("component", COMPONENTS)
def test_except_clauses_say_what_they_catch(component: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: bare except"
        for path in modules(component)
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("component", COMPONENTS)
def test_modules_say_what_they_are(component: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules(component)
        if path.stat().st_size and not ast.get_docstring(parse(path))
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("component", COMPONENTS)
def test_nothing_is_left_to_do(component: str) -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    files = [*modules(component), *(ROOT / component).rglob("*.c"), *(ROOT / component).rglob("*.h")]
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if not path.name.startswith("_")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert not wrong, "\n".join(wrong)
