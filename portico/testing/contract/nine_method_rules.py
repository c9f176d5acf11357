"""The rules of the nine documented methods, for any adapter.

A test module derives a class from `NineMethodRules` and gives it a fixture `queue`, an opened
adapter whose wall clock is `clocks.wall`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from portico.exceptions import ConflictError, ValidationError
from portico.ports.job import Job, JobStatus, QueueStats
from portico.ports.job_queue import JobQueueAdapter
from portico.testing.contract.queue_support import Clocks, enqueued
from portico.testing.jobs import make_job


def at(clocks: Clocks, seconds: float) -> datetime:
    return datetime.fromtimestamp(clocks.wall() + seconds, UTC)


async def waiter(queue: JobQueueAdapter, name: str = "default") -> asyncio.Task[Job | None]:
    """A task that waits for a job in an empty queue."""
    task = asyncio.create_task(queue.dequeue(name, timeout=10))
    await asyncio.sleep(0.05)
    assert not task.done()
    return task


class NineMethodRules:
    async def test_initialize_may_be_called_twice(self, queue: JobQueueAdapter) -> None:
        job = await enqueued(queue)
        await queue.initialize()
        assert (await queue.get_job(job.id)) is not None

    async def test_close_may_be_called_twice(self, queue: JobQueueAdapter) -> None:
        await queue.close()
        await queue.close()

    async def test_enqueue_sets_created_at_and_leaves_the_rest(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        before = at(clocks, 0)
        job = make_job(
            payload={"n": 1, "text": "å", "list": [1, {"deep": None}]},
            priority=-3,
            max_retries=7,
            created_by=uuid4(),
            metadata={"team": "blue"},
        )
        stored = await queue.enqueue(job)
        assert stored.created_at is not None
        assert before - timedelta(seconds=1) <= stored.created_at <= at(clocks, 1)
        assert stored.created_at.utcoffset() == timedelta(0)
        assert stored == replace(job, created_at=stored.created_at)
        assert await queue.get_job(job.id) == stored

    async def test_a_job_due_later_is_scheduled_and_keeps_its_instant_exactly(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        later = at(clocks, 3600).replace(microsecond=123457)
        stored = await enqueued(queue, scheduled_at=later)
        assert stored.status is JobStatus.SCHEDULED
        found = await queue.get_job(stored.id)
        assert found is not None
        assert found.scheduled_at == later

    async def test_a_job_due_earlier_is_pending(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        stored = await enqueued(queue, scheduled_at=at(clocks, -5))
        assert stored.status is JobStatus.PENDING

    async def test_a_second_job_with_the_same_id_leaves_the_first_as_it_was(
        self, queue: JobQueueAdapter
    ) -> None:
        first = await enqueued(queue, payload={"which": 1})
        with pytest.raises(ConflictError, match=str(first.id)):
            await enqueued(queue, id=first.id, payload={"which": 2}, queue_name="other")
        assert await queue.get_job(first.id) == first

    async def test_dequeue_takes_the_highest_priority_then_the_oldest(
        self, queue: JobQueueAdapter
    ) -> None:
        priorities = [0, 5, 0, -1, 5]
        jobs = [await enqueued(queue, priority=priority) for priority in priorities]
        order = [await queue.dequeue("default", timeout=0) for _ in jobs]
        assert [job.id for job in order if job] == [jobs[n].id for n in (1, 4, 0, 2, 3)]

    async def test_a_dequeued_job_is_running_since_now(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        stored = await enqueued(queue, payload={"x": [1, 2]}, metadata={"m": True})
        job = await queue.dequeue("default", timeout=0)
        assert job is not None
        assert job.started_at is not None
        assert abs(job.started_at - at(clocks, 0)) < timedelta(seconds=5)
        assert job == replace(stored, status=JobStatus.RUNNING, started_at=job.started_at)
        assert await queue.get_job(stored.id) == job

    async def test_dequeue_does_not_take_another_queues_job(self, queue: JobQueueAdapter) -> None:
        await enqueued(queue, queue_name="other")
        assert await queue.dequeue("default", timeout=0) is None

    async def test_dequeue_does_not_take_a_running_job_again(self, queue: JobQueueAdapter) -> None:
        await enqueued(queue)
        assert await queue.dequeue("default", timeout=0) is not None
        assert await queue.dequeue("default", timeout=0) is None

    async def test_dequeue_of_an_empty_queue_waits_as_long_as_it_was_told(
        self, queue: JobQueueAdapter
    ) -> None:
        began = time.monotonic()
        assert await queue.dequeue("default", timeout=0.15) is None
        assert time.monotonic() - began >= 0.15

    async def test_dequeue_wakes_when_a_job_comes(self, queue: JobQueueAdapter) -> None:
        task = await waiter(queue)
        job = await enqueued(queue)
        taken = await asyncio.wait_for(task, 5)
        assert taken is not None
        assert taken.id == job.id

    async def test_dequeue_wakes_when_a_scheduled_job_becomes_due(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        job = await enqueued(queue, scheduled_at=at(clocks, 0.2))
        async with asyncio.timeout(8):
            taken = await queue.dequeue("default", timeout=15)
        assert taken is not None
        assert taken.id == job.id
        assert job.scheduled_at is not None
        assert at(clocks, 0) >= job.scheduled_at

    async def test_concurrent_dequeuers_never_share_a_job(self, queue: JobQueueAdapter) -> None:
        jobs = {(await enqueued(queue)).id for _ in range(20)}

        async def drain() -> list[UUID]:
            taken = []
            while job := await queue.dequeue("default", timeout=0):
                taken.append(job.id)
            return taken

        taken = await asyncio.gather(*(drain() for _ in range(5)))
        together = [job_id for part in taken for job_id in part]
        assert len(together) == len(jobs)
        assert set(together) == jobs

    async def test_a_scheduled_job_is_not_leased_before_its_time(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        job = await enqueued(queue, scheduled_at=at(clocks, 100))
        assert await queue.dequeue("default", timeout=0) is None
        clocks.advance(101)
        taken = await queue.dequeue("default", timeout=0)
        assert taken is not None
        assert taken.id == job.id

    async def test_a_due_scheduled_job_takes_its_place_by_priority(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        scheduled = await enqueued(queue, scheduled_at=at(clocks, 100), priority=1)
        clocks.advance(101)
        pending = [await enqueued(queue, priority=priority) for priority in (0, 2)]
        order = [await queue.dequeue("default", timeout=0) for _ in range(3)]
        assert [job.id for job in order if job] == [pending[1].id, scheduled.id, pending[0].id]

    async def test_acknowledge_completes_a_running_job(self, queue: JobQueueAdapter) -> None:
        job = await enqueued(queue)
        taken = await queue.dequeue("default", timeout=0)
        await queue.acknowledge(job.id)
        done = await queue.get_job(job.id)
        assert done is not None
        assert done.status is JobStatus.COMPLETED
        assert done.completed_at is not None
        assert taken is not None
        assert taken.started_at is not None
        assert done.completed_at >= taken.started_at
        assert done.failed_at is None

    async def test_acknowledge_and_reject_change_nothing_unless_the_job_is_running(
        self, queue: JobQueueAdapter
    ) -> None:
        job = await enqueued(queue)
        for act in (queue.acknowledge, queue.reject):
            await act(job.id)
            assert await queue.get_job(job.id) == job
            await act(uuid4())
        await queue.dequeue("default", timeout=0)
        await queue.acknowledge(job.id)
        done = await queue.get_job(job.id)
        await queue.reject(job.id, requeue=True, error_message="too late")
        await queue.acknowledge(job.id)
        assert await queue.get_job(job.id) == done

    async def test_reject_gives_the_job_another_attempt(self, queue: JobQueueAdapter) -> None:
        job = await enqueued(queue, max_retries=2)
        await queue.dequeue("default", timeout=0)
        await queue.reject(job.id, error_message="it broke")
        rejected = await queue.get_job(job.id)
        assert rejected is not None
        assert rejected.status is JobStatus.RETRYING
        assert rejected.retry_count == 1
        assert rejected.error_message == "it broke"
        again = await queue.dequeue("default", timeout=0)
        assert again is not None
        assert (again.retry_count, again.error_message) == (1, "it broke")

    async def test_reject_delays_the_next_attempt(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        job = await enqueued(queue)
        await queue.dequeue("default", timeout=0)
        await queue.reject(job.id, delay=30)
        assert await queue.dequeue("default", timeout=0) is None
        clocks.advance(31)
        assert await queue.dequeue("default", timeout=0) is not None

    async def test_reject_without_requeue_fails_the_job(self, queue: JobQueueAdapter) -> None:
        job = await enqueued(queue)
        await queue.dequeue("default", timeout=0)
        await queue.reject(job.id, requeue=False, error_message="no use")
        failed = await queue.get_job(job.id)
        assert failed is not None
        assert failed.status is JobStatus.FAILED
        assert failed.failed_at is not None
        assert (failed.retry_count, failed.error_message) == (0, "no use")

    async def test_a_job_that_always_fails_runs_once_more_than_it_may_retry(
        self, queue: JobQueueAdapter
    ) -> None:
        job = await enqueued(queue, max_retries=3)
        executions = 0
        while await queue.dequeue("default", timeout=0):
            executions += 1
            await queue.reject(job.id, requeue=True, error_message=f"attempt {executions}")
        dead = await queue.get_job(job.id)
        assert dead is not None
        assert executions == 4
        assert dead.status is JobStatus.DEAD_LETTER
        assert (dead.retry_count, dead.error_message) == (3, "attempt 4")
        assert dead.failed_at is not None

    async def test_a_job_that_may_not_retry_is_dead_lettered_at_its_first_failure(
        self, queue: JobQueueAdapter
    ) -> None:
        job = await enqueued(queue, max_retries=0)
        await queue.dequeue("default", timeout=0)
        await queue.reject(job.id, requeue=True)
        dead = await queue.get_job(job.id)
        assert dead is not None
        assert (dead.status, dead.retry_count) == (JobStatus.DEAD_LETTER, 0)

    async def test_a_completed_job_has_no_error_whatever_earlier_attempts_met(
        self, queue: JobQueueAdapter
    ) -> None:
        job = await enqueued(queue)
        await queue.dequeue("default", timeout=0)
        await queue.reject(job.id, error_message="not this time")
        await queue.dequeue("default", timeout=0)
        await queue.acknowledge(job.id)
        done = await queue.get_job(job.id)
        assert done is not None
        assert (done.status, done.error_message) == (JobStatus.COMPLETED, None)

    async def test_get_job_of_an_unknown_id_is_none(self, queue: JobQueueAdapter) -> None:
        assert await queue.get_job(uuid4()) is None

    async def test_cancel_fails_a_job_that_waits(
        self, queue: JobQueueAdapter, clocks: Clocks
    ) -> None:
        pending = await enqueued(queue)
        scheduled = await enqueued(queue, scheduled_at=at(clocks, 100))
        retrying = await enqueued(queue, queue_name="retries")
        await queue.dequeue("retries", timeout=0)
        await queue.reject(retrying.id)
        for job in (pending, scheduled, retrying):
            assert await queue.cancel_job(job.id) is True
            cancelled = await queue.get_job(job.id)
            assert cancelled is not None
            assert cancelled.status is JobStatus.FAILED
            assert cancelled.error_message == "Job cancelled"
            assert cancelled.failed_at is not None
            assert await queue.cancel_job(job.id) is False
        clocks.advance(200)
        assert await queue.dequeue("default", timeout=0) is None
        assert await queue.dequeue("retries", timeout=0) is None

    async def test_cancel_leaves_other_jobs_alone(self, queue: JobQueueAdapter) -> None:
        assert await queue.cancel_job(uuid4()) is False
        job = await enqueued(queue)
        running = await queue.dequeue("default", timeout=0)
        assert await queue.cancel_job(job.id) is False
        assert await queue.get_job(job.id) == running

    async def test_stats_count_every_job_once(self, queue: JobQueueAdapter, clocks: Clocks) -> None:
        jobs = [await enqueued(queue, max_retries=min(n, 1)) for n in range(6)]
        await enqueued(queue, scheduled_at=at(clocks, 100))
        await enqueued(queue, queue_name="other")
        for _ in range(5):
            await queue.dequeue("default", timeout=0)
        await queue.reject(jobs[0].id)
        await queue.reject(jobs[1].id)
        await queue.reject(jobs[2].id, requeue=False)
        await queue.acknowledge(jobs[3].id)
        stats = await queue.get_queue_stats("default")
        assert stats == QueueStats(
            "default",
            pending_count=1,
            running_count=1,
            completed_count=1,
            failed_count=1,
            dead_letter_count=1,
            scheduled_count=1,
            retrying_count=1,
        )
        assert stats.total == 7

    async def test_stats_of_an_unknown_queue_are_zeros(self, queue: JobQueueAdapter) -> None:
        assert (await queue.get_queue_stats("nowhere")).total == 0

    @pytest.mark.parametrize(
        "fields",
        [
            {"queue_name": ""},
            {"queue_name": "a b"},
            {"queue_name": "x" * 129},
            {"job_type": "'; DROP TABLE jobs; --"},
            {"payload": {"n": range(3)}},
            {"payload": {"n": float("nan")}},
            {"payload": [1]},
            {"priority": 2**31},
            {"max_retries": -1},
            {"scheduled_at": datetime(2030, 1, 1)},  # noqa: DTZ001 - naive is the point
            {"id": "nonsense"},
        ],
        ids=str,
    )
    async def test_enqueue_refuses_what_it_could_not_give_back(
        self, queue: JobQueueAdapter, fields: dict[str, object]
    ) -> None:
        with pytest.raises(ValidationError):
            await enqueued(queue, **fields)
        assert (await queue.get_queue_stats("default")).total == 0
