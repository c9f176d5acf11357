"""PgQueuer on PostgreSQL: a process for each worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import uvloop
from noop_job import done, payload
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from processes import copies

_URL = os.environ["BENCH_URL"]

DISTRIBUTIONS = ("pgqueuer", "asyncpg", "uvloop")
SETTINGS = {
    "driver": "asyncpg",  # "Benchmarks": 1.7 times the throughput of psycopg
    "loop": "uvloop",  # as `pgq run` uses it where it is installed
    "batch_size": 500,  # "Performance Tuning": more for short jobs; 100 and 1000 are slower here
    "pool": (5, 20),  # the same page: a pool for high throughput; its numbers of connections
    "enqueue": 1000,  # `enqueue` takes lists; so many per statement
}


def processes(workers: int) -> str:
    return f"{workers}, batch {SETTINGS['batch_size']}"


async def main() -> PgQueuer:
    least, most = SETTINGS["pool"]
    pool = await asyncpg.create_pool(_URL, min_size=least, max_size=most)
    queue = PgQueuer.from_asyncpg_pool(pool)

    @queue.entrypoint("noop")
    async def noop(_: Job) -> None:
        done()

    return queue


def enqueue(jobs: int) -> float:
    pgq = str(Path(sys.executable).with_name("pgq"))
    subprocess.run(  # noqa: S603 - of this environment
        [pgq, "install"], check=True, capture_output=True, env={**os.environ, "PGDSN": _URL}
    )
    return uvloop.run(_enqueue(jobs))


async def _enqueue(jobs: int) -> float:
    connection = await asyncpg.connect(_URL)
    queries, batch = Queries(AsyncpgDriver(connection)), SETTINGS["enqueue"]
    start = time.perf_counter()
    for first in range(0, jobs, batch):
        count = min(batch, jobs - first)
        payloads = [json.dumps(payload(), separators=(",", ":")).encode() for _ in range(count)]
        await queries.enqueue(["noop"] * count, payloads, [0] * count)
    seconds = time.perf_counter() - start
    await connection.close()
    return seconds


def work(workers: int, jobs: int) -> None:
    copies(workers, "python", "-m", "pgqueuer_app")  # `pgq run` of 1.6 dies of its own --log-level


async def _serve() -> None:
    queue = await main()
    await queue.run(batch_size=SETTINGS["batch_size"])


if __name__ == "__main__":
    uvloop.run(_serve())
