"""arq on Redis: a worker is one process.

All workers look at the same first jobs and race for each, so two are slower than one; it is one.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from noop_job import done, payload
from processes import become

uvloop.install()  # a worker takes a loop of the policy

DISTRIBUTIONS = ("arq", "redis", "hiredis", "uvloop")
SETTINGS = {
    "loop": "uvloop",
    "max_jobs": 50,  # at once in a process; 10 by default
    "poll_delay": 0.01,  # seconds between two looks at the queue; 0.5 by default
    "keep_result": 0,  # the result is not kept
    "log_results": False,
    "concurrent enqueues": 100,
}


async def noop(_: dict[str, Any], __: dict[str, str]) -> None:
    done()


class WorkerSettings:
    functions = (noop,)
    redis_settings = RedisSettings.from_dsn(os.environ["BENCH_URL"])
    max_jobs = SETTINGS["max_jobs"]
    poll_delay = SETTINGS["poll_delay"]
    keep_result = SETTINGS["keep_result"]
    log_results = SETTINGS["log_results"]


LOGGING = {"version": 1, "loggers": {"arq": {"level": "WARNING"}}}


def processes(workers: int) -> str:
    return f"1, {SETTINGS['max_jobs']} at once"


def enqueue(jobs: int) -> float:
    return uvloop.run(_enqueue(jobs))


async def _enqueue(jobs: int) -> float:
    pool = await create_pool(WorkerSettings.redis_settings)
    batch, start = SETTINGS["concurrent enqueues"], time.perf_counter()
    for first in range(0, jobs, batch):
        count = min(batch, jobs - first)
        await asyncio.gather(*(pool.enqueue_job("noop", payload()) for _ in range(count)))
    seconds = time.perf_counter() - start
    await pool.aclose()
    return seconds


def work(workers: int, jobs: int) -> None:
    become("arq", "arq_app.WorkerSettings", "--custom-log-dict", "arq_app.LOGGING")
