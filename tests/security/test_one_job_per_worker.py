"""Workers for one job each: nothing of one job is seen, forged or survives for another; and
deadlines that no job writes away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from portico.ports.job_executor import Completed, Failed, Outcome
from portico.ports.leasing import Lease
from portico.supervisor.pool import ProcessPool
from tests.support.pools import pool_of_processes
from tests.support.waiting import wait_until

APP = "tests.support.hoard_app:app"


def lease(job_type: str, **payload: Any) -> Lease:
    return Lease(
        uuid4().bytes, uuid4().bytes, 1, "default", job_type,
        json.dumps(payload).encode(), 0, 3, 0, None, 1, 1, None, b"{}", None, False,
    )  # fmt: skip


async def run(pool: ProcessPool, leases: Sequence[Lease]) -> dict[bytes, Outcome]:
    """How each of these ended."""
    outcomes: list[Outcome] = []

    def over() -> bool:
        outcomes.extend(pool.finished())
        return len(outcomes) >= len(leases)

    pool.submit(leases)
    await wait_until(over)
    return {outcome.lease.id: outcome for outcome in outcomes}


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome.verdict, Completed), outcome
    return json.loads(outcome.verdict.result)


@pytest.mark.security("S29")
async def test_a_worker_for_one_job_holds_no_other_that_could_be_read_or_ended() -> None:
    """The types are known to be short: else they would go one at a time anyway."""
    async with pool_of_processes(APP, workers=1, max_jobs_per_worker=1) as (pool, _):
        for job_type in ("hoard.fine", "hoard.all"):
            await run(pool, [lease(job_type, short=True)])
        hoarder = lease("hoard.all")
        others = [lease("hoard.fine", card=f"4111-{number}") for number in range(6)]
        ended = await run(pool, [hoarder, *others])
        assert result(ended[hoarder.id]) == {"hoarded": []}
        assert [result(ended[one.id]) for one in others] == [
            {"card": f"4111-{number}"} for number in range(6)
        ]


@pytest.mark.security("S29")
async def test_what_a_job_does_to_the_handlers_of_its_worker_is_gone_with_it() -> None:
    async with pool_of_processes(APP, workers=2, max_jobs_per_worker=1) as (pool, _):
        await run(pool, [lease("hoard.poison") for _ in range(2)])
        others = [lease("hoard.fine", card=f"4111-{number}") for number in range(6)]
        ended = await run(pool, others)
        assert [result(ended[one.id])["card"] for one in others] == [
            f"4111-{number}" for number in range(6)
        ]


@pytest.mark.security("S29")
async def test_no_job_outlives_its_deadline_by_what_it_writes_into_its_page() -> None:
    """Each has been seen running before it begins to lie."""
    limits = {"job_timeout": 1.0, "kill_grace": 0.2}
    async with pool_of_processes(APP, workers=3, **limits) as (pool, _):
        timeless = [lease("hoard.timeless", how=how) for how in ("young", "idle", "other")]
        ended = await run(pool, timeless)
        for one in timeless:
            verdict = ended[one.id].verdict
            assert isinstance(verdict, Failed), ended[one.id]
            assert verdict.failure.type == "JobTimeoutError"


@pytest.mark.security("S29")
async def test_no_producer_lifts_the_operators_deadline() -> None:
    limits = {"job_timeout": 300.0, "kill_grace": 0.2, "max_job_timeout": 1.0}
    async with pool_of_processes(APP, workers=2, **limits) as (pool, _):
        asking = [
            lease("hoard.timeless", how="honest")._replace(metadata=metadata)
            for metadata in (b'{"job_timeout":null}', b'{"job_timeout":1,"kill_grace":31000000}')
        ]
        ended = await run(pool, asking)
        for one in asking:
            verdict = ended[one.id].verdict
            assert isinstance(verdict, Failed), ended[one.id]
            assert verdict.failure.type == "JobTimeoutError"
            assert "1 s" in verdict.failure.message


@pytest.mark.security("S29")
async def test_each_job_of_a_type_that_is_alone_has_a_worker_to_itself() -> None:
    """Also where a poisoned worker would be free for it, and jobs of other types wait, too."""
    async with pool_of_processes(APP, workers=2) as (pool, _):
        await run(pool, [lease("hoard.poison") for _ in range(8)])
        lone = [lease("hoard.alone", card=str(number)) for number in range(4)]
        others = [lease("hoard.fine") for _ in range(40)]
        ended = await run(pool, [*others[:20], *lone, *others[20:]])
        found = [result(ended[one.id]) for one in lone]
        assert [one["card"] for one in found] == list("0123")
        assert len({one["pid"] for one in found}) == len(lone)
        hoarder = lease("hoard.all")
        ended = await run(pool, [hoarder, lease("hoard.alone", card="secret")])
        assert result(ended[hoarder.id]) == {"hoarded": []}
