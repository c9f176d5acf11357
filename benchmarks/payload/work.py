"""Jobs of the largest payload that there may be, which return it."""

from __future__ import annotations

import json
from uuid import uuid4

from portico.ports.document import MAX_PAYLOAD
from portico.ports.draft import Draft
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

APP = "benchmarks.payload.work:app"
JOB_TYPE = "bench.echo"
DOCUMENT_BYTES = MAX_PAYLOAD
JOB_BYTES = 2 * DOCUMENT_BYTES
"""There and back."""

_FRAME = len(json.dumps({"data": ""}, separators=(",", ":")))


class EchoHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return JOB_TYPE

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True, result_data={"data": job.payload["data"]})


app = [EchoHandler()]


def drafts(count: int) -> list[Draft]:
    """That many jobs for the queue `default`; they share the bytes of one payload."""
    payload = {"data": "x" * (DOCUMENT_BYTES - _FRAME)}
    template = Draft.of(Job(uuid4(), "default", JOB_TYPE, payload))
    return [template._replace(id=uuid4()) for _ in range(count)]
