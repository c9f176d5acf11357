"""Portico itself: `python -m portico.supervisor`, as anybody would start it.

A queue in memory lives in one process, so there the jobs are inserted by the process that is the
supervisor, and before its workers start.
"""

from __future__ import annotations

import os
import sys
import time

import uvloop
from noop_job import done, payload

from benchmarks.composition import composed
from portico import compose
from portico.kits.job.job_service import JobService
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.job_queue import JobQueueAdapter

_URL = os.environ.get("BENCH_URL", "memory://")
_BATCH = 1000

DISTRIBUTIONS = ("portico-jobs", "msgspec", "uvloop")
SETTINGS = {
    "--log-level": "WARNING",  # as with all the others: no line for each job
    "create_jobs": _BATCH,  # README: many jobs go in by create_jobs, in one transaction
}


class Noop(JobHandler):
    @property
    def job_type(self) -> str:
        return "noop"

    async def handle(self, job: Job) -> JobResult:
        done()
        return JobResult(success=True)


app = {"noop": Noop()}


def processes(workers: int) -> str:
    return f"{workers}, defaults"


def enqueue(jobs: int) -> float:
    async def enqueued() -> float:
        async with JobService(compose.job_queue(_URL)) as service:
            return await _create(service, jobs)

    return uvloop.run(enqueued())


def work(workers: int, jobs: int) -> None:
    if _URL == "memory://":
        uvloop.run(_in_memory(workers, jobs))
        return
    options = ["--queue-url", _URL, "--app", "portico_app:app", "--workers", str(workers)]
    command = [sys.executable, "-m", "portico.supervisor", *options, "--log-level", "WARNING"]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


async def _in_memory(workers: int, jobs: int) -> None:
    queue: JobQueueAdapter = compose.job_queue(_URL)
    async with JobService(queue) as service:
        await _create(service, jobs)
        async with composed(queue, workers, "portico_app:app") as pipeline:
            await pipeline.run()


async def _create(service: JobService, jobs: int) -> float:
    start = time.perf_counter()
    for first in range(0, jobs, _BATCH):
        count = min(_BATCH, jobs - first)
        await service.create_jobs(
            {"queue_name": "default", "job_type": "noop", "payload": payload()}
            for _ in range(count)
        )
    return time.perf_counter() - start
