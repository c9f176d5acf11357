"""`webhook.send`: one JSON document to one URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from portico.examples.http_sender import Answer
from portico.examples.request import parse
from portico.exceptions import ExternalServiceError, ValidationError
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.utils.logging import get_logger

logger = get_logger(__name__)

ATTEMPTS = 3
SHOWN = 1000
"""Characters of the answer that are kept in the result."""


class WebhookRequest(msgspec.Struct, frozen=True):
    """The payload."""

    url: Annotated[str, msgspec.Meta(max_length=2048)]
    payload: Any
    headers: dict[str, str] = {}

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"url is {self.url!r}; give one that starts with http:// or https://")


class HttpClient(Protocol):
    """What the handler needs of an HTTP client."""

    async def post(self, url: str, json: Any, headers: Mapping[str, str]) -> Answer: ...


class WebhookHandler(JobHandler):
    """Delivers a webhook: three attempts within the job, and then the queue's own retries.

    A short outage costs seconds that way and a long one is sat out by the queue. An answer below
    500 is final. Every delivery carries the job's id in `Idempotency-Key`, for a job that is
    delivered twice.
    """

    def __init__(
        self,
        http_client: HttpClient,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._http = http_client
        self._sleep = sleep

    @property
    def job_type(self) -> str:
        return "webhook.send"

    async def handle(self, job: Job) -> JobResult:
        try:
            request = parse(job.payload, WebhookRequest)
            return await self._deliver(request, key=str(job.id))
        except ValidationError as error:
            return JobResult(success=False, error=error)

    async def _deliver(self, request: WebhookRequest, key: str) -> JobResult:
        headers = {**request.headers, "Idempotency-Key": key}
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._sleep(2.0 ** (attempt - 1))
            try:
                answer = await self._http.post(request.url, request.payload, headers)
            except ExternalServiceError as error:
                problem = str(error)
            else:
                if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return _result(answer, attempt + 1)
                problem = f"the server answered {answer.status}"
            logger.warning("webhook_attempt_failed", job_id=key, request=attempt + 1, error=problem)
        return JobResult(
            success=False,
            error=ExternalServiceError(f"no delivery after {ATTEMPTS} attempts: {problem}"),
            result_data={"attempts": ATTEMPTS},
            retryable=True,
        )

    async def on_failure(self, job: Job, error: Exception) -> None:
        logger.error(
            "webhook_failed",
            job_id=str(job.id),
            url=job.payload.get("url"),
            retry_count=job.retry_count,
            error=str(error),
        )


def _result(answer: Answer, attempts: int) -> JobResult:
    data = {
        "status_code": answer.status,
        "response": answer.text[:SHOWN],
        "attempts": attempts,
    }
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return JobResult(success=True, result_data=data)
    error = ExternalServiceError(f"the server refused it with {answer.status}")
    return JobResult(success=False, error=error, result_data=data)
