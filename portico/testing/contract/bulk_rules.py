"""The rules of `enqueue_many`, for adapters of every size."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

from portico.exceptions import ConflictError, ValidationError
from portico.ports.draft import Draft
from portico.ports.instants import LONGEST_DELAY
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

    async def test_what_is_just_possible_is_kept_and_what_is_not_holds_no_other_back(
        self, queue: JobQueueAdapter
    ) -> None:
        latest = datetime(2255, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)
        east, most = timezone(timedelta(hours=14)), 2**31 - 1
        possible: list[Job | Draft] = [
            make_job(scheduled_at=latest),
            make_job(scheduled_at=latest.astimezone(east)),
            Draft.of(make_job())._replace(delay=LONGEST_DELAY // timedelta(microseconds=1)),
            make_job(priority=most, max_retries=most),
            make_job(priority=-most - 1, max_retries=0),
            make_job(metadata={"job_timeout": None, "kill_grace": 0}),
        ]
        impossible = [
            make_job(scheduled_at=latest + timedelta(microseconds=1)),
            make_job(scheduled_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))),
            make_job(scheduled_at=datetime.max.replace(tzinfo=UTC)),
            make_job(scheduled_at=datetime(2300, 1, 1)),  # noqa: DTZ001 - without a zone
            make_job(priority=most + 1),
            make_job(max_retries=-1),
            make_job(metadata={"job_timeout": 1e308}),
        ]
        each = await queue.enqueue_many([make_job(), *impossible, *possible, make_job()])
        wrong, stored = each[1 : 1 + len(impossible)], [each[0], *each[1 + len(impossible) :]]
        assert [type(outcome.error) for outcome in wrong] == [ValidationError] * len(impossible)
        for outcome in wrong[:3]:
            assert "2255" in str(outcome.error) or "2254" in str(outcome.error)
        assert [outcome.error for outcome in stored] == [None] * (len(possible) + 2)
        kept = [outcome.job for outcome in stored if outcome.job is not None]
        assert [await queue.get_job(job.id) for job in kept] == kept
        found = [await queue.dequeue("default", timeout=0) for _ in range(len(possible))]
        assert [job and job.priority for job in found] == [most, 0, 0, 0, -most - 1, None]

    async def test_names_that_look_like_something_else_are_names_and_each_is_its_own(
        self, queue: JobQueueAdapter
    ) -> None:
        names = [
            "a",
            "a:failed",
            "a:failed:by",
            "a:counts",
            "all",
            "..",
            "-",
            "__class__",
            "A",
            "1",
        ]
        jobs = [make_job(queue_name=name, job_type=name, payload={"n": name}) for name in names]
        created = await queue.enqueue_many([*jobs, make_job(id=UUID(int=0), queue_name="nil")])
        assert [outcome.error for outcome in created] == [None] * (len(names) + 1)
        failed = await queue.dequeue("a", timeout=0)
        assert failed is not None
        await queue.reject(failed.id, requeue=False)
        for name in names:
            stats = await queue.get_queue_stats(name)
            assert (stats.total, stats.failed_count) == (1, int(name == "a")), name
            job = await queue.dequeue(name, timeout=0)
            assert (None if job is None else job.payload) == (None if name == "a" else {"n": name})
        alike = [
            "default\u200b",
            "\uff44efault",
            "d\u0435fault",
            "{x}",
            "a*",
            "",
            "a b",
            "a\n",
            "\0",
        ]
        for outcome in await queue.enqueue_many([make_job(queue_name=name) for name in alike]):
            assert isinstance(outcome.error, ValidationError)
        odd = [{"a": "\ud800"}, {"a": float("nan")}, {"a": float("-inf")}]
        for outcome in await queue.enqueue_many([make_job(payload=payload) for payload in odd]):
            assert isinstance(outcome.error, ValidationError)

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
