"""What the store knows of the jobs in the end, read through the port."""

from __future__ import annotations

from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter, JobRecord

_PAGE = 1000


async def records(queue: JobQueueAdapter) -> dict[str, JobRecord]:
    """Every job with its counters, read through the port."""
    found: dict[str, JobRecord] = {}
    cursor: str | None = None
    while True:
        page = await queue.list_jobs(JobFilter(), _PAGE, cursor)
        for job in page.jobs:
            record = await queue.inspect(job.id)
            if record is not None:
                found[str(job.id)] = record
        cursor = page.cursor
        if cursor is None:
            return found


async def standing(queue: JobQueueAdapter) -> tuple[int, int]:
    """How many jobs have ended, and how many have not."""
    ended = left = 0
    for stats in (await queue.all_stats()).values():
        done = stats.completed_count + stats.failed_count + stats.dead_letter_count
        ended += done
        left += stats.total - done
    return ended, left
