"""Jobs of a known length that note when they ran, on the clock that all processes share."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import NamedTuple
from uuid import uuid4

from portico.ports.draft import Draft
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

APP = "benchmarks.timed:app"
SHORT, LONG = "bench.short", "bench.long"


class Ran(NamedTuple):
    """When a handler's first and last lines ran, in seconds of `time.monotonic()`."""

    started: float
    ended: float

    @classmethod
    def of(cls, result: Mapping[str, float]) -> Ran:
        """From what the handler returned."""
        return cls(result["started"], result["ended"])

    @classmethod
    def from_bytes(cls, result: bytes | None) -> Ran:
        """From what the store was given."""
        return cls.of(json.loads(result or b""))


class Timed(JobHandler):
    """Blocks its worker: `sleep` seconds without the processor, or `spin` steps of pure Python."""

    def __init__(self, job_type: str) -> None:
        self._job_type = job_type

    @property
    def job_type(self) -> str:
        return self._job_type

    async def handle(self, job: Job) -> JobResult:
        started = time.monotonic()
        if seconds := job.payload.get("sleep"):
            time.sleep(seconds)  # noqa: ASYNC251, TID251 - as a handler does that computes
        if steps := job.payload.get("spin"):
            spin(steps)
        return JobResult(success=True, result_data={"started": started, "ended": time.monotonic()})


app = [Timed(SHORT), Timed(LONG)]


def spin(steps: int) -> int:
    """So much work for one processor, however long that takes."""
    total = 0
    for step in range(steps):
        total = (total * 31 + step) % 1_000_003
    return total


def draft(job_type: str = SHORT, **payload: float) -> Draft:
    """One such job for the queue `default`."""
    return Draft.of(Job(uuid4(), "default", job_type, payload))
