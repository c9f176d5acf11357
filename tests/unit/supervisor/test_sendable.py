"""A job that no frame holds is quarantined, and those that were to travel with it run."""

from __future__ import annotations

from typing import Any

import pytest

from portico.ports.job_executor import Completed, Quarantined
from portico.ports.leasing import Failure, Lease
from portico.supervisor import wire
from portico.supervisor.scheduling import events
from portico.supervisor.sendable import UNSENDABLE, sorted_out
from tests.security.test_one_job_per_worker import APP, run
from tests.security.test_one_job_per_worker import lease as hoarded
from tests.support.pools import pool_of_processes
from tests.unit.supervisor.test_scheduler import DONE, Pool, lease

FLAWS: list[dict[str, Any]] = [
    {"priority": 10**30},
    {"created_at": -(10**40)},
    {"job_type": "\ud800"},
    {"max_retries": object()},
]


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: next(iter(flaw)))
def test_what_is_wrong_with_one_job_is_told_by_its_serial(flaw: dict[str, Any]) -> None:
    good, bad = lease(), lease()._replace(**flaw)
    message = wire.Run(5, [good, bad, good])
    with pytest.raises(UNSENDABLE):
        wire.frame(message)
    whole, flaws = sorted_out(message)
    assert whole == [wire.Run(5, [good]), wire.Run(7, [good])]
    assert list(flaws) == [6]


def test_a_message_of_no_job_that_cannot_be_sent_is_a_defect() -> None:
    with pytest.raises(UNSENDABLE):
        sorted_out(wire.Cancel(10**30, requested=True))


def test_what_could_not_be_sent_is_quarantined_and_held_no_more() -> None:
    pool = Pool()
    pool.learn("short", 0.0001)
    pool.lease(*(lease() for _ in range(3)))
    seat = pool.seats[0]
    first, second, third = seat.inflight
    pool.tell(events.Unsendable(seat, {second: "OverflowError: too big"}))
    [outcome] = pool.outcomes()
    assert isinstance(outcome.verdict, Quarantined)
    assert "OverflowError: too big" in outcome.verdict.failure.message
    pool.start(seat, first)
    pool.start(seat, third)
    pool.say(seat, wire.Batch(1, [(first, DONE, 0.1), (third, DONE, 0.1)]))
    assert pool.scheduler.empty
    assert seat.load.jobs == seat.load.bytes == 0


def test_an_on_failure_that_cannot_be_sent_leaves_the_outcome_of_its_attempt() -> None:
    pool = Pool(mourners=["listening"])
    job = lease("listening")
    pool.tell(events.Bereaved(job, Failure("WorkerLostError", "gone")))
    pool.turn()
    seat = pool.seats[0]
    pool.tell(events.Unsendable(seat, dict.fromkeys(seat.inflight, "OverflowError: too big")))
    assert pool.outcomes() == []
    assert pool.scheduler.empty


async def test_a_pool_runs_what_was_leased_together_with_such_a_job() -> None:
    jobs: list[Lease] = [hoarded("hoard.fine", card=str(n)) for n in range(5)]
    jobs[2] = jobs[2]._replace(priority=10**30)
    async with pool_of_processes(APP, workers=1) as (pool, _):
        await run(pool, [hoarded("hoard.fine")])
        ended = await run(pool, jobs)
    assert isinstance(ended.pop(jobs[2].id).verdict, Quarantined)
    assert all(isinstance(outcome.verdict, Completed) for outcome in ended.values())
