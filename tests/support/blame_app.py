"""Tiny jobs of one type, some of which kill their worker: `blame.tiny`.

Every start is one record in `$LEDGER`: the job's id and the instant, 24 bytes, written at once.
"""

from __future__ import annotations

import os
import signal
import struct
import time

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

RECORD = struct.Struct("16sQ")
"""A job's id, and nanoseconds of the machine's monotonic clock."""


class Tiny(JobHandler):
    job_type = "blame.tiny"

    def __init__(self) -> None:
        self._ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def handle(self, job: Job) -> JobResult:
        os.write(self._ledger, RECORD.pack(job.id.bytes, time.monotonic_ns()))
        if job.payload:
            os.kill(os.getpid(), signal.SIGKILL)
        return JobResult(success=True)


def app() -> list[JobHandler]:
    return [Tiny()]
