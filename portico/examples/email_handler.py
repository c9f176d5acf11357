"""`email.send`: one message to one recipient."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Protocol

import msgspec

from portico.examples.request import parse
from portico.exceptions import ValidationError
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.utils.logging import get_logger

logger = get_logger(__name__)

Text = Annotated[str, msgspec.Meta(min_length=1)]


class EmailRequest(msgspec.Struct, frozen=True):
    """The payload: either a subject and a body, or a template and its variables."""

    recipient: Text
    subject: Text | None = None
    body: Text | None = None
    template_id: Text | None = None
    variables: dict[str, str | int | float] = {}

    def __post_init__(self) -> None:
        if self.template_id is None and (self.subject is None or self.body is None):
            raise ValueError("give subject and body, or template_id")


class EmailService(Protocol):
    """What the handler needs of a mail service; `key` identifies the message for ever."""

    async def send_email(self, *, to: str, subject: str, body: str, key: str) -> None: ...

    async def send_templated_email(
        self, *, to: str, template_id: str, variables: dict[str, str | int | float], key: str
    ) -> None: ...

    async def send_admin_alert(self, *, subject: str, body: str) -> None: ...


class EmailHandler(JobHandler):
    """Sends a message. A server that is down or busy asks for a retry, a refusal is final."""

    def __init__(self, email_service: EmailService) -> None:
        self._email = email_service

    @property
    def job_type(self) -> str:
        return "email.send"

    async def handle(self, job: Job) -> JobResult:
        try:
            request = parse(job.payload, EmailRequest)
            await self._send(request, key=str(job.id))
        except ValidationError as error:
            return JobResult(success=False, error=error)
        logger.info("email_sent", job_id=str(job.id), recipient=request.recipient)
        sent_at = datetime.now(UTC).isoformat()
        return JobResult(
            success=True, result_data={"sent_at": sent_at, "recipient": request.recipient}
        )

    async def _send(self, request: EmailRequest, key: str) -> None:
        if request.template_id is not None:
            await self._email.send_templated_email(
                to=request.recipient,
                template_id=request.template_id,
                variables=request.variables,
                key=key,
            )
        else:
            await self._email.send_email(
                to=request.recipient,
                subject=request.subject or "",
                body=request.body or "",
                key=key,
            )

    async def on_failure(self, job: Job, error: Exception) -> None:
        logger.error(
            "email_job_failed",
            job_id=str(job.id),
            recipient=job.payload.get("recipient"),
            error=str(error),
            retry_count=job.retry_count,
        )
        if job.retry_count >= job.max_retries:
            await self._email.send_admin_alert(
                subject="Email job failed",
                body=f"Job {job.id} failed after {job.max_retries} retries: {error}",
            )
