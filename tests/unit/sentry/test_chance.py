"""Numbers that nobody can guess."""

from __future__ import annotations

import uuid

import pytest

from pysc.sentry.chance import Secrets, below


@pytest.mark.parametrize("limit", [1, 2, 3, 256, 257, 1 << 62, (1 << 64) + 1])
def test_every_number_is_below_the_limit(limit: int) -> None:
    drawn = [below(limit) for _ in range(200)]
    assert min(drawn) >= 0
    assert max(drawn) < limit
    if limit <= 3:
        assert set(drawn) == set(range(limit))
    else:
        assert max(drawn) > limit // 2  # all below: once in 2**200 runs


def test_each_sandbox_has_its_own_secrets() -> None:
    one, other = Secrets(), Secrets()
    assert uuid.UUID(one.boot_id.decode()).version == 4
    assert one.boot_id != other.boot_id
