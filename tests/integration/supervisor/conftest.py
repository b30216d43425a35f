"""A supervisor under test, and the proof that nothing of it is left behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.supervisor.runtime import RealRuntime, Runtime, eventually


@pytest.fixture
def runtime(tmp_path: Path, namespaces: None) -> Iterator[Runtime]:
    """Return a runtime; afterwards no process, no cgroup and no file of it may be left."""
    with _watched(tmp_path) as made:
        yield made


@pytest.fixture
def open_runtime(namespaces: None) -> Iterator[Runtime]:
    """Return one whose place anybody can walk down to: pytest's own is closed again whenever somebody starts it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with _watched(Path(name)) as made:
            yield made


@contextmanager
def _watched(place: Path) -> Iterator[Runtime]:
    made = Runtime(place)
    yield made
    for container in [path.name for path in made.state.glob("[!.]*")]:
        made.run("delete", "--force", container)
    eventually(lambda: not made.processes(), f"processes are left: {made.processes()}")
    assert not list(made.state.glob("*")) + list(made.state.glob(".*"))


@pytest.fixture
def real(runtime: Runtime) -> RealRuntime:
    """Return the real thing, in the place of ``runtime``, which looks for what is left."""
    made = RealRuntime(runtime.place)
    made.state, made.mark = runtime.state, runtime.mark
    return made
