"""Id maps of the daemons' user namespaces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pysc.supervisor.daemon import FULL_RANGE, SANDBOX_UID, identity_map


def outside(lines: tuple[tuple[int, int, int], ...], inside: int) -> int | None:
    return next((there + inside - here for here, there, size in lines if here <= inside < here + size), None)


@given(st.integers(0, FULL_RANGE - 1), st.integers(0, FULL_RANGE - 1))
def test_every_id_is_itself_but_the_sandboxs_own(kuid: int, other: int) -> None:
    lines = identity_map([(0, FULL_RANGE)], kuid)
    assert outside(lines, SANDBOX_UID) == kuid
    if other == SANDBOX_UID:
        return
    assert outside(lines, other) == (None if other == kuid else other)


@given(st.integers(0, FULL_RANGE - 1))
def test_no_range_overlaps_another(kuid: int) -> None:
    lines = identity_map([(0, FULL_RANGE)], kuid)
    for column in (0, 1):
        ends = sorted((line[column], line[column] + line[2]) for line in lines)
        assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_without_an_id_of_its_own() -> None:
    assert identity_map([(0, 1000), (5000, 10)], None) == ((0, 0, 1000), (5000, 5000, 10))
