"""What the store says about a job, where it must be there and its counters must add up."""

from __future__ import annotations

from uuid import UUID

from portico.ports.job_queue import JobQueueAdapter, JobRecord


async def record_of(queue: JobQueueAdapter, job_id: UUID) -> JobRecord:
    record = await queue.inspect(job_id)
    assert record is not None
    assert record.accounted
    return record


async def counts(queue: JobQueueAdapter, job_id: UUID) -> dict[str, int]:
    """The counters that are not 0, by their short names."""
    record = await record_of(queue, job_id)
    found = {
        "attempts": record.attempt,
        "retries": record.job.retry_count,
        "crashes": record.crash_count,
        "expiries": record.expiry_count,
        "releases": record.release_count,
    }
    return {name: count for name, count in found.items() if count}
