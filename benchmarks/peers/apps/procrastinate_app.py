"""Procrastinate on PostgreSQL: its worker is one process, so there are several of it."""

from __future__ import annotations

import asyncio
import logging
import os
import time

from noop_job import done, payload
from processes import copies
from procrastinate import App, PsycopgConnector

DISTRIBUTIONS = ("procrastinate", "psycopg", "psycopg-pool")
SETTINGS = {
    "connector": "PsycopgConnector",  # the asynchronous one
    "--concurrency": 10,  # jobs at once in a process; 1 by default, 5, 20 and 50 were slower here
    "max_size": 10,  # connections of a process, one for each job; the default
    "batch_defer": 1000,  # so many in a statement
}

app = App(
    connector=PsycopgConnector(conninfo=os.environ["BENCH_URL"], max_size=SETTINGS["max_size"])
)
logging.getLogger("procrastinate").setLevel(logging.WARNING)


@app.task(name="noop", queue="bench")
async def noop(data: str) -> None:
    done()


def processes(workers: int) -> str:
    return f"{workers}, concurrency {SETTINGS['--concurrency']}"


def enqueue(jobs: int) -> float:
    return asyncio.run(_enqueue(jobs))


async def _enqueue(jobs: int) -> float:
    batch = SETTINGS["batch_defer"]
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        start = time.perf_counter()
        for first in range(0, jobs, batch):
            await noop.batch_defer_async(*(payload() for _ in range(min(batch, jobs - first))))
        return time.perf_counter() - start


def work(workers: int, jobs: int) -> None:
    copies(workers, "procrastinate", "--app", "procrastinate_app.app", "--log-level", "warning",
           "worker", "--concurrency", SETTINGS["--concurrency"])  # fmt: skip
