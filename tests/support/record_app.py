"""A handler that ends each attempt in another way, as its payload says: for records of attempts."""

from __future__ import annotations

import ctypes
import os
import signal
import time

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

FRAMES = 60
LARGE = 64 * 2**20


def fall(depth: int) -> None:
    """Crash far below the handler."""
    if depth == 0:
        ctypes.string_at(0)
    fall(depth - 1)


class Ending(JobHandler):
    """`test.ending`: prints, then does what `payload["ends"]` says for this attempt."""

    job_type = "test.ending"

    async def handle(self, job: Job) -> JobResult:
        ends = job.payload["ends"]
        end = ends[min(job.retry_count, len(ends) - 1)]
        for number in range(100):
            print(f"{end} line {number}")
        match end:
            case "fall":
                hoard = bytearray(LARGE)
                hoard[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(
                    range(0, LARGE, os.sysconf("SC_PAGE_SIZE"))
                )
                until = time.process_time() + 0.1
                while time.process_time() < until:
                    pass
                fall(FRAMES - 1)
            case "raise":
                raise ValueError("not this time")
            case "leave":
                os._exit(7)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "block":
                time.sleep(60)
        return JobResult(success=True)


app = [Ending()]
