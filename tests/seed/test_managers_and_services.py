"""WorkerManager and JobService as the description wires them."""

from unittest.mock import AsyncMock

import pytest

from portico.kits.job import JobService
from portico.kits.job.worker_manager import WorkerManager
from portico.ports.job import Job, JobResult, JobStatus
from portico.ports.job_creator import JobCreator
from portico.ports.job_handler import JobHandler
from tests.seed import faq, handlers
from tests.seed.stand_ins import Failing, Recorder, run, working
from tests.support.jobs import ended, make_job
from tests.support.waiting import wait_until

EMAIL = {"recipient": "user@example.com", "subject": "Hello", "body": "Dear user"}


class ChunkHandler(faq.DataProcessingHandler):
    """The example, over a number of records that exist only as a count."""

    def __init__(self, job_creator: JobCreator, records: int):
        self.job_creator = job_creator
        self.records = records
        self.chunks: list[tuple[int, int]] = []

    async def fetch_records(self, batch_id: str, offset: int, size: int) -> list[int]:
        return list(range(offset, min(offset + size, self.records)))

    async def process_records(self, records: list[int]) -> list[int]:
        self.chunks.append((records[0], len(records)))
        return records


class DeadLetterHandler(faq.DeadLetterHandler):
    def __init__(self, job_queue, error_type: str):
        self.job_queue = job_queue
        self.error_type = error_type
        self.monitoring_service = AsyncMock()
        self.alert_service = AsyncMock()

    def _analyze_error(self, message: str) -> str:
        return self.error_type


class FlakyHandler(Failing, JobHandler):
    job_type = "flaky.call"


def analysis_of(dead: Job) -> Job:
    return make_job(
        queue_name="system",
        job_type="system.deadletter.process",
        payload={"dead_job_id": str(dead.id)},
    )


async def test_manager_routes_each_job_to_the_handler_of_its_type(queue):
    email_handler = handlers.EmailJobHandler(AsyncMock())
    report_handler = handlers.ReportJobHandler(AsyncMock(), AsyncMock())
    report_handler.report_service.generate_report.return_value = b"%PDF"
    report_handler.file_storage.store_report.return_value = "1.pdf"
    email = await queue.enqueue(make_job(job_type="email.send", payload=EMAIL))
    report = await queue.enqueue(
        make_job(
            job_type="report.generate",
            queue_name="high_priority",
            payload={
                "report_type": "sales",
                "start_date": "2026-01-01",
                "end_date": "2026-01-31",
                "user_id": "u1",
            },
        )
    )

    manager = WorkerManager(
        job_queue=queue,
        handlers={
            "email.send": email_handler,
            "report.generate": report_handler,
        },
        concurrency=10,
        queues=["default", "high_priority"],
    )
    await manager.start()
    statuses = [(await ended(queue, job.id)).status for job in (email, report)]
    await manager.stop()

    assert statuses == [JobStatus.COMPLETED] * 2
    email_handler.email_service.send_email.assert_awaited_once()
    report_handler.report_service.generate_report.assert_awaited_once()


async def test_email_and_sms_have_a_handler_each(queue):
    email = await queue.enqueue(make_job(job_type="email.send", payload=EMAIL))
    sms = await queue.enqueue(make_job(job_type="sms.send", payload={"number": "+1555"}))
    email_service, sms_service = AsyncMock(), AsyncMock()

    manager = WorkerManager(
        job_queue=queue,
        handlers={
            "email.send": handlers.EmailJobHandler(email_service),
            "sms.send": faq.SmsJobHandler(sms_service),
        },
    )
    async with manager:
        assert (await ended(queue, email.id)).status is JobStatus.COMPLETED
        assert (await ended(queue, sms.id)).status is JobStatus.COMPLETED

    sms_service.send.assert_awaited_once_with("+1555")


async def test_queues_are_served_in_the_given_order(queue):
    job_service = JobService(queue)
    for name in ("low_priority", "default", "high_priority"):
        for number in range(2):
            await job_service.create_job("note.take", {"at": f"{name} {number}"}, queue_name=name)
    recorder = Recorder("note.take")

    async with working(
        queue,
        recorder,
        queues=["high_priority", "default", "low_priority"],  # Order matters
        concurrency=1,
    ):
        await wait_until(lambda: len(recorder.seen) == 6)

    assert [payload["at"] for payload in recorder.seen] == [
        "high_priority 0",
        "high_priority 1",
        "default 0",
        "default 1",
        "low_priority 0",
        "low_priority 1",
    ]


async def test_within_a_queue_the_higher_priority_runs_first(queue):
    job_service = JobService(queue)
    for priority in (1, 10, 5, 10):
        await job_service.create_job("note.take", {"at": priority}, priority=priority)
    recorder = Recorder("note.take")

    async with working(queue, recorder, concurrency=1):
        await wait_until(lambda: len(recorder.seen) == 4)

    assert [payload["at"] for payload in recorder.seen] == [10, 10, 5, 1]


async def test_jobs_are_created_with_queues_and_priorities(queue):
    job_service = JobService(queue)

    email = await job_service.create_job(
        job_type="email.send",
        payload={"recipient": "user@example.com"},
        queue_name="high_priority",  # High priority queue
        priority=10,
    )
    report = await job_service.create_job(
        job_type="report.generate",
        payload={"report_id": "123"},
        queue_name="low_priority",  # Low priority queue
        priority=1,
    )

    assert isinstance(email, Job)
    assert isinstance(job_service, JobCreator)
    assert (email.queue_name, email.priority, email.status) == ("high_priority", 10, "pending")
    assert await queue.get_job(report.id) == report
    assert email.created_at is not None


async def test_each_chunk_creates_the_job_of_the_next(queue):
    handler = ChunkHandler(JobService(queue), records=2500)
    first = await handler.job_creator.create_job("data.process_batch", {"batch_id": "b1"})

    async with working(queue, handler):
        await wait_until(lambda: len(handler.chunks) == 3)
        assert (await ended(queue, first.id)).status is JobStatus.COMPLETED

        async def all_done() -> bool:
            return (await queue.get_queue_stats("default")).completed_count == 3

        await wait_until(all_done)

    assert handler.chunks == [(0, 1000), (1000, 1000), (2000, 500)]
    assert await queue.get_result(first.id) == {"processed": 1000, "offset": 0}


async def test_dead_letter_handler_finds_a_job_by_its_id_as_text_and_requeues_it(queue):
    flaky = FlakyHandler(OSError("reset"), JobResult(success=True))
    dead = await run(queue, make_job(job_type="flaky.call", max_retries=0), flaky)
    assert dead.status is JobStatus.DEAD_LETTER
    handler = DeadLetterHandler(queue, "transient")
    job = analysis_of(dead)

    job = await run(queue, job, handler)

    assert job.status is JobStatus.COMPLETED
    assert await queue.get_result(job.id) == {"analyzed": True, "requeued": True}
    handler.monitoring_service.log_dead_letter.assert_awaited_once_with(
        job_type="flaky.call", error_type="transient", payload={}
    )
    again = await queue.get_job(dead.id)
    assert again is not None
    assert (again.status, again.retry_count) == (JobStatus.PENDING, 0)
    async with working(queue, flaky):
        assert (await ended(queue, dead.id)).status is JobStatus.COMPLETED


async def test_dead_letter_handler_leaves_a_permanent_failure_where_it_is(queue):
    dead = await run(
        queue, make_job(job_type="flaky.call", max_retries=0), FlakyHandler(OSError("reset"))
    )
    job = analysis_of(dead)

    job = await run(queue, job, DeadLetterHandler(queue, "permanent"))

    assert await queue.get_result(job.id) == {"analyzed": True, "requeued": False}
    assert await queue.get_job(dead.id) == dead


async def test_dead_letter_handler_is_done_when_the_job_is_gone(queue):
    handler = DeadLetterHandler(queue, "transient")
    job = make_job(
        job_type="system.deadletter.process",
        payload={"dead_job_id": "00000000-0000-4000-8000-000000000000"},
    )

    job = await run(queue, job, handler)

    assert job.status is JobStatus.COMPLETED
    handler.monitoring_service.log_dead_letter.assert_not_called()


async def test_dead_letter_handler_alerts_when_it_fails_itself(queue):
    handler = DeadLetterHandler(queue, "transient")
    job = make_job(job_type="system.deadletter.process", payload={}, max_retries=0)

    job = await run(queue, job, handler)

    assert job.status is JobStatus.DEAD_LETTER
    handler.alert_service.send_critical_alert.assert_awaited_once()


@pytest.mark.parametrize("spelling", [{}, {"queue_adapter": True}])
async def test_manager_takes_both_spellings_of_its_arguments(queue, spelling):
    recorder = Recorder("note.take")
    job = await queue.enqueue(make_job(job_type="note.take"))
    names = ("queue_adapter", "num_workers") if spelling else ("job_queue", "concurrency")

    async with WorkerManager(
        **dict(zip(names, (queue, 2), strict=True)), handlers={"note.take": recorder}
    ):
        await ended(queue, job.id)

    assert recorder.seen == [{}]
