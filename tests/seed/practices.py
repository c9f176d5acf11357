"""The examples of the user's description under "Best Practices", as they stand there.

Where the description shows a method alone, a class was put around it and named after the practice;
what an example uses without defining it is supplied by the tests.
"""

from typing import Any

from portico.exceptions import DatabaseError, ResourceNotFoundError, ValidationError
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.utils.logging import get_logger

logger = get_logger(__name__)


# 1. Keep Handlers Stateless
# ✅ GOOD - Handler is stateless
class StatelessEmailHandler(JobHandler):
    def __init__(self, email_service: Any):
        self.email_service = email_service  # Dependency injection

    @property
    def job_type(self) -> str:
        return "email.send"

    async def handle(self, job: Job) -> JobResult:
        # All data from job payload
        recipient = job.payload["recipient"]
        await self.email_service.send(recipient)
        return JobResult(success=True)


# ❌ BAD - Handler maintains state
class StatefulEmailHandler(JobHandler):
    def __init__(self):
        self.sent_count = 0  # ❌ State

    @property
    def job_type(self) -> str:
        return "email.send"

    async def handle(self, job: Job) -> JobResult:
        self.sent_count += 1  # ❌ Won't work with multiple workers
        return JobResult(success=True)


# 2. Validate Payload Early
# ✅ GOOD - Validate immediately
class ValidatingPaymentHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "payment.process"

    async def handle(self, job: Job) -> JobResult:
        # Validate required fields
        if not job.payload.get("user_id"):
            return JobResult(success=False, error=ValidationError("user_id required"))

        if not job.payload.get("amount") or job.payload["amount"] <= 0:
            return JobResult(success=False, error=ValidationError("amount must be positive"))

        # Now proceed with expensive operations
        result = await self.process_payment(job.payload)
        return JobResult(success=True, result_data=result)


# ❌ BAD - Validation after expensive work
class LateValidatingHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "payment.process"

    async def handle(self, job: Job) -> JobResult:
        # Do expensive work first
        data = await self.fetch_large_dataset()
        processed = await self.process_data(data)

        # Validate late ❌
        if not job.payload.get("user_id"):
            raise ValidationError("user_id required")


# 3. Use Structured Logging
# ✅ GOOD - Structured logging with context
class LoggingHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "logged.process"

    async def handle(self, job: Job) -> JobResult:
        logger.info(
            "processing_job",
            job_id=str(job.id),
            job_type=job.job_type,
            retry_count=job.retry_count,
            user_id=job.payload.get("user_id"),
        )

        try:
            result = await self.process(job)

            logger.info("job_completed", job_id=str(job.id), duration_ms=result.duration)

            return JobResult(success=True, result_data=result)

        except Exception as e:
            logger.error("job_failed", job_id=str(job.id), error=str(e), exc_info=True)
            return JobResult(success=False, error=e)


# ❌ BAD - Unstructured logging
class PrintingHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "printed.process"

    async def handle(self, job: Job) -> JobResult:
        print(f"Processing job {job.id}")  # ❌ Not structured
        result = await self.process(job)
        return JobResult(success=True)


# 4. Return JobResult, Don't Raise Exceptions (Usually)
# ✅ GOOD - Return JobResult for expected failures
class ReturningPaymentHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "payment.charge"

    async def handle(self, job: Job) -> JobResult:
        try:
            user = await self.get_user(job.payload["user_id"])

            if not user:
                # Expected failure - return JobResult
                return JobResult(
                    success=False, error=ResourceNotFoundError("User not found"), result_data={}
                )

            if user.balance < job.payload["amount"]:
                # Expected failure - return JobResult
                return JobResult(
                    success=False, error=ValidationError("Insufficient balance"), result_data={}
                )

            # Process payment
            result = await self.process_payment(user, job.payload["amount"])
            return JobResult(success=True, result_data=result)

        except DatabaseError as e:
            # Unexpected error - re-raise for retry
            raise


# ❌ BAD - Raising for expected conditions
class RaisingPaymentHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "payment.charge"

    async def handle(self, job: Job) -> JobResult:
        user = await self.get_user(job.payload["user_id"])

        if not user:
            raise ResourceNotFoundError("User not found")  # ❌ Will retry unnecessarily

        if user.balance < job.payload["amount"]:
            raise ValidationError("Insufficient balance")  # ❌ Will retry unnecessarily


# 5. Use on_failure for Cleanup
# ✅ GOOD - on_failure for cleanup
class CleaningHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "cleanup.needed"

    async def on_failure(self, job: Job, error: Exception) -> None:
        # Clean up resources
        if "temp_file" in job.metadata:
            await self.cleanup_temp_file(job.metadata["temp_file"])

        # Send alerts if exhausted retries
        if job.retry_count >= job.max_retries:
            await self.alert_service.send_alert(
                level="error",
                message=f"Job {job.id} failed permanently",
                context={"error": str(error)},
            )

        # Log for monitoring
        logger.error(
            "job_failed",
            job_id=str(job.id),
            error=str(error),
            will_retry=job.retry_count < job.max_retries,
        )


# ❌ BAD - on_failure for business logic
class RefundingHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "payment.refund"

    async def on_failure(self, job: Job, error: Exception) -> None:
        # Don't do business logic in on_failure ❌
        await self.refund_payment(job.payload["payment_id"])
        # This runs on EVERY failure, including retries!
        # Could refund the same payment multiple times


# 6. Make Handlers Idempotent When Possible
# ✅ GOOD - Idempotent handler
class IdempotentPaymentHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "payment.process"

    async def handle(self, job: Job) -> JobResult:
        payment_id = job.payload["payment_id"]

        # Check if already processed
        existing = await self.payment_service.get_payment(payment_id)
        if existing and existing.status == "completed":
            logger.info("payment_already_processed", payment_id=payment_id)
            return JobResult(
                success=True, result_data={"payment_id": payment_id, "already_processed": True}
            )

        # Process payment with idempotency key
        result = await self.payment_service.process_payment(
            payment_id=payment_id,
            idempotency_key=str(job.id),  # Use job ID
        )

        return JobResult(success=True, result_data=result)


# ❌ BAD - Not idempotent
class RepeatingPaymentHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return "payment.process"

    async def handle(self, job: Job) -> JobResult:
        # Always creates new payment, even on retry ❌
        payment = await self.payment_service.create_payment(amount=job.payload["amount"])
        return JobResult(success=True)


# 7. Use Dependency Injection
# ✅ GOOD - Dependencies injected
class InjectedEmailHandler(JobHandler):
    def __init__(self, email_service: Any, template_service: Any, audit_service: Any):
        self.email_service = email_service
        self.template_service = template_service
        self.audit_service = audit_service

    @property
    def job_type(self) -> str:
        return "email.template"

    async def handle(self, job: Job) -> JobResult:
        # Use injected services
        template = await self.template_service.get(job.payload["template_id"])
        await self.email_service.send(template)
        await self.audit_service.log("email_sent")
        return JobResult(success=True)
