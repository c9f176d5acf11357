"""How fast one process creates jobs, in the ways that it may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

from benchmarks import noop
from benchmarks.watch import OnDone, nobody
from portico import compose
from portico.kits.job.job_service import JobService
from portico.ports.job import Job
from portico.ports.job_queue import JobQueueAdapter

BATCH = 1_000
AT_ONCE = 64

_ARGUMENTS = {"job_type": noop.JOB_TYPE, "payload": noop.PAYLOAD}

Way = Callable[[JobQueueAdapter, int, OnDone], Awaitable[None]]


async def one_by_one(queue: JobQueueAdapter, jobs: int, on_done: OnDone) -> None:
    """`create_job`, the next when the store has the one before."""
    service = JobService(queue)
    for number in range(1, jobs + 1):
        await service.create_job(noop.JOB_TYPE, noop.PAYLOAD)
        on_done(number)


async def side_by_side(queue: JobQueueAdapter, jobs: int, on_done: OnDone) -> None:
    """`create_job` in many tasks at once, as a web server calls it."""
    service, todo = JobService(queue), iter(range(1, jobs + 1))

    async def caller() -> None:
        for number in todo:
            await service.create_job(noop.JOB_TYPE, noop.PAYLOAD)
            on_done(number)

    async with asyncio.TaskGroup() as callers:
        for _ in range(AT_ONCE):
            callers.create_task(caller())


async def create_jobs(queue: JobQueueAdapter, jobs: int, on_done: OnDone) -> None:
    """`JobService.create_jobs`, a batch in one transaction."""
    service = JobService(queue)
    for first in range(0, jobs, BATCH):
        batch = [_ARGUMENTS] * min(BATCH, jobs - first)
        await service.create_jobs(batch)
        on_done(first + len(batch))


async def enqueue_many(queue: JobQueueAdapter, jobs: int, on_done: OnDone) -> None:
    """`enqueue_many` of the queue itself, with jobs that are built already."""
    built = [Job(uuid4(), "default", noop.JOB_TYPE, noop.PAYLOAD) for _ in range(jobs)]
    for first in range(0, jobs, BATCH):
        await queue.enqueue_many(built[first : first + BATCH])
        on_done(min(jobs, first + BATCH))


WAYS: Mapping[str, tuple[Way, int]] = {
    "create_job, one by one": (one_by_one, 10),
    f"create_job, {AT_ONCE} at a time": (side_by_side, 4),
    f"create_jobs, batches of {BATCH:,}": (create_jobs, 1),
    f"enqueue_many, batches of {BATCH:,}": (enqueue_many, 1),
}
"""By name: a way, and what part of the jobs it gets, for it is slower."""


async def rate(url: str, way: Way, jobs: int, on_done: OnDone = nobody) -> float:
    """Jobs per second until the store has all of them; into an empty queue."""
    queue = compose.job_queue(url)
    await queue.initialize()
    try:
        begin = time.perf_counter()
        await way(queue, jobs, on_done)
        return jobs / (time.perf_counter() - begin)
    finally:
        await queue.close()
