"""SAQ on Redis."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import uvloop
from noop_job import done, payload
from processes import become
from saq import Queue

uvloop.install()  # a worker takes a loop of the policy

DISTRIBUTIONS = ("saq", "redis", "hiredis", "uvloop")
SETTINGS = {
    "loop": "uvloop",
    "concurrency": 25,  # jobs at once in a process; 10 by default, 100 was no faster here
    "max_concurrent_ops": 100,  # as many enqueues at once; 20 by default
    "ttl": -1,  # the result is not kept; 600 s by default
    "timeout": 0,  # no deadline, which costs a timer for each job; 10 s by default
}


async def noop(_: dict[str, Any], *, data: str) -> None:
    done()


queue = Queue.from_url(os.environ["BENCH_URL"], max_concurrent_ops=SETTINGS["max_concurrent_ops"])
settings = {"queue": queue, "functions": [noop], "concurrency": SETTINGS["concurrency"]}


def processes(workers: int) -> str:
    return f"{workers}, concurrency {SETTINGS['concurrency']}"


def enqueue(jobs: int) -> float:
    return uvloop.run(_enqueue(jobs))


async def _enqueue(jobs: int) -> float:
    await queue.connect()
    options = {name: SETTINGS[name] for name in ("ttl", "timeout")}
    batch, start = SETTINGS["max_concurrent_ops"], time.perf_counter()
    for first in range(0, jobs, batch):
        count = min(batch, jobs - first)
        await asyncio.gather(*(queue.enqueue("noop", **payload(), **options) for _ in range(count)))
    seconds = time.perf_counter() - start
    await queue.disconnect()
    return seconds


def work(workers: int, jobs: int) -> None:
    become("saq", "saq_app.settings", "--workers", workers)
