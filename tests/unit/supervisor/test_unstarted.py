"""Jobs whose workers die before they start anything are charged in the end, and only they."""

from __future__ import annotations

import pytest

from portico.ports.job_executor import Completed, Crashed, Outcome
from portico.supervisor.scheduling import unstarted
from tests.unit.supervisor.test_scheduler import Pool, lease


def die_unstarted(pool: Pool, killed_for: str | None = None) -> None:
    """Whoever holds something dies, and is replaced."""
    for seat in pool.seats:
        if seat.inflight and seat.load.open:
            pool.die(seat, killed_for)
            pool.join()
    pool.turn()


def outcomes(pool: Pool, deaths: int, killed_for: str | None = None) -> list[Outcome]:
    found: list[Outcome] = []
    for _ in range(deaths):
        die_unstarted(pool, killed_for)
        found += pool.outcomes()
    return found


@pytest.mark.parametrize("killed_for", [None, unstarted.NOT_STARTED])
def test_a_job_whose_workers_die_before_they_start_anything_is_charged_in_the_end(killed_for):
    pool, job = Pool(), lease()
    pool.lease(job)
    assert outcomes(pool, unstarted.MOST - 1, killed_for) == []
    [outcome] = outcomes(pool, 1, killed_for)
    assert outcome.lease.key == job.key
    assert isinstance(outcome.verdict, Crashed)
    assert "3 workers that were given this job" in outcome.verdict.failure.message
    assert pool.scheduler.empty


def test_a_death_that_is_not_theirs_is_charged_to_none_of_them():
    pool = Pool()
    pool.lease(lease())
    assert outcomes(pool, 9, "the shutdown's grace is over") == []


def test_those_that_were_beside_it_run_alone_and_are_not_charged():
    """The one to blame is the third of a frame, and whoever is given it dies."""
    pool = Pool()
    pool.learn("short", 0.0001)
    bad = lease()
    innocent = [lease() for _ in range(4)]
    pool.lease(*innocent[:2], bad, *innocent[2:])
    ended: dict[bytes, Outcome] = {}
    for _ in range(30):
        seat = next((one for one in pool.seats if one.inflight and one.load.open), None)
        if seat is None:
            break
        if any(one.lease.id == bad.id for one in seat.inflight.values()):
            pool.die(seat)
            pool.join()
        else:
            pool.run(seat, min(seat.inflight))
        pool.turn()
        ended |= {outcome.lease.id: outcome for outcome in pool.outcomes()}
    assert isinstance(ended.pop(bad.id).verdict, Crashed)
    assert ended.keys() == {one.id for one in innocent}
    assert all(isinstance(one.verdict, Completed) for one in ended.values())


def test_its_on_failure_runs_as_after_any_crash():
    pool = Pool(mourners=["listening"])
    pool.lease(lease("listening"))
    for _ in range(unstarted.MOST):
        die_unstarted(pool)
    [mourning] = [a for seat in pool.seats for a in seat.inflight.values()]
    assert mourning.failure is not None
    assert mourning.failure.type == "WorkerLostError"


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(unstarted, "_REMEMBERED", 3)
    pool = Pool(slots=8)
    pool.lease(*(lease() for _ in range(8)))
    die_unstarted(pool)
    assert len(pool.scheduler._unstarted._deaths) == 3
