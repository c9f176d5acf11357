"""The handlers of the user's description, under "Common Patterns", as they stand there.

Only imports were added. Where an example uses something that it does not define, a test supplies
it in a subclass.
"""

import asyncio
from datetime import datetime
from typing import Any

from portico.exceptions import ValidationError
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.utils.logging import get_logger

logger = get_logger(__name__)


class EmailJobHandler(JobHandler):
    """Handler for sending emails asynchronously."""

    def __init__(self, email_service: Any):
        self.email_service = email_service

    @property
    def job_type(self) -> str:
        return "email.send"

    async def handle(self, job: Job) -> JobResult:
        """Send email from job payload."""
        try:
            recipient = job.payload["recipient"]
            subject = job.payload["subject"]
            body = job.payload["body"]
            template_id = job.payload.get("template_id")

            logger.info("sending_email", job_id=str(job.id), recipient=recipient)

            if template_id:
                # Use template
                await self.email_service.send_templated_email(
                    to=recipient,
                    template_id=template_id,
                    variables=job.payload.get("variables", {}),
                )
            else:
                # Direct email
                await self.email_service.send_email(to=recipient, subject=subject, body=body)

            return JobResult(
                success=True,
                result_data={"sent_at": datetime.now().isoformat(), "recipient": recipient},
            )

        except Exception as e:
            logger.error("email_send_failed", job_id=str(job.id), error=str(e))
            return JobResult(success=False, error=e, result_data={})

    async def on_failure(self, job: Job, error: Exception) -> None:
        """Log email send failures."""
        logger.error(
            "email_job_failed",
            job_id=str(job.id),
            recipient=job.payload.get("recipient"),
            error=str(error),
            retry_count=job.retry_count,
        )

        # Alert if exhausted retries
        if job.retry_count >= job.max_retries:
            await self.email_service.send_admin_alert(
                subject="Email Job Failed",
                body=f"Failed to send email after {job.max_retries} retries",
            )


class DataImportJobHandler(JobHandler):
    """Handler for importing data from external sources."""

    def __init__(self, import_service: Any, storage_service: Any):
        self.import_service = import_service
        self.storage_service = storage_service

    @property
    def job_type(self) -> str:
        return "data.import"

    async def handle(self, job: Job) -> JobResult:
        """Import data from source URL."""
        try:
            # Validate payload
            source_url = job.payload.get("source_url")
            if not source_url:
                raise ValidationError("source_url is required")

            import_format = job.payload.get("format", "csv")
            user_id = job.payload.get("user_id")

            logger.info(
                "starting_data_import",
                job_id=str(job.id),
                source_url=source_url,
                format=import_format,
            )

            # Download and parse data
            data = await self.import_service.fetch_data(source_url)
            parsed = await self.import_service.parse_data(data, import_format)

            # Store results
            result = await self.storage_service.store_import(
                data=parsed, user_id=user_id, metadata=job.metadata
            )

            logger.info("data_import_completed", job_id=str(job.id), records_imported=len(parsed))

            return JobResult(
                success=True,
                result_data={
                    "records_imported": len(parsed),
                    "import_id": str(result.id),
                    "completed_at": datetime.now().isoformat(),
                },
            )

        except ValidationError as e:
            # Don't retry validation errors
            logger.error("validation_error", job_id=str(job.id), error=str(e))
            return JobResult(success=False, error=e, result_data={})

        except Exception as e:
            # Retry other errors
            logger.error("import_error", job_id=str(job.id), error=str(e))
            return JobResult(success=False, error=e, result_data={})

    async def on_failure(self, job: Job, error: Exception) -> None:
        """Clean up and notify on import failure."""
        # Clean up partial imports
        if "import_id" in job.metadata:
            await self.storage_service.cleanup_failed_import(job.metadata["import_id"])

        # Notify user if specified
        if "user_id" in job.payload:
            await self.notify_import_failure(
                job.payload["user_id"], job.payload.get("source_url"), error
            )


class ReportJobHandler(JobHandler):
    """Handler for generating reports."""

    def __init__(self, report_service: Any, file_storage: Any):
        self.report_service = report_service
        self.file_storage = file_storage

    @property
    def job_type(self) -> str:
        return "report.generate"

    async def handle(self, job: Job) -> JobResult:
        """Generate report and store file."""
        try:
            report_type = job.payload["report_type"]
            start_date = job.payload["start_date"]
            end_date = job.payload["end_date"]
            user_id = job.payload["user_id"]

            logger.info(
                "generating_report",
                job_id=str(job.id),
                report_type=report_type,
                date_range=f"{start_date} to {end_date}",
            )

            # Generate report (could take several minutes)
            report_data = await self.report_service.generate_report(
                report_type=report_type,
                start_date=start_date,
                end_date=end_date,
                filters=job.payload.get("filters", {}),
            )

            # Store report file
            file_path = await self.file_storage.store_report(
                data=report_data,
                filename=f"{report_type}_{start_date}_{end_date}.pdf",
                user_id=user_id,
            )

            logger.info("report_generated", job_id=str(job.id), file_path=file_path)

            return JobResult(
                success=True,
                result_data={
                    "file_path": file_path,
                    "report_type": report_type,
                    "generated_at": datetime.now().isoformat(),
                    "size_bytes": len(report_data),
                },
            )

        except Exception as e:
            logger.error("report_generation_failed", job_id=str(job.id), error=str(e))
            return JobResult(success=False, error=e, result_data={})

    async def on_failure(self, job: Job, error: Exception) -> None:
        """Notify user of report generation failure."""
        user_id = job.payload.get("user_id")

        if user_id and job.retry_count >= job.max_retries:
            # Send notification about failed report
            await self.notification_service.send_notification(
                user_id=user_id,
                type="report_failed",
                message=f"Report generation failed: {error}",
                metadata={"job_id": str(job.id)},
            )


class WebhookJobHandler(JobHandler):
    """Handler for sending webhooks to external services."""

    def __init__(self, http_client: Any):
        self.http_client = http_client

    @property
    def job_type(self) -> str:
        return "webhook.send"

    async def handle(self, job: Job) -> JobResult:
        """Send webhook with exponential backoff."""
        url = job.payload["url"]
        payload = job.payload["payload"]
        max_attempts = 3

        for attempt in range(max_attempts):
            try:
                logger.info("sending_webhook", job_id=str(job.id), url=url, attempt=attempt + 1)

                response = await self.http_client.post(url, json=payload, timeout=30)

                if response.status_code < 500:
                    # Success or client error (don't retry)
                    return JobResult(
                        success=response.status_code < 400,
                        result_data={
                            "status_code": response.status_code,
                            "response": response.text[:1000],
                        },
                    )

                # Server error - retry with backoff
                if attempt < max_attempts - 1:
                    await asyncio.sleep(2**attempt)  # 1s, 2s, 4s

            except Exception as e:
                logger.warning(
                    "webhook_attempt_failed", job_id=str(job.id), attempt=attempt + 1, error=str(e)
                )

                if attempt < max_attempts - 1:
                    await asyncio.sleep(2**attempt)

        # All attempts failed
        return JobResult(
            success=False,
            error=Exception("Webhook failed after all attempts"),
            result_data={"attempts": max_attempts},
        )

    async def on_failure(self, job: Job, error: Exception) -> None:
        """Log webhook failures for monitoring."""
        logger.error(
            "webhook_permanently_failed",
            job_id=str(job.id),
            url=job.payload.get("url"),
            retry_count=job.retry_count,
            error=str(error),
        )
