"""Hypothesis writes programs of system calls; the host and every mode of a sandbox must say the same of each.

Hundreds of programs run in one sandbox, since starting it is what costs.  A program that disagrees is made smaller in
batches, too: all programs that are one instruction shorter run at once, and one that still disagrees goes on.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.differential.programs import Program, encode, programs, split, without_each
from tests.support.builds import compile_guest
from tests.support.sandbox import Outcome, Sandbox, on_host

BATCH = 250
TRIED = 6
PATIENCE = 30.0
"""Seconds for making programs small: the report matters more than the smallest program."""
Run = Callable[[list[Program]], list[str]]


@pytest.fixture(scope="session")
def machine(need: Callable[[str], str], shared_folder: Path) -> Path:
    need("cc")
    return compile_guest(Path(__file__).with_name("machine.c"), "static", shared_folder)


@pytest.fixture
def host(machine: Path, root_user: None) -> Run:
    return lambda batch: printed(on_host(machine, "new", "/tmp", stdin=encode(batch)))


@pytest.fixture(params=["/tmp", "/dev/shm"])
def guest(machine: Path, sandbox: Sandbox, request: pytest.FixtureRequest) -> Run:
    """Run programs on the upper side of the root's overlay, or in a tmpfs that is mounted."""
    return lambda batch: printed(sandbox.run(machine, "new", request.param, stdin=encode(batch)))


def folders(count: int) -> tempfile.TemporaryDirectory[str]:
    """Make a folder with files for each program, outside of /tmp: the lower side of a sandbox's root has it."""
    top = tempfile.TemporaryDirectory(dir="/var/tmp")
    Path(top.name).chmod(0o755)  # the kernel may look at it directly, so fast paths do
    for number in range(count):
        folder = Path(top.name, str(number))
        (folder / "d").mkdir(parents=True)
        (folder / "e").mkdir()
        (folder / "a").write_bytes(b"first" * 100)
        (folder / "d" / "a").write_bytes(b"second" * 2000)
        (folder / "d" / "b").write_bytes(b"")
        (folder / "d" / "s").mkdir()
        (folder / "d" / "s" / "f").write_bytes(b"third")
        (folder / "d" / "up").symlink_to("../a")
        (folder / "k").symlink_to("d")
        (folder / "o").symlink_to("o")
        (folder / "l").symlink_to("a")
        os.link(folder / "a", folder / "b") if number % 8 == 0 else (folder / "b").symlink_to("d/a")
    return top


@pytest.fixture
def host_with_files(machine: Path, root_user: None) -> Run:
    def run(batch: list[Program]) -> list[str]:
        with folders(len(batch) + 1) as place:
            return printed(on_host(machine, "folders", place, stdin=encode(batch)))

    return run


@pytest.fixture
def guest_with_files(machine: Path, sandbox: Sandbox) -> Run:
    def run(batch: list[Program]) -> list[str]:
        with folders(len(batch) + 1) as place:
            return printed(sandbox.run(machine, "folders", place, stdin=encode(batch)))

    return run


def printed(outcome: Outcome) -> list[str]:
    """Return what each program of a batch printed."""
    assert outcome.status == 0, outcome.explain()
    return split(outcome.text)


def written_programs(count: int) -> list[Program]:
    """Let hypothesis write ``count`` programs: the same ones under CI, new ones elsewhere."""
    batch: list[Program] = []

    @settings(
        max_examples=count,
        derandomize=os.environ.get("CI") == "true",
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs)
    def note(program: Program) -> None:
        batch.append(program)

    note()
    return batch


def disagreements(batch: list[Program], host: Run, guest: Run) -> list[tuple[Program, str, str]]:
    """Return the programs of which the two say different things, and what."""
    return [
        (program, native, inside)
        for program, native, inside in zip(batch, host(batch), guest(batch), strict=True)
        if native != inside
    ]


def smallest(program: Program, host: Run, guest: Run, deadline: float) -> tuple[Program, str, str]:
    """Take instructions away while the two still disagree, and there is time."""
    known = disagreements([program], host, guest)
    if not known:
        return program, "", "it agreed when it ran alone"
    while time.monotonic() < deadline and (shorter := disagreements(without_each(known[0][0]), host, guest)):
        known = shorter[:1]
    return known[0]


def explain(program: Program, native: str, inside: str) -> str:
    """Say what the program is and where the two part."""
    steps = "\n".join(f"  {step}" for step in program)
    return f"\n{steps}\n--- host\n{native}\n--- sandbox\n{inside}"


def test_the_machine_is_deterministic(host: Run) -> None:
    batch = written_programs(BATCH)
    first = host(batch)
    assert len(first) == len(batch)
    assert first == host(batch)


def compare(host: Run, guest: Run) -> None:
    wrong = disagreements(written_programs(BATCH), host, guest)
    reports: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE
    for program, _, _ in wrong[:TRIED]:
        small = smallest(program, host, guest, deadline)
        reports.setdefault(str(small[0][-1]).partition(" a=")[0], explain(*small))
    if wrong:
        pytest.fail(f"{len(wrong)} of {BATCH} programs disagree; some of them made small:{''.join(reports.values())}")


@pytest.mark.every_mode
def test_host_and_sandbox_agree(host: Run, guest: Run) -> None:
    compare(host, guest)


@pytest.mark.every_mode
def test_they_agree_over_files_of_the_host(host_with_files: Run, guest_with_files: Run) -> None:
    compare(host_with_files, guest_with_files)
