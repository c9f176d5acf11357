"""Small handlers around the examples, and the application that runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from portico.kits.job.retry import RetryPolicy
from portico.kits.job.worker_manager import WorkerManager
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.job_queue import JobQueueAdapter
from tests.support.jobs import ended

AT_ONCE = RetryPolicy(base_delay=0.0, max_delay=0.0)


@asynccontextmanager
async def working(
    queue: JobQueueAdapter, *handlers: JobHandler, **options: Any
) -> AsyncIterator[WorkerManager]:
    """A manager that serves the handlers; retries are due at once."""
    manager = WorkerManager(
        job_queue=queue,
        handlers={handler.job_type: handler for handler in handlers},
        **{"retry_policy": AT_ONCE, **options},
    )
    await manager.start()
    try:
        yield manager
    finally:
        await manager.stop()


async def run(queue: JobQueueAdapter, job: Job, *handlers: JobHandler) -> Job:
    """Enqueue a job, run it to its end, and return it. Only the job's own queue is served."""
    await queue.enqueue(job)
    async with working(queue, *handlers, queues=[job.queue_name]):
        return await ended(queue, job.id)


class Recorder(JobHandler):
    """Notes the payloads that it was given, in order."""

    def __init__(self, job_type: str) -> None:
        self._job_type = job_type
        self.seen: list[dict[str, Any]] = []

    @property
    def job_type(self) -> str:
        return self._job_type

    async def handle(self, job: Job) -> JobResult:
        self.seen.append(job.payload)
        return JobResult(success=True)


class Failing:
    """Mixed into an example that has an `on_failure` only: its attempts answer from a list."""

    answers: Sequence[JobResult | Exception]

    def __init__(self, *answers: JobResult | Exception) -> None:
        self.answers = answers
        self.attempts: list[int] = []

    async def handle(self, job: Job) -> JobResult:
        self.attempts.append(job.retry_count)
        answer = self.answers[min(len(self.attempts), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer
