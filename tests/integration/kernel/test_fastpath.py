"""Which calls reach Python: with fast paths few of the ordinary ones, without them all; the results are equal."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.signals import SIGKILL
from pysc.sentry.kernel.delivery import return_to_guest
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.kernel.task import Return
from pysc.sentry.platform.interface import Event, Kind
from pysc.sentry.platform.systrap import Systrap
from tests.integration.kernel import harness

LSEEK, DUP, FCNTL, READ, PREAD, WRITE, PWRITE, CLOSE = 8, 32, 72, 0, 17, 1, 18, 3
READV, WRITEV, PREADV, PWRITEV, PREADV2, PWRITEV2 = 19, 20, 295, 296, 327, 328
SIGPROCMASK, SIGACTION, MMAP, BRK, NEWFSTATAT = 14, 13, 9, 12, 262
OPENAT, FDATASYNC, KILL = 257, 75, 62
GETCWD, GETRANDOM, PRLIMIT = 79, 318, 302
POLL, SELECT, PSELECT6, PPOLL, EPOLL_WAIT, EPOLL_PWAIT = 7, 23, 270, 271, 232, 281


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
def outside(guest_binary: Callable[[str, str], Path]) -> Iterator[Callable[[str], Path]]:
    """Return a function that puts a guest program outside of /tmp, where the kernel has a tmpfs."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield lambda name: Path(shutil.copy(guest_binary(name, "static"), folder))


@pytest.fixture
def program(outside: Callable[[str], Path]) -> Path:
    return outside("ordinary")


def test_ordinary_calls_do_not_reach_python(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, all_calls = run(program, monkeypatch, fastpath=False)
    fast, left = run(program, monkeypatch, fastpath=True)
    assert fast == slow
    shares = {LSEEK: 0.1, DUP: 0.5, FCNTL: 0.5, READ: 0.5, PREAD: 0.3, WRITE: 0.7, PWRITE: 0.8, CLOSE: 0.3}
    shares |= {NEWFSTATAT: 0.5, READV: 0.5, WRITEV: 0.8, PREADV: 0.5, PWRITEV: 0.8, PREADV2: 0.5, PWRITEV2: 0.8}
    shares |= {POLL: 0.05, PPOLL: 0.05, SELECT: 0.3, PSELECT6: 0.3, EPOLL_WAIT: 0.1, EPOLL_PWAIT: 0.1}
    for nr, share in shares.items():
        assert all_calls[nr] > 40, nr
        assert left[nr] <= share * all_calls[nr], (nr, left[nr], all_calls[nr])


@pytest.mark.parametrize("name", ["ordinary", "closewait"])
def test_structures_go_with_their_faces(
    name: str, outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = outside(name)

    def count() -> list[int]:
        gc.collect()  # the kernel of a run is a circle
        return [objects.count(kind) for kind in (objects.TABLE, objects.PIPE, objects.COUNTER, objects.FILE)]

    before = count()
    run(program, monkeypatch, fastpath=True)
    assert count() == before


def test_who_is_killed_by_the_host_gives_up_what_it_waits_with(
    outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = harness.on_event
    killed = 0

    def kill(kernel: Kernel, event: Event) -> None:
        nonlocal killed
        if event.kind is Kind.SYSCALL and event.nr == KILL and event.args[1] == SIGKILL:
            os.kill(kernel.groups[event.args[0]].leader.memory.space.host_pid, SIGKILL)
            killed += 1
            return_to_guest(event.thread.owner, Return(event.nr, event.args, 0))
        else:
            handle(kernel, event)

    program = outside("closewait")
    expected, _ = run(program, monkeypatch, fastpath=True)
    monkeypatch.setattr(harness, "on_event", kill)
    assert run(program, monkeypatch, fastpath=True)[0] == expected
    assert killed


def test_large_reads_do_not_reach_python(outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    program = outside("largereads")
    slow, all_calls = run(program, monkeypatch, fastpath=False)
    fast, left = run(program, monkeypatch, fastpath=True)
    assert fast == slow
    for nr, share in ((READ, 0.5), (PREAD, 0.25)):
        assert all_calls[nr] > 60, nr
        assert left[nr] <= share * all_calls[nr], (nr, left[nr], all_calls[nr])


def test_small_reads_of_one_file_do_not_reach_the_sentry(
    outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = outside("lent")
    slow, all_calls = run(program, monkeypatch, fastpath=False)
    reports = 0

    class Counting(Systrap):
        def stop(self) -> None:
            nonlocal reports
            reports = lib.pysc_engine_counters(self.engine).reports
            super().stop()

    monkeypatch.setattr(harness, "Systrap", Counting)
    fast, _left = run(program, monkeypatch, fastpath=True)
    assert fast == slow
    assert all_calls[PREAD] > 20_000
    assert reports < 0.85 * all_calls[PREAD]  # what many() and the slow path's share of lend() need


def test_record_locks_do_not_reach_python(outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    program = outside("recordlocks")
    slow, all_calls = run(program, monkeypatch, fastpath=False)
    fast, left = run(program, monkeypatch, fastpath=True)
    assert fast == slow
    assert all_calls[FCNTL] > 300
    assert left[FCNTL] <= 0.6 * all_calls[FCNTL], left[FCNTL]


def test_journals_reach_python_where_they_come_and_go(
    outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = outside("journal")
    slow, all_calls = run(program, monkeypatch, fastpath=False)
    fast, left = run(program, monkeypatch, fastpath=True)
    assert fast == slow
    for nr, share in ((NEWFSTATAT, 0.45), (OPENAT, 0.55), (FDATASYNC, 0.1), (CLOSE, 0.6)):
        assert all_calls[nr] > 100, nr
        assert left[nr] <= share * all_calls[nr], (nr, left[nr], all_calls[nr])


def targets(pid: int) -> list[str]:
    """Return what the descriptors of a process are, whose other threads may open and close some meanwhile."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return found


def test_guests_forget_files_that_are_gone(outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps descriptors of the host for large reads: few, none of a file that is gone, none of its parent's."""
    held: list[list[str]] = []
    first: dict[int, list[str]] = {}
    handle = harness.on_event

    def look(kernel: Kernel, event: Event) -> None:
        if event.kind is Kind.SYSCALL:
            held.append(targets(event.thread.space.host_pid))
            first.setdefault(event.thread.space.host_pid, held[-1])
        handle(kernel, event)

    monkeypatch.setattr(harness, "on_event", look)
    null = os.open("/dev/null", os.O_RDWR)
    try:
        assert harness.run([bytes(outside("largereads"))], (null, null, null), fastpath=True, timeout=40) == 0
    finally:
        os.close(null)
    kept = [[target for target in some if "memfd:pysc-file" in target] for some in held]
    assert max(map(len, kept)) > 1
    assert max(map(len, held)) <= 2 + lib.PYSC_KEPT + 1
    assert not kept[-1]
    assert len(first) > 5
    assert all(len(some) == 1 and some[0].startswith("socket:") for some in first.values())


@pytest.mark.parametrize(("name", "share"), [("sigmask", 0.9), ("sigthread", 0.9), ("threads", 0.1)])
def test_masks_change_without_python_while_nothing_is_pending(
    name: str, share: float, outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is pending comes exactly when it is unblocked, whoever changes the mask."""
    program = outside(name)
    slow, all_calls = run(program, monkeypatch, fastpath=False)
    fast, left = run(program, monkeypatch, fastpath=True)
    assert fast == slow
    assert left[SIGPROCMASK] <= share * all_calls[SIGPROCMASK], (left[SIGPROCMASK], all_calls[SIGPROCMASK])


def test_a_library_is_mapped_without_python(
    guest_binary: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the first mapping of a description that fast paths opened, nor the pieces, nor the heap."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        program = Path(shutil.copy(guest_binary("fork", "dynamic"), folder))
        _output, seen = run(program, monkeypatch, fastpath=True)
    assert not seen[MMAP] + seen[BRK]


def test_directories_in_memory_are_looked_at_without_python(
    outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the first time after each change."""
    _output, seen = run(outside("dirstat"), monkeypatch, fastpath=True)
    assert seen[NEWFSTATAT] < 80  # of 500


def test_dispositions_are_set_without_python(outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _output, seen = run(outside("siglongjmp"), monkeypatch, fastpath=True)
    assert not seen[SIGACTION]


@pytest.mark.parametrize(
    ("program", "calls"), [("cwd", (GETCWD,)), ("memory", (GETRANDOM, PRLIMIT, BRK)), ("devices", (READV, WRITEV))]
)
def test_there_is_less_for_python(
    outside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, program: str, calls: tuple[int, ...]
) -> None:
    _output, seen = run(outside(program), monkeypatch, fastpath=False)
    assert all(seen[call] for call in calls)
    _output, few = run(outside(program), monkeypatch, fastpath=True)
    assert all(few[call] < seen[call] for call in calls)
