"""Raise or return, and what `on_failure` may do: the description's rules about failed jobs."""

from unittest.mock import AsyncMock

import pytest

from portico.exceptions import (
    DatabaseError,
    NonRetryableError,
    ResourceNotFoundError,
    ValidationError,
)
from portico.ports.job import JobResult, JobStatus
from portico.ports.job_handler import JobHandler
from tests.seed import faq, practices
from tests.seed.stand_ins import Failing, run
from tests.support.jobs import make_job


class AlertingHandler(Failing, faq.AlertingHandler):
    def __init__(self, *answers):
        super().__init__(*answers)
        self.alert_service = AsyncMock()


class CleaningHandler(Failing, practices.CleaningHandler):
    def __init__(self, *answers):
        super().__init__(*answers)
        self.alert_service = AsyncMock()
        self.cleanup_temp_file = AsyncMock()


class CautiousCleanupHandler(Failing, faq.CautiousCleanupHandler):
    def __init__(self, *answers):
        super().__init__(*answers)
        self.cleanup_service = AsyncMock()


class RefundingHandler(Failing, practices.RefundingHandler):
    def __init__(self, *answers):
        super().__init__(*answers)
        self.refund_payment = AsyncMock()


class BrokenHandler(Failing, JobHandler):
    """Fails, and then fails to clean up."""

    job_type = "broken.twice"

    async def on_failure(self, job, error):
        raise RuntimeError("the cleanup failed too")


class ChargeHandler(faq.ChargeHandler):
    def __init__(self, *answers):
        self.payment_api = AsyncMock()
        self.payment_api.charge.side_effect = answers


class ReturningPaymentHandler(practices.ReturningPaymentHandler):
    def __init__(self, *answers):
        self.get_user = AsyncMock(side_effect=answers)


async def test_raised_exception_is_retried_until_the_retries_are_spent(queue):
    handler = AlertingHandler(ConnectionError("no route"))

    job = await run(queue, make_job(job_type="alert.needed", max_retries=3), handler)

    assert job.status is JobStatus.DEAD_LETTER
    assert (job.retry_count, job.error_message) == (3, "no route")
    assert handler.attempts == [0, 1, 2, 3]


async def test_alert_is_sent_once_when_the_retries_are_spent(queue):
    handler = AlertingHandler(ConnectionError("no route"))
    job = make_job(job_type="alert.needed", max_retries=2, payload={"order": 7})

    job = await run(queue, job, handler)

    handler.alert_service.send_alert.assert_awaited_once_with(
        level="error",
        message=f"Job {job.id} failed after 2 retries",
        context={"job_type": "alert.needed", "error": "no route", "payload": {"order": 7}},
    )


async def test_job_that_recovers_completes_and_keeps_its_count(queue):
    handler = AlertingHandler(ConnectionError(), JobResult(success=True))

    job = await run(queue, make_job(job_type="alert.needed"), handler)

    assert (job.status, job.retry_count) == (JobStatus.COMPLETED, 1)
    handler.alert_service.send_alert.assert_not_called()


async def test_returned_failure_is_final(queue):
    handler = AlertingHandler(JobResult(success=False, error=ValidationError("no such order")))

    job = await run(queue, make_job(job_type="alert.needed", max_retries=3), handler)

    assert (job.status, job.error_message) == (JobStatus.FAILED, "no such order")
    assert handler.attempts == [0]


@pytest.mark.parametrize(
    "again",
    [
        JobResult(success=False, error=ValueError("busy"), retryable=True),
        JobResult(success=False, result_data={"retry_recommended": True}),
    ],
)
async def test_returned_failure_may_ask_for_a_retry(queue, again):
    handler = AlertingHandler(again, JobResult(success=True))

    job = await run(queue, make_job(job_type="alert.needed"), handler)

    assert (job.status, job.retry_count) == (JobStatus.COMPLETED, 1)


async def test_non_retryable_error_is_final(queue):
    handler = AlertingHandler(NonRetryableError("account closed"))

    job = await run(queue, make_job(job_type="alert.needed"), handler)

    assert (job.status, job.error_message) == (JobStatus.FAILED, "account closed")
    assert handler.attempts == [0]


async def test_cleanup_runs_after_every_failed_attempt(queue):
    handler = CleaningHandler(OSError("disk full"))
    job = make_job(job_type="cleanup.needed", max_retries=2, metadata={"temp_file": "part-1"})

    job = await run(queue, job, handler)

    assert [c.args for c in handler.cleanup_temp_file.await_args_list] == [("part-1",)] * 3
    handler.alert_service.send_alert.assert_awaited_once_with(
        level="error", message=f"Job {job.id} failed permanently", context={"error": "disk full"}
    )


async def test_business_logic_in_on_failure_runs_on_every_failure(queue):
    """Why the description calls it bad: one refund per attempt."""
    handler = RefundingHandler(OSError())
    job = make_job(job_type="payment.refund", max_retries=2, payload={"payment_id": "p1"})

    await run(queue, job, handler)

    assert handler.refund_payment.await_count == 3


async def test_exception_in_on_failure_is_logged_and_does_not_change_the_retries(queue, caplog):
    handler = BrokenHandler(OSError("first"), OSError("second"), JobResult(success=True))

    with caplog.at_level("WARNING"):
        job = await run(queue, make_job(job_type="broken.twice"), handler)

    assert (job.status, job.retry_count, job.error_message) == (JobStatus.COMPLETED, 2, None)
    assert "the cleanup failed too" in caplog.text


async def test_exception_in_on_failure_does_not_keep_a_job_from_the_dead_letters(queue):
    job = make_job(job_type="broken.twice", max_retries=1)

    job = await run(queue, job, BrokenHandler(OSError("no")))

    assert (job.status, job.retry_count, job.error_message) == (JobStatus.DEAD_LETTER, 1, "no")


async def test_exception_that_on_failure_catches_itself_does_not_change_the_retries(queue):
    handler = CautiousCleanupHandler(OSError("no"), JobResult(success=True))
    handler.cleanup_service.cleanup.side_effect = OSError("gone")

    job = await run(queue, make_job(job_type="cleanup.cautious"), handler)

    assert (job.status, job.retry_count) == (JobStatus.COMPLETED, 1)
    handler.cleanup_service.cleanup.assert_awaited_once_with(job.id)


@pytest.mark.parametrize(
    ("amount", "answers", "status", "retries"),
    [
        (-1, [], JobStatus.FAILED, 0),
        (5, [faq.PaymentDeclined("card expired")], JobStatus.FAILED, 0),
        (5, [ConnectionError(), {"paid": True}], JobStatus.COMPLETED, 1),
    ],
)
async def test_charge_returns_what_is_expected_and_raises_what_is_not(
    queue, amount, answers, status, retries
):
    job = make_job(job_type="payment.charge", payload={"amount": amount})

    job = await run(queue, job, ChargeHandler(*answers))

    assert (job.status, job.retry_count) == (status, retries)


async def test_database_error_is_retried_and_a_missing_user_is_final(queue):
    job = make_job(job_type="payment.charge", payload={"user_id": "u1", "amount": 5})

    job = await run(queue, job, ReturningPaymentHandler(DatabaseError("connection reset"), None))

    assert (job.status, job.retry_count) == (JobStatus.FAILED, 1)
    assert job.error_message == "User not found"


async def test_raising_for_an_expected_condition_retries_unnecessarily(queue):
    handler = practices.RaisingPaymentHandler()
    handler.get_user = AsyncMock(return_value=None)
    job = make_job(job_type="payment.charge", payload={"user_id": "u1"}, max_retries=2)

    job = await run(queue, job, handler)

    assert job.status is JobStatus.DEAD_LETTER
    assert handler.get_user.await_count == 3
    assert job.error_message == str(ResourceNotFoundError("User not found"))
