"""Which calls reach Python: with fast paths few of the ordinary ones, without them all; the results are equal."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pysc.cabi import objects
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.platform.interface import Event, Kind
from tests.integration.kernel import harness

LSEEK, DUP, FCNTL, READ, PREAD, WRITE, PWRITE = 8, 32, 72, 0, 17, 1, 18


def run(program: Path, monkeypatch: pytest.MonkeyPatch, *, fastpath: bool) -> tuple[bytes, Counter[int]]:
    """Run it; return what it wrote, and how often each call came to Python."""
    seen: Counter[int] = Counter()
    handle = harness.on_event

    def count(kernel: Kernel, event: Event) -> None:
        if event.kind is Kind.SYSCALL:
            seen[event.nr] += 1
        handle(kernel, event)

    monkeypatch.setattr(harness, "on_event", count)
    null, output = os.open("/dev/null", os.O_RDONLY), os.memfd_create("output")
    try:
        assert harness.run([bytes(program)], (null, output, output), fastpath=fastpath, timeout=40) == 0
        size = os.fstat(output).st_size
        return os.pread(output, size, 0), seen
    finally:
        os.close(null)
        os.close(output)
        monkeypatch.setattr(harness, "on_event", handle)


@pytest.fixture
def program(guest_binary: Callable[[str, str], Path]) -> Iterator[Path]:
    """Return a guest program outside of /tmp, where the kernel has a tmpfs."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(shutil.copy(guest_binary("ordinary", "static"), folder))


def test_ordinary_calls_do_not_reach_python(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, all_calls = run(program, monkeypatch, fastpath=False)
    fast, left = run(program, monkeypatch, fastpath=True)
    assert fast == slow
    for nr, share in ((LSEEK, 0.1), (DUP, 0.5), (FCNTL, 0.7), (READ, 0.5), (PREAD, 0.3), (WRITE, 0.7), (PWRITE, 0.8)):
        assert all_calls[nr] > 40, nr
        assert left[nr] <= share * all_calls[nr], (nr, left[nr], all_calls[nr])


def test_structures_go_with_their_faces(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def count() -> list[int]:
        gc.collect()  # the kernel of a run is a circle
        return [objects.count(kind) for kind in (objects.TABLE, objects.PIPE, objects.COUNTER, objects.FILE)]

    before = count()
    run(program, monkeypatch, fastpath=True)
    assert count() == before
