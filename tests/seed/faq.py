"""The examples of the user's description under its introduction and "FAQs", as they stand there.

Where the description shows a method alone, a class was put around it; what an example uses without
defining it is supplied by the tests.
"""

from typing import Any

from portico.exceptions import ValidationError
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.utils.logging import get_logger

logger = get_logger(__name__)


class PaymentDeclined(Exception):
    pass


# When should I raise an exception vs return JobResult with success=False?
class ChargeHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "payment.charge"

    async def handle(self, job: Job) -> JobResult:
        # Expected failure - return JobResult
        if job.payload["amount"] < 0:
            return JobResult(success=False, error=ValidationError("Amount must be positive"))

        try:
            # Process payment
            result = await self.payment_api.charge(job.payload["amount"])
            return JobResult(success=True, result_data=result)

        except ConnectionError:
            # Transient error - raise for retry
            raise

        except PaymentDeclined as e:
            # Expected failure - return JobResult
            return JobResult(success=False, error=e)


# How do I pass context to handlers (database sessions, user context, etc.)?
# Handler with database session factory
class DataHandler(JobHandler):
    def __init__(self, session_factory: Any):
        self.session_factory = session_factory

    @property
    def job_type(self) -> str:
        return "data.write"

    async def handle(self, job: Job) -> JobResult:
        async with self.session_factory() as session:
            # Use session for database operations
            result = await session.execute(...)
            await session.commit()
            return JobResult(success=True)


# Handler with service that provides user context
class UserActionHandler(JobHandler):
    def __init__(self, user_service: Any, action_service: Any):
        self.user_service = user_service
        self.action_service = action_service

    @property
    def job_type(self) -> str:
        return "user.action"

    async def handle(self, job: Job) -> JobResult:
        user = await self.user_service.get_user(job.payload["user_id"])
        result = await self.action_service.perform_action(user, job.payload["action"])
        return JobResult(success=True, result_data=result)


# What happens if on_failure raises an exception?
class CautiousCleanupHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "cleanup.cautious"

    async def on_failure(self, job: Job, error: Exception) -> None:
        try:
            # Attempt cleanup
            await self.cleanup_service.cleanup(job.id)
        except Exception as e:
            # Exception is logged but doesn't affect retry logic
            logger.error("cleanup_failed", error=str(e))
        # Job will still be retried or moved to dead letter based on retry count


# The on_failure of the method reference
class AlertingHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "alert.needed"

    async def on_failure(self, job: Job, error: Exception) -> None:
        """Log failure and send alert if job exhausted retries."""
        logger.error(
            "job_failed",
            job_id=str(job.id),
            job_type=job.job_type,
            error=str(error),
            retry_count=job.retry_count,
            max_retries=job.max_retries,
        )

        # Send alert if job exhausted all retries
        if job.retry_count >= job.max_retries:
            await self.alert_service.send_alert(
                level="error",
                message=f"Job {job.id} failed after {job.max_retries} retries",
                context={"job_type": job.job_type, "error": str(error), "payload": job.payload},
            )


# How do I implement different handlers for the same job type?
# ✅ GOOD - Different job types
class SmsJobHandler(JobHandler):
    def __init__(self, sms_service: Any):
        self.sms_service = sms_service

    @property
    def job_type(self) -> str:
        return "sms.send"

    async def handle(self, job: Job) -> JobResult:
        await self.sms_service.send(job.payload["number"])
        return JobResult(success=True)


# ✅ GOOD - Use payload to control behavior
class NotificationHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "notification.send"

    async def handle(self, job: Job) -> JobResult:
        notification_type = job.payload["type"]

        if notification_type == "email":
            return await self.send_email(job.payload)
        elif notification_type == "sms":
            return await self.send_sms(job.payload)
        elif notification_type == "push":
            return await self.send_push(job.payload)


# How do I handle long-running jobs that might exceed worker timeouts?
# ✅ GOOD - Chunked processing
class DataProcessingHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "data.process_batch"

    async def handle(self, job: Job) -> JobResult:
        batch_id = job.payload["batch_id"]
        offset = job.payload.get("offset", 0)
        chunk_size = 1000

        # Process one chunk
        records = await self.fetch_records(batch_id, offset, chunk_size)
        processed = await self.process_records(records)

        # If more records exist, create next job
        if len(records) == chunk_size:
            await self.job_creator.create_job(
                job_type="data.process_batch",
                payload={"batch_id": batch_id, "offset": offset + chunk_size},
            )

        return JobResult(success=True, result_data={"processed": len(processed), "offset": offset})


# How do I implement a dead letter queue handler?
class DeadLetterHandler(JobHandler):
    """Handler for processing dead letter jobs."""

    @property
    def job_type(self) -> str:
        return "system.deadletter.process"

    async def handle(self, job: Job) -> JobResult:
        """Analyze and potentially requeue dead letter jobs."""
        dead_job_id = job.payload["dead_job_id"]

        # Get the dead letter job
        dead_job = await self.job_queue.get_job(dead_job_id)

        if not dead_job:
            return JobResult(success=True)  # Already processed

        # Analyze why it failed
        error_type = self._analyze_error(dead_job.error_message)

        # Log to monitoring system
        await self.monitoring_service.log_dead_letter(
            job_type=dead_job.job_type, error_type=error_type, payload=dead_job.payload
        )

        # Optionally requeue if error was transient
        if error_type == "transient":
            await self.job_queue.enqueue(dead_job)

        return JobResult(
            success=True, result_data={"analyzed": True, "requeued": error_type == "transient"}
        )

    async def on_failure(self, job: Job, error: Exception) -> None:
        """Alert if dead letter processing fails."""
        await self.alert_service.send_critical_alert(
            "Dead letter handler failed", context={"job_id": str(job.id), "error": str(error)}
        )
