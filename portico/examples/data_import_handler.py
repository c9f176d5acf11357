"""`data.import`: a table, chunk by chunk, each chunk a job that enqueues the next."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid5

import msgspec

from portico.examples.imports.datasets import DATASETS, Cleaned, Cleaner, Dataset, free_form
from portico.examples.imports.source import Downloader, local_copy, packaged, read_chunk
from portico.examples.imports.store import ImportStore, Part
from portico.examples.request import parse
from portico.exceptions import ConflictError, ValidationError
from portico.ports.job import Job, JobResult
from portico.ports.job_creator import JobCreator
from portico.ports.job_handler import JobHandler
from portico.utils.logging import get_logger

logger = get_logger(__name__)

SHOWN = 5
"""Rejected rows that the result tells the reasons of."""

Count = Annotated[int, msgspec.Meta(ge=0)]
DatasetName = Literal["flights", "weather", "planes", "airports", "airlines"]


class FollowUp(msgspec.Struct, frozen=True):
    """A job to create when the import is complete."""

    job_type: str
    payload: dict[str, Any]
    queue_name: str = "default"
    priority: int = 0


class ImportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The payload. `position` is the byte where row `offset` starts, when the chunk before knew."""

    dataset: DatasetName | None = None
    source_url: str | None = None
    format: Literal["csv"] = "csv"
    import_id: str | None = None
    offset: Count = 0
    position: Count | None = None
    chunk_size: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    output: str = "portico-output"
    then: list[FollowUp] = []

    def __post_init__(self) -> None:
        if self.dataset is None and self.source_url is None:
            raise ValueError("source_url is required, or one of the datasets as dataset")


class DataImportHandler(JobHandler):
    """Imports one chunk of a CSV source and enqueues the next one when this one was full."""

    def __init__(self, job_creator: JobCreator, http: Downloader) -> None:
        self._creator = job_creator
        self._http = http

    @property
    def job_type(self) -> str:
        return "data.import"

    async def handle(self, job: Job) -> JobResult:
        try:
            request = parse(job.payload, ImportRequest)
            return await self._import(job, request, request.import_id or str(job.id))
        except ValidationError as error:
            return JobResult(success=False, error=error)

    async def _import(self, job: Job, request: ImportRequest, import_id: str) -> JobResult:
        store = ImportStore(Path(request.output, "imports"))
        url = request.source_url or packaged(str(request.dataset))
        copy = store.source(import_id, request.dataset or "records")
        path = await local_copy(url, copy, self._http)
        chunk = read_chunk(path, request.offset, request.chunk_size, request.position)
        dataset = _dataset(request, chunk.header)
        cleaned = Cleaner(dataset, chunk.header).clean(chunk.records, request.offset)
        last = len(chunk.records) < request.chunk_size
        part = Part(request.offset, len(chunk.records), last)
        store.write(import_id, dataset, part, cleaned)
        if last:
            await self._finish(job, request)
            copy.unlink(missing_ok=True)
        else:
            await self._continue(job, request, import_id, chunk.position)
        return _result(import_id, dataset, part, cleaned)

    async def _continue(
        self, job: Job, request: ImportRequest, import_id: str, position: int
    ) -> None:
        offset = request.offset + request.chunk_size
        places = {"import_id": import_id, "offset": offset, "position": position}
        following = FollowUp(job.job_type, {**job.payload, **places}, job.queue_name, job.priority)
        await self._create(job, "next chunk", following)

    async def _finish(self, job: Job, request: ImportRequest) -> None:
        for number, follow_up in enumerate(request.then):
            await self._create(job, f"follow-up {number}", follow_up)

    async def _create(self, job: Job, role: str, new: FollowUp) -> None:
        """Create a job once, even when this one runs twice: its id follows from this one's."""
        try:
            await self._creator.create_job(
                new.job_type,
                new.payload,
                new.queue_name,
                new.priority,
                job_id=uuid5(job.id, role),
                created_by=job.created_by,
                metadata=job.metadata,
            )
        except ConflictError:
            logger.info("job_exists", job_id=str(job.id), role=role)

    async def on_failure(self, job: Job, error: Exception) -> None:
        logger.error(
            "import_failed",
            job_id=str(job.id),
            dataset=job.payload.get("dataset"),
            source_url=job.payload.get("source_url"),
            offset=job.payload.get("offset", 0),
            error=str(error),
        )


def _dataset(request: ImportRequest, header: list[str]) -> Dataset:
    return free_form(header) if request.dataset is None else DATASETS[request.dataset]


def _result(import_id: str, dataset: Dataset, part: Part, cleaned: Cleaned) -> JobResult:
    return JobResult(
        success=True,
        result_data={
            "import_id": import_id,
            "dataset": dataset.name,
            "offset": part.start,
            "records_imported": len(cleaned.rows),
            "records_rejected": len(cleaned.rejected),
            "rejections": cleaned.rejected[:SHOWN],
            "missing_values": cleaned.missing,
            "complete": part.last,
            "completed_at": datetime.now(UTC).isoformat(),
        },
    )
