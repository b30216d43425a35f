"""All suites; each has an option of its name, for its directory."""

from __future__ import annotations

from typing import Final

from tests.conformance.cpython import CPython
from tests.conformance.ltp import Ltp
from tests.conformance.suite import Suite

SUITES: Final[tuple[type[Suite], ...]] = (Ltp, CPython)
