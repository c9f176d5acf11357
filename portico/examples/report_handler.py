"""`report.generate`: a page and a document about one slice of an import."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from portico.examples.request import parse
from portico.exceptions import ResourceNotFoundError, ValidationError
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.utils.logging import get_logger

logger = get_logger(__name__)


class ReportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The payload: which import, and which of its flights (`subject` is a code or a month)."""

    import_id: str
    report_type: Literal["overview", "carrier", "origin", "destination", "month"] = "overview"
    subject: str | int = ""
    output: str = "portico-output"


class WrittenReport(msgspec.Struct, frozen=True):
    """The files of a report, how many flights it is about, and how many of those were on time."""

    title: str
    page: Path
    document: Path
    rows: int
    on_time: float | None


class ReportService(Protocol):
    """What the handler needs to make a report."""

    def lacking(self, request: ReportRequest) -> str:
        """What of the import is not there yet, in words; empty when it is complete."""

    def generate(self, request: ReportRequest) -> WrittenReport:
        """Make the report and write its files."""


class ReportHandler(JobHandler):
    """Makes a report, once its import is complete; until then it asks to be tried again.

    It computes without yielding: that is what a worker process is for.
    """

    def __init__(self, report_service: ReportService) -> None:
        self._reports = report_service

    @property
    def job_type(self) -> str:
        return "report.generate"

    async def handle(self, job: Job) -> JobResult:
        try:
            request = parse(job.payload, ReportRequest)
            if lacking := self._reports.lacking(request):
                error = ResourceNotFoundError(f"import {request.import_id}: {lacking}")
                return JobResult(success=False, error=error, retryable=True)
            written = self._reports.generate(request)
        except (ValidationError, ResourceNotFoundError) as error:
            return JobResult(success=False, error=error)
        return JobResult(
            success=True,
            result_data={
                "title": written.title,
                "report_type": request.report_type,
                "subject": str(request.subject),
                "rows": written.rows,
                "on_time": written.on_time,
                "file_path": str(written.page),
                "document_path": str(written.document),
                "size_bytes": written.page.stat().st_size + written.document.stat().st_size,
                "generated_at": datetime.now(UTC).isoformat(),
            },
        )

    async def on_failure(self, job: Job, error: Exception) -> None:
        logger.error(
            "report_failed",
            job_id=str(job.id),
            report_type=job.payload.get("report_type"),
            subject=job.payload.get("subject"),
            error=str(error),
            final=job.retry_count >= job.max_retries,
        )
