"""Numbers that nobody can guess."""

from __future__ import annotations

import pytest

from pysc.sentry.chance import below


@pytest.mark.parametrize("limit", [1, 2, 3, 256, 257, 1 << 62, (1 << 64) + 1])
def test_every_number_is_below_the_limit(limit: int) -> None:
    drawn = [below(limit) for _ in range(200)]
    assert min(drawn) >= 0
    assert max(drawn) < limit
    if limit <= 3:
        assert set(drawn) == set(range(limit))
    else:
        assert max(drawn) > limit // 2  # all below: once in 2**200 runs
