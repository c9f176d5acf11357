"""`system.deadletter.process`: looks at a job that ended badly and gives it another chance."""

from __future__ import annotations

import re
from typing import Literal
from uuid import UUID

import msgspec

from portico.examples.request import parse
from portico.exceptions import ConflictError, ValidationError
from portico.ports.job import Job, JobResult, JobStatus
from portico.ports.job_handler import JobHandler
from portico.ports.worker_context import QueueView
from portico.utils.logging import get_logger

logger = get_logger(__name__)

Verdict = Literal["transient", "permanent"]

PERMANENT = re.compile(
    r"worker .*(died|killed|exited)|past its deadline|not acceptable|invalid|not found|required"
    r"|denied|unauthorized|forbidden|no handler",
    re.IGNORECASE,
)
TRANSIENT = re.compile(
    r"timed?[ -]?out|connect|reset by peer|broken pipe|unreachable|unavailable|temporar"
    r"|too many requests|rate limit|try again|deadlock|is locked|name resolution"
    r"|\b(429|502|503|504)\b",
    re.IGNORECASE,
)


class DeadLetterRequest(msgspec.Struct, frozen=True):
    """The payload."""

    dead_job_id: UUID


class DeadLetterHandler(JobHandler):
    """Redrives a dead-lettered job when its error was transient.

    A job that is gone or that someone else has redriven already is a success: nothing is left
    to do.
    """

    def __init__(self, job_queue: QueueView) -> None:
        self._queue = job_queue

    @property
    def job_type(self) -> str:
        return "system.deadletter.process"

    async def handle(self, job: Job) -> JobResult:
        try:
            request = parse(job.payload, DeadLetterRequest)
        except ValidationError as error:
            return JobResult(success=False, error=error)
        dead = await self._queue.get_job(request.dead_job_id)
        if dead is None or dead.status not in {JobStatus.FAILED, JobStatus.DEAD_LETTER}:
            return JobResult(success=True, result_data={"analyzed": False, "requeued": False})
        verdict = verdict_on(dead)
        logger.warning(
            "dead_letter",
            dead_job_id=str(dead.id),
            dead_job_type=dead.job_type,
            error=dead.error_message,
            verdict=verdict,
        )
        requeued = verdict == "transient" and await self._redrive(dead)
        return JobResult(
            success=True,
            result_data={"analyzed": True, "requeued": requeued, "error_type": verdict},
        )

    async def _redrive(self, dead: Job) -> bool:
        try:
            await self._queue.enqueue(dead)
        except ConflictError:
            return False  # someone was faster
        return True

    async def on_failure(self, job: Job, error: Exception) -> None:
        logger.critical("dead_letter_handler_failed", job_id=str(job.id), error=str(error))


def verdict_on(dead: Job) -> Verdict:
    """Judge by the error's text; what is not known to pass by itself is permanent.

    A job that took its worker down, or ran past its deadline, would do so again.
    """
    message = dead.error_message or ""
    if PERMANENT.search(message) or not TRANSIENT.search(message):
        return "permanent"
    return "transient"
