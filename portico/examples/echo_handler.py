"""The smallest handler: for first steps and for benchmarks."""

from __future__ import annotations

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler


class EchoHandler(JobHandler):
    """Returns the payload as the result."""

    @property
    def job_type(self) -> str:
        return "system.echo"

    async def handle(self, job: Job) -> JobResult:
        return JobResult(success=True, result_data=job.payload)
