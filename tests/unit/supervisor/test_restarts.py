"""How often something may be started again."""

from __future__ import annotations

from pysc.supervisor.restarts import Restarts


def test_so_many_within_a_while() -> None:
    restarts = Restarts(3, 60.0)
    assert [restarts.may(now) for now in (0.0, 1.0, 2.0, 3.0, 59.9)] == [True, True, True, False, False]
    assert [restarts.may(now) for now in (60.0, 60.5, 61.0, 62.0, 63.0)] == [True, False, True, True, False]


def test_any_number_in_a_life() -> None:
    restarts = Restarts(3, 60.0)
    assert all(restarts.may(day * 86400.0) for day in range(100))
