"""The rules of `enqueue_many`, for adapters of every size."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from portico.exceptions import ConflictError, ValidationError
from portico.ports.draft import Draft
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.testing.contract.queue_support import Clocks
from portico.testing.jobs import make_job


class BulkRules:
    async def test_many_jobs_are_returned_in_order_as_they_are_stored(
        self, queue: JobQueueAdapter
    ) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        jobs = [make_job(payload={"n": n}, metadata={"m": n}) for n in range(5)]
        jobs.append(make_job(scheduled_at=later))
        created = await queue.enqueue_many(jobs)
        assert [outcome.job and outcome.job.id for outcome in created] == [job.id for job in jobs]
        assert [await queue.get_job(job.id) for job in jobs] == [one.job for one in created]
        assert created[-1].job is not None
        assert created[-1].job.status is JobStatus.SCHEDULED

    async def test_one_job_that_is_not_acceptable_holds_no_other_back(
        self, queue: JobQueueAdapter
    ) -> None:
        created = await queue.enqueue_many(
            [
                make_job(),
                make_job(payload={"x": range(3)}),
                make_job(queue_name="no spaces"),
                make_job(),
            ]
        )
        assert [type(outcome.error) for outcome in created] == [
            type(None), ValidationError, ValidationError, type(None),
        ]  # fmt: skip
        assert "payload['x']" in str(created[1].error)
        assert "queue_name" in str(created[2].error)
        assert (await queue.get_queue_stats("default")).pending_count == 2

    async def test_a_taken_id_is_a_conflict_and_leaves_the_first_as_it_was(
        self, queue: JobQueueAdapter
    ) -> None:
        before, twin = await queue.enqueue(make_job(payload={"n": 1})), uuid4()
        created = await queue.enqueue_many(
            [
                make_job(id=before.id, payload={"n": 2}),
                make_job(id=twin, payload={"n": 3}),
                make_job(id=twin, payload={"n": 4}),
            ]
        )
        assert [type(outcome.error) for outcome in created] == [
            ConflictError, type(None), ConflictError,
        ]  # fmt: skip
        assert await queue.get_job(before.id) == before
        assert await queue.get_job(twin) == created[1].job

    async def test_creations_at_once_keep_their_order_and_each_has_its_own_outcome(
        self, queue: JobQueueAdapter
    ) -> None:
        before = await queue.enqueue(make_job(queue_name="other"))
        jobs = [make_job(payload={"n": n}) for n in range(300)]
        jobs[100] = make_job(id=before.id, payload={"n": 100})
        jobs[200] = make_job(queue_name="no spaces")
        outcomes = await asyncio.gather(*map(queue.enqueue, jobs), return_exceptions=True)
        assert [(n, type(one)) for n, one in enumerate(outcomes) if not isinstance(one, Job)] == [
            (100, ConflictError), (200, ValidationError),
        ]  # fmt: skip
        stored = [one for one in outcomes if isinstance(one, Job)]
        found = [await queue.dequeue("default", timeout=0) for _ in stored]
        assert [job and job.id for job in found] == [job.id for job in stored]

    async def test_a_delay_counts_from_when_the_store_took_the_job(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        delays = [3600_000_000, 90_000_001, 0]
        drafts = [Draft.of(make_job())._replace(delay=delay) for delay in delays]
        created = [outcome.job for outcome in await queue.enqueue_many([*drafts, make_job()])]
        assert [await queue.get_job(job.id) for job in created if job] == created
        for job, delay in zip(created, delays, strict=False):
            assert job is not None
            assert job.created_at is not None
            assert job.scheduled_at is not None
            waited = job.scheduled_at - job.created_at
            assert abs(waited - timedelta(microseconds=delay)) < timedelta(seconds=1)
            assert (job.status is JobStatus.SCHEDULED) == (delay > 0)
        found = [await queue.dequeue("default", timeout=0) for _ in range(3)]
        assert {job and job.id for job in found} == {*(job and job.id for job in created[2:]), None}
        clocks.advance(100)
        assert [await queue.dequeue("default", timeout=0) for _ in range(2)][1] is None
        assert (await queue.get_queue_stats("default")).scheduled_count == 1

    async def test_nothing_is_redriven_in_bulk(self, queue: JobQueueAdapter) -> None:
        await queue.enqueue(make_job())
        running = await queue.dequeue("default", timeout=0)
        assert running is not None
        await queue.reject(running.id, requeue=False)
        failed = await queue.get_job(running.id)
        assert failed is not None
        [outcome] = await queue.enqueue_many([failed])
        assert isinstance(outcome.error, ConflictError)
        assert await queue.get_job(running.id) == failed

    async def test_no_jobs_are_no_trouble(self, queue: JobQueueAdapter) -> None:
        assert await queue.enqueue_many([]) == []
