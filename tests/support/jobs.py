"""Jobs for tests."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from portico.ports.job import TERMINAL, Job
from portico.ports.job_queue import JobQueueAdapter
from tests.support.waiting import wait_until


def make_job(**overrides: Any) -> Job:
    """A job that every store accepts, with some fields set otherwise."""
    fields: dict[str, Any] = {
        "id": uuid4(),
        "queue_name": "default",
        "job_type": "test.job",
        "payload": {},
    }
    return Job(**{**fields, **overrides})


async def ended(queue: JobQueueAdapter, job_id: UUID, timeout: float = 10.0) -> Job:
    """Wait until the job is in a terminal status, and return it."""

    async def terminal() -> Job | None:
        job = await queue.get_job(job_id)
        return job if job is not None and job.status in TERMINAL else None

    job = await wait_until(terminal, timeout)
    assert job is not None
    return job
