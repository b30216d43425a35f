"""Every guest program, linked every way, in every mode: it must print what it prints on the bare host.

A program says what it saw in words that do not depend on the machine, and ends with ``EXIT-SUCCESS``.  It is written
on Linux first: the host's run is a test of the program.  The static build runs in every mode, the others in the default
one (``--modes=all``: in all, and in more that freeze them all the time).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.needs import missing
from tests.support.sandbox import Outcome, Sandbox, on_host

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.c"))
DONE = b"EXIT-SUCCESS\n"
SKIPPED = 77

REQUEUES = {"futex", "futexop"}
"""Programs that move waiters from one futex to another: who is interrupted there begins at the first again."""

Compile = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def native(guest_binary: Compile) -> Callable[[str], Outcome]:
    """Return a function that runs a program on the host, once a worker."""
    known: dict[str, Outcome] = {}

    def outcome(name: str) -> Outcome:
        if name not in known:
            known[name] = on_host(guest_binary(name, "static"))
        return known[name]

    return outcome


@pytest.mark.parametrize("name", NAMES)
def test_on_the_host(name: str, native: Callable[[str], Outcome]) -> None:
    ran = native(name)
    if ran.status == SKIPPED:
        missing(ran.text.strip())
    assert ran.status == 0, ran.explain()
    assert ran.stdout.endswith(DONE), ran.explain()


@pytest.mark.every_mode
@pytest.mark.parametrize("name", NAMES)
def test_in_a_sandbox(
    name: str,
    build: str,
    sandbox: Sandbox,
    native: Callable[[str], Outcome],
    guest_binary: Compile,
) -> None:
    if sandbox.mode.frozen == "beat" and name in REQUEUES:
        pytest.skip("a freeze interrupts waits for futexes")
    expected = native(name)
    if expected.status == SKIPPED:
        missing(expected.text.strip())
    ran = sandbox.run(guest_binary(name, build))
    assert (ran.status, ran.text) == (expected.status, expected.text), ran.explain()
