"""Who opens a descriptor of the host's in the sentry says what it is of (sentry/hostfds.py)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.sources import ROOT, modules, parse

OPENERS = {
    f"os.{name}"
    for name in ("open", "dup", "dup2", "pipe", "pipe2", "memfd_create", "eventfd", "pidfd_open", "timerfd_create")
} | {"socket.socket", "socket.socketpair", "open"}
CLOSERS = {"os.close", "os.closerange"}
ALLOWED = {
    # Opened and closed in one breath.
    ("sentry/fs/hostproc.py", "read"),
    ("sentry/platform/systrap.py", "_installed"),
    ("sentry/platform/systrap.py", "count_in"),
    ("sentry/kernel/machine.py", "_cpuinfo"),
    ("sentry/main.py", "_read_all"),
    ("sentry/platform/zygote.py", "_offer"),
    # Sockets, which are asked for their descriptors.
    ("sentry/main.py", "__init__"),
    ("sentry/main.py", "_on_new_gofer"),
    ("sentry/platform/zygote.py", "__init__"),
    # In the child, which is another process.
    ("sentry/platform/zygote.py", "_become"),
    # What has been let go, or was C's.
    ("sentry/kernel/workers.py", "close"),
    ("sentry/fs/dcache.py", "_see"),
}


def calls(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Give each call that opens or closes one: the function, what is called, and whether the result is held at once."""

    def look(node: ast.AST, function: str, held: bool) -> Iterator[tuple[str, str, bool]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in OPENERS | CLOSERS:
                yield function, name, held
            held = name in ("hold", "self.hold")
        for child in ast.iter_child_nodes(node):
            yield from look(child, function, held and isinstance(node, ast.Call))

    yield from look(parse(path), "", False)


def test_what_is_opened_is_held() -> None:
    wrong, used = [], set()
    for path in modules("sentry"):
        name = str(path.relative_to(ROOT))
        for function, called, held in calls(path):
            if name == "sentry/hostfds.py" or held:
                continue
            used.add((name, function))
            if (name, function) not in ALLOWED:
                wrong.append(f"{name}: {called}() in {function}()")
    assert not wrong, "\n".join(wrong)
    assert used == ALLOWED
