"""The one thing that lint tests only tell: which modules have grown long."""

from __future__ import annotations

import pytest

from tests.support.sources import COMPONENTS, ROOT, modules

LONG = 400
TABLES = {"sentry/syscalls/x86_64.py"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List modules of more lines than one noun needs; tables read top to bottom and may be long."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for component in COMPONENTS
        for path in modules(component)
    }
    long = {name: lines for name, lines in lengths.items() if lines > LONG and name not in TABLES}
    if long:
        terminalreporter.section("long modules: a reason, or a split")
        for name, lines in sorted(long.items(), key=lambda item: -item[1]):
            terminalreporter.line(f"{lines:6} {name}")
