"""How long to wait with the next start when workers die one after another."""

from __future__ import annotations

from itertools import pairwise

from portico.supervisor.storm import Storm


def test_the_first_deaths_cost_no_wait() -> None:
    storm = Storm()
    assert [storm.pause(0.0, workers=2) for _ in range(19)] == [0.0] * 19
    assert storm.pause(0.0, workers=2) > 0


def test_a_larger_pool_may_lose_more_workers() -> None:
    storm = Storm()
    assert [storm.pause(0.0, workers=8) for _ in range(49)] == [0.0] * 49
    assert storm.pause(0.0, workers=8) > 0


def test_the_pause_grows_and_never_beyond_two_seconds() -> None:
    storm = Storm()
    pauses = [storm.pause(0.0, workers=1) for _ in range(1000)]
    assert all(earlier <= later for earlier, later in pairwise(pauses))
    assert pauses[-1] == 2.0


def test_deaths_that_lie_back_are_forgotten() -> None:
    storm = Storm()
    assert [storm.pause(float(second), workers=1) for second in range(100)] == [0.0] * 100
    assert len(storm) == 11
