"""Taskiq on Redis Streams, the broker of taskiq-redis that acknowledges."""

from __future__ import annotations

import asyncio
import os
import time

from noop_job import done, payload
from processes import become
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisStreamBroker

_URL = os.environ["BENCH_URL"]

DISTRIBUTIONS = ("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop", "orjson")
SETTINGS = {
    "broker": "RedisStreamBroker",  # the one that acknowledges; the list does not
    "result_backend": None,  # results are not kept, which is the fastest
    "serializer": "orjson",  # instead of json; no difference was seen here
    "loop": "uvloop",  # the worker uses it where it is installed
    "xread_count": 100,  # the default
    "--no-parse": True,  # --help: no pydantic; the task needs none
    "--max-async-tasks": 20,  # the default of 100 is slower here when others use the cores
    "--max-prefetch": 0,  # the default
    "concurrent kicks": 100,
}

broker = RedisStreamBroker(
    _URL, xread_count=SETTINGS["xread_count"], max_connection_pool_size=None
).with_serializer(ORJSONSerializer())


@broker.task(task_name="noop")
async def noop(_: dict[str, str]) -> None:
    done()


def processes(workers: int) -> str:
    return f"{workers}, {SETTINGS['--max-async-tasks']} at once"


def enqueue(jobs: int) -> float:
    return asyncio.run(_enqueue(jobs))


async def _enqueue(jobs: int) -> float:
    await broker.startup()  # makes the group of consumers, which reads what comes after
    batch, start = SETTINGS["concurrent kicks"], time.perf_counter()
    for first in range(0, jobs, batch):
        await asyncio.gather(*(noop.kiq(payload()) for _ in range(min(batch, jobs - first))))
    seconds = time.perf_counter() - start
    await broker.shutdown()
    return seconds


def work(workers: int, jobs: int) -> None:
    become("taskiq", "worker", "taskiq_app:broker", "--workers", workers, "--no-parse",
           "--max-async-tasks", SETTINGS["--max-async-tasks"],
           "--max-prefetch", SETTINGS["--max-prefetch"], "--log-level", "WARNING")  # fmt: skip
