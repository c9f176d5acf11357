"""A narrow list looks at so many jobs for a page, and goes on from there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from portico.adapters.job_queue._postgres import reading as postgres_reading
from portico.adapters.job_queue._redis import listing as redis_listing
from portico.adapters.job_queue._sqlite import reading as sqlite_reading
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter
from portico.testing.contract.listing_rules import found
from portico.testing.contract.queue_support import Clocks, enqueued
from tests.contract.test_job_queues import make_queue, server_of

_SERVED = [pytest.param(name, marks=pytest.mark.servers) for name in ("postgres", "redis")]


@pytest.fixture(params=["sqlite", *_SERVED])
async def queue(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[JobQueueAdapter]:
    for module in (sqlite_reading, postgres_reading, redis_listing):
        monkeypatch.setattr(module, "SEARCHED", 4)
    monkeypatch.setattr(redis_listing, "LOOKED_AT", 2)
    queue = make_queue(request.param, tmp_path, Clocks(), server_of(request.param, request))
    await queue.initialize()
    yield queue
    await queue.close()


async def test_it_may_be_empty_and_not_the_last(queue: JobQueueAdapter) -> None:
    ann = uuid4()
    first = await enqueued(queue, created_by=ann)
    for _ in range(9):
        await enqueued(queue)
    wanted = JobFilter(created_by=ann)
    page = await queue.list_jobs(wanted, 5)
    assert (page.jobs, page.searched, page.cursor is None) == ([], 4, False)
    page = await queue.list_jobs(wanted, 5, page.cursor)
    assert (page.jobs, page.searched, page.cursor is None) == ([], 4, False)
    page = await queue.list_jobs(wanted, 5, page.cursor)
    assert (page.jobs, page.searched, page.cursor) == ([first], 2, None)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_its_pages_have_no_gaps_and_repeat_nothing(
    queue: JobQueueAdapter, limit: int
) -> None:
    ann, ids = uuid4(), []
    for n in range(23):
        job = await enqueued(queue, created_by=ann if n % 3 else None, queue_name="ab"[n % 2])
        ids += [job.id] if n % 3 else []
        await queue.cancel_job(job.id)
    assert await found(queue, limit, created_by=ann) == ids[::-1]
    assert await found(queue, limit, created_by=ann, statuses="failed") == ids[::-1]
