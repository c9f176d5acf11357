"""A third-party adapter of the smallest kind: the nine documented methods and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from portico.exceptions import ConflictError
from portico.ports.draft import Draft
from portico.ports.job import CANCELLED_MESSAGE, WAITING, Job, JobStatus, QueueStats
from portico.ports.job_queue import JobQueueAdapter, queue_stats


class ToyQueue(JobQueueAdapter):
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._jobs: dict[UUID, Job] = {}
        self._due: dict[UUID, datetime] = {}

    async def initialize(self) -> None: ...

    async def close(self) -> None: ...

    async def enqueue(self, job: Job) -> Job:
        Draft.of(job)
        if job.id in self._jobs:
            raise ConflictError(f"{job.id} exists")
        now = self._now()
        later = job.scheduled_at is not None and job.scheduled_at > now
        status = JobStatus.SCHEDULED if later else JobStatus.PENDING
        self._due[job.id] = job.scheduled_at or now
        self._jobs[job.id] = replace(job, created_at=now, status=status)
        return self._jobs[job.id]

    async def dequeue(self, queue_name: str, timeout: float = 30) -> Job | None:
        deadline = time.monotonic() + timeout
        while (job := self._next(queue_name)) is None:
            if time.monotonic() >= deadline:
                return None
            await asyncio.sleep(0.01)
        return self._store(job, status=JobStatus.RUNNING, started_at=self._now())

    async def acknowledge(self, job_id: UUID) -> None:
        if job := self._running(job_id):
            now = self._now()
            self._store(job, status=JobStatus.COMPLETED, completed_at=now, error_message=None)

    async def reject(
        self,
        job_id: UUID,
        requeue: bool = True,
        error_message: str | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        job = self._running(job_id)
        if job is None:
            return
        job = replace(job, error_message=error_message)
        if requeue and job.retry_count < job.max_retries:
            self._due[job_id] = self._now() + timedelta(seconds=delay)
            self._store(job, status=JobStatus.RETRYING, retry_count=job.retry_count + 1)
        else:
            status = JobStatus.DEAD_LETTER if requeue else JobStatus.FAILED
            self._store(job, status=status, failed_at=self._now())

    async def get_job(self, job_id: UUID) -> Job | None:
        return self._jobs.get(job_id)

    async def cancel_job(self, job_id: UUID) -> bool:
        job = self._jobs.get(job_id)
        if job is None or job.status not in WAITING:
            return False
        message = CANCELLED_MESSAGE
        self._store(job, status=JobStatus.FAILED, failed_at=self._now(), error_message=message)
        return True

    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        mine = [job.status for job in self._jobs.values() if job.queue_name == queue_name]
        return queue_stats(queue_name, {status: mine.count(status) for status in JobStatus})

    def _next(self, queue_name: str) -> Job | None:
        now = self._now()
        due = [
            job
            for job in self._jobs.values()
            if job.queue_name == queue_name and job.status in WAITING and self._due[job.id] <= now
        ]
        return min(due, key=lambda job: (-job.priority, self._due[job.id]), default=None)

    def _running(self, job_id: UUID) -> Job | None:
        job = self._jobs.get(job_id)
        return job if job is not None and job.status is JobStatus.RUNNING else None

    def _store(self, job: Job, **changes: object) -> Job:
        self._jobs[job.id] = replace(job, **changes)  # type: ignore[arg-type]
        return self._jobs[job.id]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
