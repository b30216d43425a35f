"""What the host passes of other projects' tests, the sandbox passes as well, or the test is listed with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.suite import Difference, Suite
from tests.support.sandbox import Outcome


@pytest.fixture
def scratch(reachable: Path) -> Path:
    """A directory for everybody's files, as /tmp."""
    reachable.chmod(0o1777)
    return reachable


def last_words(outcome: Outcome) -> str:
    lines = (outcome.stdout + outcome.stderr).decode(errors="backslashreplace").splitlines()
    said = next((line for line in reversed(lines) if any(word in line for word in ("TBROK", "TCONF", "TFAIL"))), "")
    return f"status {outcome.status} {said}"


def test_passes_what_the_host_passes(
    suite: Suite, test: str, difference: Difference | None, scratch: Path, root_user: None, namespaces: None
) -> None:
    host = suite.on_host(test, scratch)
    if host.status not in suite.passing:
        pytest.skip(f"the host does not pass it: {last_words(host)}")
    inside = suite.inside(test, scratch)
    if difference is None:
        assert inside.status == host.status, inside.explain()
    elif inside.status != host.status:
        pytest.xfail(difference.reason)
    elif not difference.by_chance:
        pytest.fail(f"passes now: take it off the list of differences ({difference.reason})")
