"""The leasing surface over the nine documented methods: what a small third-party adapter gets.

It works, but it promises less, and `LIMITATIONS` says in words what: without tokens nothing is
fenced, and without a surface of its own the store is asked job by job.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from portico.exceptions import ConflictError, NotSupportedError, ValidationError
from portico.ports import document
from portico.ports.bulk import Created
from portico.ports.creators import id_of, with_creator
from portico.ports.draft import Draft, drafted
from portico.ports.job import Job, JobStatus
from portico.ports.leasing import Answer, Exchange, Inserted, Lease, Receipt, Settlement, Transition

if TYPE_CHECKING:
    from portico.ports.job_queue import JobQueueAdapter

POLL = 0.05
"""Seconds between two looks at a store that cannot wake anyone."""

LIMITATIONS = {
    "insert": "bulk enqueueing stores the jobs one by one",
    "exchange": "settlements are not fenced: a late acknowledgement can end another attempt; "
    "results are not kept, and a released or crashed job uses up a retry",
    "wait": "new jobs are found by polling, 20 times a second",
    "renew": "leases are not renewed",
    "recover": "jobs of a supervisor that died stay RUNNING: recover them by hand",
    "request_cancel": "running jobs cannot be cancelled",
    "redrive": "failed and dead-lettered jobs cannot be redriven",
    "purge": "finished jobs cannot be purged",
    "get_result": "results are not kept",
    "inspect": "attempts cannot be inspected",
    "list_jobs": "jobs cannot be listed",
    "all_stats": "queues cannot be listed",
}

_AGAIN = {
    Transition.RETRY,
    Transition.RELEASE,
    Transition.INTERRUPT,
    Transition.SUSPECT,
    Transition.CRASH,
    Transition.SNOOZE,
}


async def insert(queue: JobQueueAdapter, drafts: Sequence[Draft]) -> list[Inserted | None]:
    """Enqueue one by one; a job that exists already is left as it was."""
    stored: list[Inserted | None] = []
    for draft in drafts:
        now = datetime.now(UTC)
        try:
            job = draft.stored(JobStatus.PENDING, now)
            job = await queue.enqueue(replace(job, created_at=None))
        except ConflictError:
            stored.append(None)
        else:
            stored.append(Inserted(job.status, job.created_at or now))
    return stored


async def enqueue_many(queue: JobQueueAdapter, jobs: Sequence[Job | Draft]) -> list[Created]:
    """Enqueue one by one; each has its own outcome. A delay goes by this machine's clock."""
    outcomes: list[Created] = []
    for one in jobs:
        try:
            draft = drafted(one)  # an adapter of another make may not check
            job = (
                one if isinstance(one, Job) else draft.stored(JobStatus.PENDING, datetime.now(UTC))
            )
            outcomes.append(Created(await queue.enqueue(_new(job))))
        except (ValidationError, ConflictError) as error:
            outcomes.append(Created(None, error))
    return outcomes


def not_within(queue: JobQueueAdapter, connection: object) -> NotSupportedError:
    """The error of a queue that is not in a database of the caller's."""
    kind = type(connection)
    return NotSupportedError(
        f"jobs cannot be created within a transaction of a {kind.__module__}.{kind.__qualname__}: "
        f"{type(queue).__name__} is not in a database. It takes a queue with a URL of sqlite:// or "
        "postgresql:// that is the connection's own database"
    )


def _new(job: Job) -> Job:
    """Without what `get_job` may have told of it: that would ask for a redrive."""
    return replace(job, status=JobStatus.PENDING, created_at=None)


async def exchange(
    queue: JobQueueAdapter, settlements: Sequence[Settlement], queues: Sequence[str], limit: int
) -> Exchange:
    """Settle one by one, then lease one by one without waiting."""
    receipts = [await _settle(queue, settlement) for settlement in settlements]
    leases: list[Lease] = []
    for name in queues:
        while len(leases) < limit and (job := await queue.dequeue(name, timeout=0)):
            leases.append(lease_of(job))
    return Exchange(receipts, leases)


async def _settle(queue: JobQueueAdapter, settlement: Settlement) -> Receipt:
    job_id = UUID(bytes=settlement.id)
    message = settlement.failure.message if settlement.failure else None
    if settlement.transition is Transition.COMPLETE:
        await queue.acknowledge(job_id)
    elif settlement.transition in _AGAIN:
        await queue.reject(job_id, True, message, delay=settlement.delay)
    else:
        await queue.reject(job_id, False, message)
    job = await queue.get_job(job_id)
    if job is None:
        return Receipt(Answer.NOT_FOUND, None)
    return Receipt(Answer.LOST if job.status is JobStatus.RUNNING else Answer.OK, job.status)


def lease_of(job: Job) -> Lease:
    """A lease on a job that `dequeue` returned; its token is known to nobody else."""
    return Lease(
        id=job.id.bytes,
        token=secrets.token_bytes(16),
        attempt=job.retry_count + 1,
        queue_name=job.queue_name,
        job_type=job.job_type,
        payload=document.encode(job.payload, "payload"),
        priority=job.priority,
        max_retries=job.max_retries,
        retry_count=job.retry_count,
        scheduled_at=_micros(job.scheduled_at),
        started_at=_micros(job.started_at or datetime.now(UTC)) or 0,
        created_at=_micros(job.created_at) or 0,
        created_by=id_of(job.created_by).bytes if job.created_by else None,
        metadata=with_creator(document.encode(job.metadata, "metadata"), job.created_by),
        error_message=job.error_message,
        suspect=False,
    )


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else round(instant.timestamp() * 1_000_000)
