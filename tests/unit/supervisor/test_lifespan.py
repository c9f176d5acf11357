from __future__ import annotations

import random
from typing import Any

import pytest

from portico.supervisor import lifespan
from portico.supervisor.config import SupervisorConfig

LIMITS: dict[str, Any] = {
    "max_jobs_per_worker": 1000, "max_memory_per_worker": 1 << 30, "max_age_per_worker": 3600.0,
}  # fmt: skip


def drawn(**limits: Any) -> list[tuple[float | None, float | None, float | None]]:
    config = SupervisorConfig(workers=2, **limits)
    found = []
    for key in range(200):
        seat = lifespan.seat_of(config, key)
        found.append((seat.retire_after, seat.retire_above, lifespan.age_of(config)))
    return found


def test_each_worker_serves_up_to_a_tenth_more_than_the_limits_and_never_less() -> None:
    random.seed(1)
    for values, limit in zip(zip(*drawn(**LIMITS), strict=True), LIMITS.values(), strict=True):
        known = [value for value in values if value is not None]
        assert limit <= min(known) < limit * 1.01
        assert limit * 1.09 < max(known) <= limit * 1.1
        assert len(set(known)) > 50, "they would go together"


def test_without_a_limit_a_worker_serves_for_ever() -> None:
    assert set(drawn()) == {(None, None, None)}


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_a_few_jobs_stay_a_few(jobs: int) -> None:
    assert {after for after, *_ in drawn(max_jobs_per_worker=jobs)} == {jobs}
