"""Handlers that leave something behind: memory, and a process of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

KEPT: list[bytearray] = []


class Grow(JobHandler):
    job_type = "test.grow"

    async def handle(self, job: Job) -> JobResult:
        KEPT.append(bytearray(b"x" * (job.payload["megabytes"] << 20)))
        while not Path(job.payload["until"]).exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        return JobResult(success=True, result_data={"pid": os.getpid(), "kept": len(KEPT)})


class Orphan(JobHandler):
    job_type = "test.orphan"

    async def handle(self, job: Job) -> JobResult:
        """Start a process in a session of its own, whose parent ends at once."""
        made = subprocess.run(
            ["/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"],
            capture_output=True, text=True, check=True, start_new_session=True,
        )  # fmt: skip
        return JobResult(success=True, result_data={"pid": int(made.stdout)})


app = [Grow(), Orphan()]
