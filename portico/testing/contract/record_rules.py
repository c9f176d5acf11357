"""The rules of listing, counting, results and purging."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from portico.exceptions import ValidationError
from portico.ports.draft import Draft
from portico.ports.job import TERMINAL, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Failure, Glance, JobFilter, Transition
from portico.testing.contract.queue_support import (
    Clocks,
    ended,
    ending,
    enqueued,
    leased,
    leased_job,
    settled,
)
from portico.testing.jobs import make_job


async def listed(queue: JobQueueAdapter, limit: int = 1000, **conditions: object) -> list[UUID]:
    page = await queue.list_jobs(JobFilter(**conditions), limit)  # type: ignore[arg-type]
    return [job.id for job in page.jobs]


async def one_of_each(queue: JobQueueAdapter) -> dict[JobStatus, UUID]:
    """A job in every status but SCHEDULED."""
    jobs = {}
    for transition in (Transition.COMPLETE, Transition.FAIL, Transition.QUARANTINE):
        lease = await leased_job(queue)
        receipt = await ended(queue, lease, transition)
        assert receipt.status is not None
        jobs[receipt.status] = lease.job_id
    lease = await leased_job(queue)
    await ended(queue, lease, Transition.RETRY, delay=3600)
    jobs[JobStatus.RETRYING] = lease.job_id
    jobs[JobStatus.RUNNING] = (await leased_job(queue)).job_id
    jobs[JobStatus.PENDING] = (await enqueued(queue)).id
    return jobs


class RecordRules:
    async def test_jobs_are_listed_newest_first(self, queue: JobQueueAdapter) -> None:
        jobs = [(await enqueued(queue)).id for _ in range(5)]
        assert await listed(queue) == jobs[::-1]

    async def test_a_listed_job_is_the_job(self, queue: JobQueueAdapter) -> None:
        job = await enqueued(queue, payload={"n": 1}, metadata={"m": 2})
        assert (await queue.list_jobs(JobFilter())).jobs == [job]

    async def test_the_outlook_tells_how_long_jobs_wait(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        for name, delays in {"late": (-3600, -60, 7200), "soon": (9000, 1800), "new": (0,)}.items():
            for delay in delays:
                due = datetime.fromtimestamp(clocks.wall() + delay, UTC)
                await enqueued(queue, queue_name=name, scheduled_at=due)
        await leased_job(queue, queue_name="busy")
        outlook = await queue.outlook()
        assert list(outlook) == ["late", "new", "soon"]
        assert outlook["late"].oldest_wait == pytest.approx(3600, abs=60)
        assert outlook["late"].next_due == pytest.approx(7200, abs=60)
        assert outlook["soon"].oldest_wait is None
        assert outlook["soon"].next_due == pytest.approx(1800, abs=60)
        assert outlook["new"].oldest_wait == pytest.approx(0, abs=60)
        assert outlook["new"].next_due is None

    async def test_a_filter_takes_what_ids_begin_with(self, queue: JobQueueAdapter) -> None:
        ids = [UUID(f"0192ab{digit}0-0000-7000-8000-00000000000{digit}") for digit in "01f"]
        for job_id in (*ids, UUID("0192ac00-0000-7000-8000-000000000001")):
            await queue.enqueue(make_job(id=job_id))
        for prefix, found in (
            ("0192ab", ids), ("0192AB0", ids[:1]), ("0192abf0-0000-7", ids[2:]), ("0192aa", []),
            (str(ids[1]), [ids[1]]), ("ffff", []),
        ):  # fmt: skip
            assert sorted(await listed(queue, id_prefix=prefix)) == found
            assert sorted(await listed(queue, id_prefix=prefix, queue_name="default")) == found
        for job_id in ids:
            await queue.cancel_job(job_id)
        assert await queue.purge(JobFilter(id_prefix="0192abf")) == 1
        assert await listed(queue, id_prefix="0192ab", statuses=[JobStatus.FAILED]) == ids[1::-1]
        for wrong in ("0192abx", "0" * 33):
            with pytest.raises(ValidationError, match="id_prefix"):
                JobFilter(id_prefix=wrong)

    async def test_beside_a_listed_job_stand_its_kind_of_error_and_when_it_is_due(
        self, queue: JobQueueAdapter
    ) -> None:
        lease = await leased_job(queue)
        failure = Failure("ValueError", "no", "")
        await ended(queue, lease, Transition.RETRY, failure=failure, delay=3600)
        page = await queue.list_jobs(JobFilter())
        record = await queue.inspect(lease.job_id)
        assert record is not None
        assert record.due_at is not None
        assert list(page.glances) == [Glance("ValueError", record.due_at)]

    async def test_pages_follow_each_other_without_gaps_while_jobs_arrive(
        self, queue: JobQueueAdapter
    ) -> None:
        jobs = [(await enqueued(queue)).id for _ in range(7)]
        seen: list[UUID] = []
        cursor = None
        while True:
            page = await queue.list_jobs(JobFilter(), 3, cursor)
            seen += [job.id for job in page.jobs]
            await enqueued(queue)
            if (cursor := page.cursor) is None:
                break
        assert seen == jobs[::-1]

    async def test_the_last_full_page_has_no_cursor(self, queue: JobQueueAdapter) -> None:
        for _ in range(4):
            await enqueued(queue)
        first = await queue.list_jobs(JobFilter(), 2)
        assert first.cursor is not None
        assert (await queue.list_jobs(JobFilter(), 2, first.cursor)).cursor is None

    async def test_filters_are_joined(self, queue: JobQueueAdapter) -> None:
        jobs = await one_of_each(queue)
        other = await enqueued(queue, queue_name="other", job_type="other.type")
        for each, job_id in jobs.items():
            ids = await listed(queue, statuses=(each,), queue_name="default")
            assert ids == [job_id]
        assert set(await listed(queue, statuses=tuple(TERMINAL))) == {
            jobs[status] for status in TERMINAL
        }
        assert await listed(queue, queue_name="other") == [other.id]
        assert await listed(queue, job_type="other.type") == [other.id]
        assert await listed(queue, job_type="other.type", queue_name="default") == []

    async def test_age_counts_from_the_end_or_from_the_creation(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        lease = await leased_job(queue)
        waiting = await enqueued(queue)
        clocks.advance(100)
        await ended(queue, lease, Transition.COMPLETE)
        clocks.advance(10)
        assert await listed(queue, older_than=50) == [waiting.id]
        assert await listed(queue, older_than=5) == [waiting.id, lease.job_id]
        assert await listed(queue, older_than=200) == []

    @pytest.mark.parametrize("limit", [0, -1, 1001])
    async def test_a_page_has_a_size(self, queue: JobQueueAdapter, limit: int) -> None:
        with pytest.raises(ValidationError, match="limit"):
            await queue.list_jobs(JobFilter(), limit)

    @pytest.mark.parametrize("cursor", ["", "x", "-1", "1; DROP", "9" * 40, "٣"])
    async def test_a_foreign_cursor_is_refused(self, queue: JobQueueAdapter, cursor: str) -> None:
        with pytest.raises(ValidationError, match="cursor"):
            await queue.list_jobs(JobFilter(), 10, cursor)

    async def test_an_age_that_is_no_number_is_refused(self, queue: JobQueueAdapter) -> None:
        with pytest.raises(ValidationError, match="older_than"):
            await queue.list_jobs(JobFilter(older_than=float("nan")))

    async def test_results_are_kept_for_completed_jobs_only(self, queue: JobQueueAdapter) -> None:
        done, bare = await leased_job(queue), await leased_job(queue)
        await ended(queue, done, Transition.COMPLETE, result=b'{"a":[1,null]}')
        await queue.acknowledge(bare.job_id)
        assert await queue.get_result(done.job_id) == {"a": [1, None]}
        assert await queue.get_result(bare.job_id) == {}
        assert await queue.get_result(uuid4()) is None
        failed = await leased_job(queue)
        assert await queue.get_result(failed.job_id) is None
        await ended(queue, failed, Transition.FAIL, result=b'{"no":1}')
        assert await queue.get_result(failed.job_id) is None

    async def test_all_stats_name_every_queue_that_holds_a_job(
        self, queue: JobQueueAdapter
    ) -> None:
        assert dict(await queue.all_stats()) == {}
        jobs = await one_of_each(queue)
        await enqueued(queue, queue_name="b")
        await enqueued(queue, queue_name="a")
        stats = await queue.all_stats()
        assert list(stats) == ["a", "b", "default"]
        assert stats["default"].total == len(jobs)
        assert stats["default"] == await queue.get_queue_stats("default")
        assert all(getattr(stats["default"], f"{each.value}_count") == 1 for each in jobs)

    async def test_purge_removes_terminal_jobs_and_nothing_else(
        self, queue: JobQueueAdapter
    ) -> None:
        jobs = await one_of_each(queue)
        assert await queue.purge(JobFilter()) == len(TERMINAL)
        kept = {job_id for status, job_id in jobs.items() if status not in TERMINAL}
        assert set(await listed(queue)) == kept
        assert (await queue.get_queue_stats("default")).total == len(kept)
        assert await queue.purge(JobFilter()) == 0

    async def test_purge_goes_by_its_filter(self, queue: JobQueueAdapter, clocks: Clocks) -> None:
        jobs = await one_of_each(queue)
        assert await queue.purge(JobFilter(queue_name="other")) == 0
        assert await queue.purge(JobFilter(job_type="other.type")) == 0
        assert await queue.purge(JobFilter(older_than=60)) == 0
        clocks.advance(61)
        young = await leased_job(queue, queue_name="young")
        await ended(queue, young, Transition.COMPLETE)
        assert await queue.purge(JobFilter(older_than=60, statuses=(JobStatus.COMPLETED,))) == 1
        assert await queue.get_job(jobs[JobStatus.COMPLETED]) is None
        assert await queue.purge(JobFilter(older_than=60)) == 2
        assert await queue.get_job(young.job_id) is not None

    async def test_purge_keeps_to_its_limit(self, queue: JobQueueAdapter) -> None:
        await queue.insert([Draft.of(make_job()) for _ in range(5)])
        leases = await leased(queue, limit=5)
        await settled(queue, *(ending(lease, Transition.COMPLETE) for lease in leases))
        removed = [await queue.purge(JobFilter(), limit) for limit in (2, 0, 10)]
        assert removed == [2, 0, 3]
        assert dict(await queue.all_stats()) == {}

    @pytest.mark.parametrize("each", sorted(set(JobStatus) - TERMINAL))
    async def test_purge_refuses_jobs_that_have_not_ended(
        self, queue: JobQueueAdapter, each: JobStatus
    ) -> None:
        with pytest.raises(ValidationError, match=each.value):
            await queue.purge(JobFilter(statuses=(JobStatus.FAILED, each)))

    async def test_a_purged_id_can_be_used_again(self, queue: JobQueueAdapter) -> None:
        lease = await leased_job(queue)
        await ended(queue, lease, Transition.COMPLETE)
        await queue.purge(JobFilter())
        assert (await enqueued(queue, id=lease.job_id)).status is JobStatus.PENDING
