"""The handlers of the description, served by a WorkerManager."""

from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import pytest

from portico.exceptions import ValidationError
from portico.ports.job import JobStatus
from tests.seed import handlers, practices
from tests.seed.stand_ins import run
from tests.support.jobs import make_job

EMAIL = {"recipient": "ada@example.com", "subject": "Hello", "body": "Dear Ada"}
REPORT = {
    "report_type": "sales",
    "start_date": "2026-01-01",
    "end_date": "2026-01-31",
    "user_id": "u1",
}


class NotifyingImportHandler(handlers.DataImportJobHandler):
    def __init__(self):
        super().__init__(AsyncMock(), AsyncMock())
        self.notify_import_failure = AsyncMock()


async def test_email_is_sent_and_the_job_completed(queue):
    service = AsyncMock()
    handler = handlers.EmailJobHandler(service)

    job = await run(queue, make_job(job_type="email.send", payload=EMAIL), handler)

    assert job.status is JobStatus.COMPLETED
    service.send_email.assert_awaited_once_with(
        to="ada@example.com", subject="Hello", body="Dear Ada"
    )
    result = await queue.get_result(job.id)
    assert result is not None
    assert result["recipient"] == "ada@example.com"


async def test_email_that_cannot_be_sent_fails_without_another_attempt(queue):
    service = AsyncMock()
    service.send_email.side_effect = Exception("SMTP error")
    handler = handlers.EmailJobHandler(service)

    job = await run(queue, make_job(job_type="email.send", payload=EMAIL), handler)

    assert (job.status, job.error_message, job.retry_count) == (JobStatus.FAILED, "SMTP error", 0)
    service.send_email.assert_awaited_once()
    service.send_admin_alert.assert_not_called()


async def test_import_completes_with_its_result(queue):
    handler = NotifyingImportHandler()
    handler.import_service.parse_data.return_value = [1, 2]
    handler.storage_service.store_import.return_value = SimpleNamespace(id=7)
    job = make_job(job_type="data.import", payload={"source_url": "s3://data.csv"})

    job = await run(queue, job, handler)

    assert job.status is JobStatus.COMPLETED
    result = await queue.get_result(job.id)
    assert result is not None
    assert (result["records_imported"], result["import_id"]) == (2, "7")


async def test_import_that_is_not_valid_fails_and_cleans_up_once(queue):
    handler = NotifyingImportHandler()
    job = make_job(
        job_type="data.import", payload={"user_id": "u1"}, metadata={"import_id": "half-done"}
    )

    job = await run(queue, job, handler)

    assert (job.status, job.error_message) == (JobStatus.FAILED, "source_url is required")
    handler.storage_service.cleanup_failed_import.assert_awaited_once_with("half-done")
    (user, url, error), _ = handler.notify_import_failure.await_args
    assert (user, url) == ("u1", None)
    assert isinstance(error, ValidationError)


async def test_report_completes_with_its_result(queue):
    handler = handlers.ReportJobHandler(AsyncMock(), AsyncMock())
    handler.report_service.generate_report.return_value = b"%PDF"
    handler.file_storage.store_report.return_value = "reports/1.pdf"

    job = await run(queue, make_job(job_type="report.generate", payload=REPORT), handler)

    assert job.status is JobStatus.COMPLETED
    result = await queue.get_result(job.id)
    assert result is not None
    assert (result["file_path"], result["size_bytes"]) == ("reports/1.pdf", 4)


async def test_on_failure_that_breaks_leaves_the_report_failed(queue):
    """The example uses a notification service that it was never given."""
    handler = handlers.ReportJobHandler(AsyncMock(), AsyncMock())
    handler.report_service.generate_report.side_effect = Exception("no data")
    job = make_job(job_type="report.generate", payload=REPORT, max_retries=0)

    job = await run(queue, job, handler)

    assert (job.status, job.error_message) == (JobStatus.FAILED, "no data")


@pytest.mark.parametrize(("code", "status"), [(200, JobStatus.COMPLETED), (404, JobStatus.FAILED)])
async def test_webhook_ends_as_the_receiver_answers(queue, code, status):
    client = AsyncMock()
    client.post.return_value = Mock(status_code=code, text="ok")
    payload = {"url": "https://hooks.example.com/1", "payload": {"event": "created"}}
    job = make_job(job_type="webhook.send", payload=payload)

    job = await run(queue, job, handlers.WebhookJobHandler(client))

    assert job.status is status
    assert client.post.await_count == 1


async def test_payment_is_made_with_the_job_id_as_its_key(queue):
    handler = practices.IdempotentPaymentHandler()
    handler.payment_service = AsyncMock()
    handler.payment_service.get_payment.return_value = None
    handler.payment_service.process_payment.return_value = {"paid": True}
    job = make_job(job_type="payment.process", payload={"payment_id": "p1"})

    job = await run(queue, job, handler)

    assert await queue.get_result(job.id) == {"paid": True}
    handler.payment_service.process_payment.assert_awaited_once_with(
        payment_id="p1", idempotency_key=str(job.id)
    )


async def test_payment_that_was_made_is_not_made_again_on_retry(queue):
    """The first attempt pays and dies of a lost connection; the second finds the payment."""
    handler = practices.IdempotentPaymentHandler()
    handler.payment_service = AsyncMock()
    handler.payment_service.get_payment.side_effect = [None, SimpleNamespace(status="completed")]
    handler.payment_service.process_payment.side_effect = ConnectionError("reset")
    job = make_job(job_type="payment.process", payload={"payment_id": "p1"})

    job = await run(queue, job, handler)

    assert (job.status, job.retry_count) == (JobStatus.COMPLETED, 1)
    assert await queue.get_result(job.id) == {"payment_id": "p1", "already_processed": True}
    handler.payment_service.process_payment.assert_awaited_once()


async def test_logged_handler_completes(queue):
    class Result(dict):
        duration = 12

    handler = practices.LoggingHandler()
    handler.process = AsyncMock(return_value=Result(rows=3))

    job = await run(queue, make_job(job_type="logged.process"), handler)

    assert await queue.get_result(job.id) == {"rows": 3}


async def test_handler_that_returns_nothing_does_not_count_as_done(queue):
    """`LateValidatingHandler` of the description falls off its end."""
    handler = practices.LateValidatingHandler()
    handler.fetch_large_dataset = AsyncMock()
    handler.process_data = AsyncMock()
    job = make_job(job_type="payment.process", payload={"user_id": "u1"}, max_retries=0)

    job = await run(queue, job, handler)

    assert job.status in (JobStatus.FAILED, JobStatus.DEAD_LETTER)
    assert "JobResult" in (job.error_message or "")
