"""Bulk work goes in steps: between two of them whoever has one job gets a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from portico import compose
from portico.adapters.job_queue import _stored_queue
from portico.adapters.job_queue._stored_queue import StoredQueueAdapter
from portico.ports import bulk
from portico.ports.draft import Draft
from portico.ports.leasing import JobFilter, Settlement, Transition
from tests.support.jobs import make_job

pytestmark = pytest.mark.security("S27")
SOME = 3


@pytest.fixture
async def queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StoredQueueAdapter[Any]]:
    for module in (bulk, _stored_queue):
        monkeypatch.setattr(module, "PORTION", SOME)
    queue = compose.job_queue(f"sqlite:///{tmp_path}/jobs.db")
    assert isinstance(queue, StoredQueueAdapter)
    await queue.initialize()
    yield queue
    await queue.close()


def steps_of(
    queue: StoredQueueAdapter[Any], verb: str, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """How many each transaction of that kind is asked for, from now on."""
    steps: list[int] = []
    act = getattr(queue._store, verb)

    async def noted(*arguments: Any) -> Any:
        last = arguments[-1]
        steps.append(last if isinstance(last, int) else len(last))
        return await act(*arguments)

    monkeypatch.setattr(queue._store, verb, noted)
    return steps


async def test_what_is_created_redriven_and_purged_in_bulk_is_so_in_steps(
    queue: StoredQueueAdapter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = steps_of(queue, "insert", monkeypatch)
    created = await queue.enqueue_many([make_job() for _ in range(7)])
    assert steps == [3, 3, 1]
    leases = (await queue.exchange((), ("default",), 9)).leases
    ends = [Settlement(one.id, one.token, Transition.FAIL) for one in leases]
    await queue.exchange(ends, (), 0)
    ids = [outcome.job.id for outcome in created if outcome.job is not None]
    steps = steps_of(queue, "redrive", monkeypatch)
    assert await queue.redrive([*ids, ids[0]]) == ids
    assert steps == [3, 3, 2]
    for job_id in ids:
        assert await queue.cancel_job(job_id)
    steps = steps_of(queue, "purge", monkeypatch)
    assert await queue.purge(JobFilter(), limit=5) == 5
    assert await queue.purge(JobFilter(), limit=1000) == 2
    assert steps == [3, 2, 3]


async def test_one_job_comes_in_between_the_steps_of_many(
    queue: StoredQueueAdapter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, has_it = make_job(), list[bool]()
    insert = queue._store.insert

    async def noted(drafts: list[Draft]) -> Any:
        has_it.append(one.id in [draft.id for draft in drafts])
        return await insert(drafts)

    monkeypatch.setattr(queue._store, "insert", noted)
    many = [make_job() for _ in range(20 * SOME)]
    await asyncio.gather(queue.enqueue_many(many), queue.enqueue(one))
    assert len(has_it) >= 20
    assert has_it.index(True) < 2, "it waits for one step, not for all of them"
