"""The job that does nothing: what it costs is what Portico costs."""

from __future__ import annotations

import json

from portico.kits.job.new_job import new_id
from portico.ports.draft import Draft
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

JOB_TYPE = "bench.noop"
APP = "benchmarks.noop:app"
PAYLOAD_BYTES = 120

_FRAME = len(json.dumps({"data": ""}, separators=(",", ":")))
PAYLOAD = {"data": "x" * (PAYLOAD_BYTES - _FRAME)}


class NoopHandler(JobHandler):
    @property
    def job_type(self) -> str:
        return JOB_TYPE

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True)


app = {JOB_TYPE: NoopHandler()}


def drafts(count: int) -> list[Draft]:
    """That many jobs for the queue `default`, checked and encoded."""
    template = Draft.of(Job(new_id(), "default", JOB_TYPE, PAYLOAD))
    return [template._replace(id=new_id()) for _ in range(count)]
