"""The options that name the suites' directories: without any of them nothing is collected here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.suite import Suite
from tests.conformance.suites import SUITES


def pytest_addoption(parser: pytest.Parser) -> None:
    for suite in SUITES:
        parser.addoption(f"--{suite.name}", metavar="PLACE", type=Path, help=suite.what)


def pytest_configure(config: pytest.Config) -> None:
    for suite in wanted(config):
        try:
            suite.tests()
        except ValueError as error:
            raise pytest.UsageError(f"--{suite.name}: {error}") from None


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if wanted(config) else True


def wanted(config: pytest.Config) -> list[Suite]:
    """Return the suites that are there."""
    places = [(suite, config.getoption(suite.name, None)) for suite in SUITES]
    return [suite(place.resolve()) for suite, place in places if place is not None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = []
    for suite in wanted(metafunc.config):
        differences = suite.differences()
        limit = pytest.mark.timeout(2 * suite.seconds + 60)
        for test in suite.tests():
            cases.append(pytest.param(suite, test, differences.get(test), marks=limit, id=f"{suite.name}-{test}"))
    metafunc.parametrize(("suite", "test", "difference"), cases)
