"""Jobs for tests."""

from __future__ import annotations

from uuid import UUID

from portico.ports.job import TERMINAL, Job
from portico.ports.job_queue import JobQueueAdapter
from portico.testing.jobs import make_job
from tests.support.waiting import PATIENCE, wait_until

__all__ = ["ended", "make_job"]


async def ended(queue: JobQueueAdapter, job_id: UUID, timeout: float = PATIENCE) -> Job:
    """Wait until the job is in a terminal status, and return it."""

    async def terminal() -> Job | None:
        job = await queue.get_job(job_id)
        return job if job is not None and job.status in TERMINAL else None

    job = await wait_until(terminal, timeout)
    assert job is not None
    return job
