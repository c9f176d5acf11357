"""The bundled app as a whole, on a queue in memory and handlers as tasks of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import pytest

from portico.adapters.job_queue.memory_queue import MemoryJobQueueAdapter
from portico.examples import app
from portico.kits.job import JobService, WorkerManager
from portico.ports.job import Job, JobStatus, QueueStats
from portico.ports.worker_context import QueueView, WorkerContext
from tests.support.jobs import ended
from tests.support.waiting import wait_until


class View(QueueView):
    """A queue in this process, seen as a worker sees one."""

    def __init__(self, queue: MemoryJobQueueAdapter) -> None:
        self._queue = queue
        self._service = JobService(queue)

    async def get_job(self, job_id: UUID | str) -> Job | None:
        return await self._service.get_job(job_id)

    async def get_result(self, job_id: UUID | str) -> dict[str, Any] | None:
        return await self._service.get_result(job_id)

    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        return await self._queue.get_queue_stats(queue_name)

    async def redrive(self, job_ids: Sequence[UUID | str]) -> list[UUID]:
        return await self._service.redrive(job_ids)

    async def enqueue(self, job: Job) -> Job:
        return await self._queue.enqueue(job)


@pytest.fixture
async def queue() -> AsyncIterator[MemoryJobQueueAdapter]:
    queue = MemoryJobQueueAdapter()
    await queue.initialize()
    yield queue
    await queue.close()


@asynccontextmanager
async def running(queue: MemoryJobQueueAdapter) -> AsyncIterator[JobService]:
    """The bundled app under a manager."""
    jobs = JobService(queue)
    context = WorkerContext(job_creator=jobs, job_queue=View(queue), worker=1, logger=Mock())
    async with app(context) as handlers, WorkerManager(queue, handlers):
        yield jobs


async def test_an_import_runs_chunk_by_chunk_to_its_follow_up(
    queue: MemoryJobQueueAdapter, tmp_path: Path
) -> None:
    async with running(queue) as jobs:
        payload = {
            "dataset": "planes", "chunk_size": 1000, "output": str(tmp_path), "import_id": "x",
            "then": [{"job_type": "system.echo", "payload": {"done": True}}],
        }  # fmt: skip
        await jobs.create_job("data.import", payload)

        async def all_done() -> bool:
            return (await queue.get_queue_stats("default")).completed_count == 5

        await wait_until(all_done)
        everything = (await jobs.list_jobs()).jobs
        results = [await jobs.get_result(job.id) or {} for job in everything]
    assert sum(result.get("records_imported", 0) for result in results) == 3322
    assert [r for r in results if "done" in r] == [{"done": True}]


async def test_a_payload_that_is_not_acceptable_ends_failed_without_a_retry(
    queue: MemoryJobQueueAdapter,
) -> None:
    async with running(queue) as jobs:
        created = await jobs.create_job("data.import", {"dataset": "trains"})
        job = await ended(queue, created.id)

    assert job.status is JobStatus.FAILED
    assert "Invalid enum value 'trains'" in (job.error_message or "")


async def test_a_dead_letter_is_analysed_and_redriven(
    queue: MemoryJobQueueAdapter, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("PORTICO_SMTP_PORT", str(unused_tcp_port))
    letter = {"recipient": "ada@example.com", "subject": "Hi", "body": "..."}
    async with running(queue) as jobs:
        dead = await jobs.create_job("email.send", letter, max_retries=0)
        assert (await ended(queue, dead.id)).status is JobStatus.DEAD_LETTER

        care = await jobs.create_job("system.deadletter.process", {"dead_job_id": str(dead.id)})
        await ended(queue, care.id)

        result = await jobs.get_result(care.id)
        again = await ended(queue, dead.id)
    assert result == {"analyzed": True, "requeued": True, "error_type": "transient"}
    assert again.status is JobStatus.DEAD_LETTER
    assert again.failed_at is not None
    assert care.created_at is not None
    assert again.failed_at > care.created_at
