"""Huey on Redis."""

from __future__ import annotations

import os
import time

from huey import RedisHuey
from noop_job import done, payload
from processes import become

DISTRIBUTIONS = ("huey", "redis", "hiredis")
SETTINGS = {
    "results": False,  # none is read here, and none would be stored for None
    "blocking": True,  # the default: the store tells of a job, nobody polls
    "--worker-type": "process",  # --help: for CPU-intensive workloads
    "--no-periodic": True,  # there are none, so nobody looks for them
}

huey = RedisHuey(
    "bench",
    url=os.environ["BENCH_URL"],
    results=SETTINGS["results"],
    blocking=SETTINGS["blocking"],
)


@huey.task(name="noop")
def noop(_: dict[str, str]) -> None:
    done()


def processes(workers: int) -> str:
    return f"{workers} processes"


def enqueue(jobs: int) -> float:
    start = time.perf_counter()
    for _ in range(jobs):
        noop(payload())
    return time.perf_counter() - start


def work(workers: int, jobs: int) -> None:
    become("huey_consumer", "huey_app.huey", "--worker-type", SETTINGS["--worker-type"],
           "--workers", workers, "--no-periodic", "--quiet")  # fmt: skip
