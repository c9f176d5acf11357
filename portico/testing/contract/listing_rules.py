"""The rules of what a list finds, and of what it brings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID, uuid4

import pytest

from portico.exceptions import ValidationError
from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter
from portico.testing.contract.queue_support import Clocks, enqueued
from portico.testing.jobs import make_job

_MIB = 2**20


async def every_page(
    queue: JobQueueAdapter, limit: int = 1000, **conditions: Any
) -> list[list[Job]]:
    pages: list[list[Job]] = []
    cursor = None
    while True:
        page = await queue.list_jobs(JobFilter(**conditions), limit, cursor)
        pages.append(page.jobs)
        if (cursor := page.cursor) is None:
            return pages


async def found(queue: JobQueueAdapter, limit: int = 1000, **conditions: Any) -> list[UUID]:
    return [job.id for page in await every_page(queue, limit, **conditions) for job in page]


class ListingRules:
    async def test_strings_that_equal_a_status_are_one(self, queue: JobQueueAdapter) -> None:
        failed, waiting = await enqueued(queue), await enqueued(queue)
        await queue.cancel_job(failed.id)
        assert await found(queue, statuses=("pending", JobStatus.FAILED)) == [waiting.id, failed.id]
        for statuses in (("failed",), ["failed"], {"failed"}, "failed", JobStatus.FAILED):
            assert await found(queue, statuses=statuses) == [failed.id]
        assert await queue.purge(JobFilter(statuses="failed")) == 1
        assert await queue.get_job(failed.id) is None

    @pytest.mark.parametrize("wrong", [("bogus",), "bogus", (None,), 5, ["failed", "done"]])
    async def test_a_status_that_there_is_not_is_named_with_those_that_there_are(
        self, queue: JobQueueAdapter, wrong: Any
    ) -> None:
        await enqueued(queue)
        with pytest.raises(ValidationError, match=r"statuses has .*; the statuses are pending, "):
            await queue.list_jobs(JobFilter(statuses=wrong))

    async def test_a_list_without_documents_brings_all_else(self, queue: JobQueueAdapter) -> None:
        job = await enqueued(queue, payload={"n": 1}, metadata={"m": 1}, created_by=uuid4())
        late = await enqueued(queue, scheduled_at=datetime.now(UTC) + timedelta(hours=1))
        bare = [Job(**{**one.__dict__, "payload": {}, "metadata": {}}) for one in (late, job)]
        assert await every_page(queue, documents=False) == [bare]
        assert await every_page(queue, documents=False, metadata={"m": 1}) == [bare[1:]]
        assert await every_page(queue) == [[late, job]]
        await queue.cancel_job(job.id)
        [[cancelled]] = await every_page(queue, documents=False, statuses="failed")
        assert cancelled.error_message == "Job cancelled"

    async def test_a_page_ends_by_the_bytes_of_its_documents_too(
        self, queue: JobQueueAdapter
    ) -> None:
        large = {"x": "a" * (_MIB - 100)}
        jobs = [make_job(payload=large, queue_name="ab"[n % 2]) for n in range(10)]
        await queue.enqueue_many(jobs)
        ids = [job.id for job in jobs][::-1]
        whole = [[job.id for job in page] for page in await every_page(queue)]
        assert [*chain(*whole)] == ids
        assert len(whole[0]) == 8
        assert [len(page) for page in await every_page(queue, documents=False)] == [10]
        for job_id in ids:
            await queue.cancel_job(job_id)
        ended = [[job.id for job in page] for page in await every_page(queue, statuses="failed")]
        assert [*chain(*ended)] == ids
        assert max(map(len, ended)) <= 8

    async def test_a_list_goes_by_who_created_the_jobs(self, queue: JobQueueAdapter) -> None:
        ann, bob = uuid4(), uuid4()
        jobs = [await enqueued(queue, created_by=by) for by in (ann, bob, None, ann)]
        assert await found(queue, created_by=ann) == [jobs[3].id, jobs[0].id]
        assert await found(queue, created_by=str(bob)) == [jobs[1].id]
        assert await found(queue, created_by=uuid4()) == []
        assert await found(queue, created_by=ann, statuses="pending", limit=1) == [
            jobs[3].id, jobs[0].id,
        ]  # fmt: skip
        await queue.cancel_job(jobs[0].id)
        assert await found(queue, created_by=ann, statuses=("failed",)) == [jobs[0].id]

    async def test_a_creator_may_be_any_text_and_comes_back_as_given(
        self, queue: JobQueueAdapter
    ) -> None:
        as_uuid = uuid4()
        names = ["ann@example.org", "ö'\"\\ \n\u2028", "\x00" * 200, "😀" * 200, str(as_uuid)]
        jobs = [await enqueued(queue, created_by=by, metadata={"m": 1}) for by in names]
        jobs.append(await enqueued(queue, created_by="bob"))
        given: list[Any] = [*names[:4], as_uuid, "bob"]
        assert [job.created_by for job in jobs] == given
        assert [await queue.get_job(job.id) for job in jobs] == jobs
        for name, job in zip(given, jobs, strict=True):
            assert await every_page(queue, created_by=name) == [[job]]
            [[bare]] = await every_page(queue, created_by=name, documents=False)
            assert (bare.created_by, bare.metadata) == (name, {})
        assert await found(queue, created_by="bob", metadata={"m": 1}) == []
        assert await found(queue, created_by=names[0], metadata={"m": 1}) == [jobs[0].id]
        for job in jobs:
            leased = await queue.dequeue("default", timeout=0)
            assert leased is not None
            assert (leased.created_by, leased.metadata) == (job.created_by, job.metadata)

    @pytest.mark.parametrize("wrong", ["", "x" * 201, 7, "\ud800", b"bob"])
    async def test_a_creator_that_is_neither_a_uuid_nor_a_text_is_refused(
        self, queue: JobQueueAdapter, wrong: Any
    ) -> None:
        for refused in ({"created_by": wrong}, {"metadata": {"portico.created_by": "x"}}):
            with pytest.raises(ValidationError, match="created_by"):
                await enqueued(queue, **refused)
        with pytest.raises(ValidationError, match=r"created_by is .*; give a UUID, or a text"):
            JobFilter(created_by=wrong)

    async def test_a_list_goes_by_metadata(self, queue: JobQueueAdapter) -> None:
        kinds: list[dict[str, Any]] = [
            {"tenant": "ö'\"\\", "n": 1}, {"tenant": "b", "n": True}, {"n": [1, {"a": None}]}, {},
            {"other": {"tenant": "b"}}, {"n": "tenant"},
        ]  # fmt: skip
        jobs = [(await enqueued(queue, metadata=metadata)).id for metadata in kinds]
        for wanted, expected in (
            ({"tenant": "ö'\"\\"}, [0]), ({"tenant": "b"}, [1]), ({"n": 1}, [0]),
            ({"n": True}, [1]),
            ({"n": [1, {"a": None}]}, [2]), ({"tenant": "b", "n": 1}, []), ({"x": None}, []),
            ({}, [5, 4, 3, 2, 1, 0]),
        ):  # fmt: skip
            assert await found(queue, metadata=wanted) == [jobs[n] for n in expected]
            assert await found(queue, metadata=wanted, limit=1) == [jobs[n] for n in expected]

    async def test_a_list_goes_by_when_the_jobs_were_created(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        jobs = []
        for _ in range(4):
            jobs.append(await enqueued(queue))
            clocks.advance(7200)
        ids, made = [job.id for job in jobs], [job.created_at for job in jobs]
        assert await found(queue, created_after=made[2]) == ids[:1:-1]
        assert await found(queue, created_before=made[2]) == ids[1::-1]
        assert await found(queue, created_after=made[1], created_before=made[2]) == [ids[1]]
        assert await found(queue, created_after=datetime.now(UTC) + timedelta(days=9)) == []

    async def test_only_a_narrow_list_says_how_many_it_looked_at(
        self, queue: JobQueueAdapter
    ) -> None:
        for _ in range(3):
            await enqueued(queue)
        assert (await queue.list_jobs(JobFilter())).searched is None
        assert (await queue.list_jobs(JobFilter(created_by=uuid4()))).searched == 3

    async def test_a_purge_takes_no_condition_that_is_for_lists(
        self, queue: JobQueueAdapter
    ) -> None:
        done = await enqueued(queue)
        await queue.cancel_job(done.id)
        for narrow in ({"created_by": uuid4()}, {"metadata": {"a": 1}}):
            with pytest.raises(ValidationError, match="purged by queue, type, status and age"):
                await queue.purge(JobFilter(**narrow))
        assert await queue.get_job(done.id) is not None
