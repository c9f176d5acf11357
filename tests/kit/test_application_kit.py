"""What applications test their jobs with: assertions, one attempt, a drain, and a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portico.exceptions import NonRetryableError, ValidationError
from portico.kits.job import JobService
from portico.kits.job.retry import RetryPolicy
from portico.ports.job import Job, JobResult, JobStatus
from portico.ports.job_handler import JobHandler
from portico.ports.job_queue import JobQueueAdapter
from portico.testing import (
    FakeClock,
    all_enqueued,
    assert_enqueued,
    drain,
    make_job,
    memory_queue,
    perform,
    refute_enqueued,
)
from tests.contract.toy_queue import ToyQueue

EVEN = RetryPolicy(base_delay=10, jitter=0)


class Told(JobHandler):
    """Does as its payload says, and keeps what it was told of failures."""

    job_type = "test.told"

    def __init__(self, do: Callable[[Job], Any] = lambda _: JobResult(success=True)) -> None:
        self.do = do
        self.failures: list[tuple[int, str]] = []

    async def handle(self, job: Job) -> JobResult:
        result = self.do(job)
        return await result if asyncio.iscoroutine(result) else result

    async def on_failure(self, job: Job, error: Exception) -> None:
        self.failures.append((job.retry_count, str(error)))


def raising(error: BaseException) -> Callable[[Job], JobResult]:
    def do(_: Job) -> JobResult:
        raise error

    return do


async def refused(assertion: Any) -> str:
    """The message with which an assertion fails."""
    with pytest.raises(AssertionError) as caught:
        await assertion
    return str(caught.value)


class TestAssertions:
    async def test_what_waits_is_found_by_each_of_its_properties(
        self, job_service: JobService, job_queue: JobQueueAdapter, job_clock: FakeClock
    ) -> None:
        at = job_clock.now() + timedelta(hours=1)
        mail = await job_service.create_job("mail.send", {"to": "ann", "n": 1}, scheduled_at=at)
        other = await job_service.create_job("page.render", {}, "slow")
        assert await all_enqueued(job_queue) == [mail, other]
        for conditions in (
            {"job_type": "mail.send"}, {"payload": {"to": "ann"}}, {"queue_name": "default"},
            {"scheduled_at": at + timedelta(seconds=0.9)},
        ):  # fmt: skip
            assert await assert_enqueued(job_queue, **conditions, count=1) == [mail]
            assert await all_enqueued(job_queue, **conditions) == [mail]

    @pytest.mark.parametrize(
        "conditions",
        [
            {"job_type": "mail.sent"},
            {"payload": {"to": "bob"}},
            {"payload": {"to": "ann", "cc": None}},
            {"queue_name": "slow"},
            {"scheduled_at": datetime(2000, 1, 1, tzinfo=UTC)},
            {"job_type": "mail.send", "payload": {"to": "bob"}},
            {"count": 2},
            {"count": 0},
        ],
        ids=str,
    )
    async def test_a_miss_shows_what_was_enqueued_instead(
        self, job_service: JobService, job_queue: JobQueueAdapter, conditions: dict[str, Any]
    ) -> None:
        await job_service.create_job("mail.send", {"to": "ann"})
        message = await refused(assert_enqueued(job_queue, **conditions))
        assert "mail.send in default, pending: {'to': 'ann'}" in message
        for name, value in conditions.items():
            assert (name if name != "count" else f"expected {value} job") in message

    async def test_a_job_for_another_instant_is_a_miss(
        self, job_service: JobService, job_queue: JobQueueAdapter, job_clock: FakeClock
    ) -> None:
        at = job_clock.now() + timedelta(hours=1)
        await job_service.create_job("mail.send", {}, scheduled_at=at)
        for wrong in (-1.1, 1.1):
            conditions = {"scheduled_at": at + timedelta(seconds=wrong)}
            assert f"for {at.isoformat()}" in await refused(
                assert_enqueued(job_queue, **conditions)
            )
            await refute_enqueued(job_queue, **conditions)

    async def test_a_miss_in_an_empty_queue_says_so(self, job_queue: JobQueueAdapter) -> None:
        message = await refused(assert_enqueued(job_queue, job_type="mail.send"))
        assert message == (
            "expected a job (job_type='mail.send'), found 0; no job waits in any queue"
        )

    async def test_a_job_that_should_not_be_there_is_shown(
        self, job_service: JobService, job_queue: JobQueueAdapter
    ) -> None:
        await refute_enqueued(job_queue)
        await job_service.create_job("mail.send", {"to": "ann"})
        await refute_enqueued(job_queue, payload={"to": "bob"})
        message = await refused(refute_enqueued(job_queue, job_type="mail.send"))
        assert "expected no job (job_type='mail.send'), found 1" in message
        assert "{'to': 'ann'}" in message

    async def test_jobs_that_run_or_have_ended_are_not_enqueued_and_retrying_ones_are(
        self, job_queue: JobQueueAdapter
    ) -> None:
        for _ in range(3):
            await job_queue.enqueue(make_job())
        done, again, _ = [await job_queue.dequeue("default", timeout=0) for _ in range(3)]
        await job_queue.acknowledge(done.id)
        await job_queue.reject(again.id)
        assert [job.id for job in await all_enqueued(job_queue)] == [again.id]

    async def test_more_jobs_than_a_page_holds_are_all_looked_at(
        self, job_queue: JobQueueAdapter
    ) -> None:
        for number in range(1003):
            await job_queue.enqueue(make_job(payload={"n": number}))
        await assert_enqueued(job_queue, count=1003)
        await assert_enqueued(job_queue, payload={"n": 0}, count=1)
        assert "and older ones" in await refused(assert_enqueued(job_queue, count=1))

    async def test_an_instant_without_a_time_zone_is_refused(
        self, job_queue: JobQueueAdapter
    ) -> None:
        with pytest.raises(ValueError, match="without a time zone"):
            await assert_enqueued(job_queue, scheduled_at=datetime(2030, 1, 1))  # noqa: DTZ001


class TestPerform:
    async def test_a_success_has_its_result(self) -> None:
        handler = Told(lambda job: JobResult(success=True, result_data={"n": job.payload["n"] + 1}))
        attempt = await perform(handler, {"n": 1})
        assert (attempt.status, attempt.result) == (JobStatus.COMPLETED, {"n": 2})
        assert (attempt.number, attempt.error_type, attempt.retry_in) == (1, None, None)

    @pytest.mark.parametrize(
        ("do", "status", "error"),
        [
            (raising(KeyError("x")), JobStatus.RETRYING, "KeyError"),
            (raising(NonRetryableError("no")), JobStatus.FAILED, "NonRetryableError"),
            (raising(SystemExit(1)), JobStatus.RETRYING, "SystemExit"),
            (lambda _: JobResult(False, ValueError("x")), JobStatus.FAILED, "ValueError"),
            (lambda _: JobResult(False, retryable=True), JobStatus.RETRYING, None),
            (lambda _: "done", JobStatus.FAILED, "InvalidResult"),
            (lambda _: asyncio.sleep(60), JobStatus.RETRYING, "JobTimeoutError"),
        ],
    )
    async def test_a_failure_ends_as_it_would_in_a_worker(
        self, do: Callable[[Job], Any], status: JobStatus, error: str | None
    ) -> None:
        handler = Told(do)
        attempt = await perform(handler, job_timeout=0.05, retry_policy=EVEN)
        assert attempt.status is status
        assert error is None or attempt.error_type == error
        assert attempt.retry_in == (10 if status is JobStatus.RETRYING else None)
        assert len(handler.failures) == 1

    async def test_the_last_attempt_dies_and_the_one_before_it_does_not(self) -> None:
        handler = Told(raising(ValueError("it broke")))
        last = await perform(handler, retry_count=2, max_retries=2)
        before = await perform(handler, retry_count=1, max_retries=2, retry_policy=EVEN)
        assert (last.status, last.number) == (JobStatus.DEAD_LETTER, 3)
        assert (before.status, before.job.retry_count) == (JobStatus.RETRYING, 2)
        assert before.retry_in == 20
        assert handler.failures == [(2, "it broke"), (1, "it broke")]
        assert "ValueError: it broke" in last.traceback

    async def test_a_job_scheduled_for_later_is_performed_now(self) -> None:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        attempt = await perform(Told(), scheduled_at=tomorrow)
        assert attempt.status is JobStatus.COMPLETED

    async def test_what_no_queue_would_take_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="payload"):
            await perform(Told(), {"x": object()})
        with pytest.raises(ValueError, match="retry_count is 4"):
            await perform(Told(), retry_count=4)


class TestDrain:
    async def test_everything_due_runs_also_what_jobs_create(
        self, job_service: JobService, job_queue: JobQueueAdapter
    ) -> None:
        async def multiply(job: Job) -> JobResult:
            for n in range(job.payload["n"]):
                await job_service.create_job("test.told", {"n": n})
            return JobResult(success=True)

        await job_service.create_job("test.told", {"n": 3})
        drained = await drain(job_queue, [Told(multiply)])
        assert [job.payload["n"] for job in drained.completed] == [3, 0, 1, 2, 0, 0, 1, 0]
        await refute_enqueued(job_queue)

    async def test_what_is_due_later_is_left_without_the_clock(
        self, job_service: JobService, job_queue: JobQueueAdapter, job_clock: FakeClock
    ) -> None:
        at = job_clock.now() + timedelta(days=1)
        later = await job_service.create_job("test.told", {}, scheduled_at=at)
        failing = await job_service.create_job("test.told", {"fail": True})
        handler = Told(lambda job: JobResult(not job.payload, retryable=True))
        drained = await drain(job_queue, [handler])
        assert [job.id for job in drained.retried] == [failing.id]
        waiting = [job.id for job in await all_enqueued(job_queue)]
        assert waiting == [later.id, failing.id]

    async def test_the_clock_brings_forward_what_is_scheduled_and_what_is_retried(
        self, job_service: JobService, job_queue: JobQueueAdapter, job_clock: FakeClock
    ) -> None:
        began = job_clock.now()
        at = began + timedelta(days=1)
        later = await job_service.create_job("test.told", {}, scheduled_at=at)
        doomed = await job_service.create_job("test.told", {"fail": True}, max_retries=3)
        handler = Told(lambda job: JobResult(not job.payload, retryable=True))
        drained = await drain(job_queue, [handler], clock=job_clock, retry_policy=EVEN)
        assert [job.id for job in drained.completed] == [later.id]
        assert [job.id for job in drained.dead] == [doomed.id]
        assert [attempt.retry_in for attempt in drained.attempts] == [10, 20, 40, None, None]
        died = drained.dead[0].failed_at
        assert died is not None
        assert died == began + timedelta(seconds=70)
        assert job_clock.now() == at

    async def test_a_job_that_nobody_serves_is_put_off_until_patience_ends(
        self, job_queue: JobQueueAdapter, job_clock: FakeClock
    ) -> None:
        await job_queue.enqueue(make_job(job_type="test.unknown"))
        drained = await drain(job_queue, [Told()], clock=job_clock)
        [dead] = drained.dead
        assert "test.unknown" in (dead.error_message or "")

    async def test_jobs_that_create_jobs_without_end_are_stopped(
        self, job_service: JobService, job_queue: JobQueueAdapter
    ) -> None:
        async def another(_: Job) -> JobResult:
            await job_service.create_job("test.told", {})
            return JobResult(success=True)

        await job_service.create_job("test.told", {})
        message = await refused(drain(job_queue, [Told(another)], limit=20))
        assert "more than 20 attempts, the last of test.told" in message
        assert (await job_queue.get_queue_stats("default")).completed_count == 21

    async def test_an_adapter_of_nine_methods_is_drained_as_well(self) -> None:
        clock = FakeClock()
        queue = ToyQueue(clock.wall)
        for fail in (False, True):
            await queue.enqueue(make_job(job_type="test.told", payload={"fail": fail}))
        handler = Told(lambda job: JobResult(not job.payload["fail"]))
        drained = await drain(queue, [handler])
        assert (len(drained.completed), len(drained.failed)) == (1, 1)


class TestClock:
    def test_it_stands_still_until_it_is_advanced(self) -> None:
        clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
        before = clock.monotonic()
        clock.advance(timedelta(minutes=1))
        clock.advance(0.5)
        assert clock.now() == datetime(2030, 1, 1, 0, 1, 0, 500_000, tzinfo=UTC)
        assert clock.monotonic() - before >= 60.5

    @pytest.mark.parametrize("by", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
    def test_it_does_not_go_back(self, by: float | timedelta) -> None:
        with pytest.raises(ValueError, match="cannot advance"):
            FakeClock().advance(by)

    async def test_a_dequeue_by_a_clock_that_stands_still_ends_all_the_same(self) -> None:
        async with asyncio.timeout(5):
            assert await memory_queue(FakeClock()).dequeue("default", timeout=0.05) is None
