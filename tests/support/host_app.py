"""A job that takes a moment, and says on which host it was executed."""

from __future__ import annotations

import asyncio
import os

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from tests.support.fault_app import write

SECONDS = 0.02


class Brief(JobHandler):
    job_type = "host.brief"

    async def handle(self, job: Job) -> JobResult:
        write("RAN", job, os.environ["HOST"])
        await asyncio.sleep(SECONDS)
        return JobResult(success=True)


app = [Brief()]
