"""streaQ on Redis."""

from __future__ import annotations

import asyncio
import logging
import os
import time

from noop_job import done, payload
from processes import become
from streaq import Worker

DISTRIBUTIONS = ("streaq", "coredis", "uvloop")
SETTINGS = {
    "concurrency": 16,  # tasks at once in a process; the default, and more was slower here
    "prefetch": 16,  # as many as are run at once, the default
    "ttl": 0,  # the result is not kept
    "loop": "uvloop",  # by anyio_kwargs; a tenth more here
    "enqueue_many": 1000,  # so many in a pipeline
}

worker = Worker(
    redis_url=os.environ["BENCH_URL"],
    concurrency=SETTINGS["concurrency"],
    prefetch=SETTINGS["prefetch"],
    anyio_kwargs={"use_uvloop": True},
)


@worker.task(name="noop", ttl=SETTINGS["ttl"], silent=True)
async def noop(_: dict[str, str]) -> None:
    done()


def processes(workers: int) -> str:
    return f"{workers}, concurrency {SETTINGS['concurrency']}"


def enqueue(jobs: int) -> float:
    return asyncio.run(_enqueue(jobs))


async def _enqueue(jobs: int) -> float:
    batch = SETTINGS["enqueue_many"]
    async with worker:
        start = time.perf_counter()
        for first in range(0, jobs, batch):
            count = min(batch, jobs - first)
            await worker.enqueue_many([noop.enqueue(payload()) for _ in range(count)])
        return time.perf_counter() - start


def work(workers: int, jobs: int) -> None:
    logging.disable(logging.INFO)
    become("streaq", "run", "streaq_app:worker", "--workers", workers)
