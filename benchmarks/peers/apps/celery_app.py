"""Celery on Redis, with its prefork pool."""

from __future__ import annotations

import os
import time

from celery import Celery
from noop_job import done, payload
from processes import become

DISTRIBUTIONS = ("celery", "kombu", "billiard", "redis", "hiredis")
SETTINGS = {
    "worker_prefetch_multiplier": 64,  # "Optimizing": 64 or 128 for short tasks
    "task_acks_late": True,  # at least once, as Portico
    "task_ignore_result": True,  # "Tasks": ignore results you don't want
    "worker_disable_rate_limits": True,  # no task has a rate limit
    "worker_send_task_events": False,  # the default: nobody monitors
    "broker_connection_retry_on_startup": True,
}
FLAGS = ("--pool=prefork", "--without-gossip", "--without-mingle", "--without-heartbeat")

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.update(SETTINGS)


@app.task(name="noop")
def noop(_: dict[str, str]) -> None:
    done()


def processes(workers: int) -> str:
    return f"prefork {workers}, prefetch {SETTINGS['worker_prefetch_multiplier']}"


def enqueue(jobs: int) -> float:
    with app.producer_pool.acquire(block=True) as producer:
        start = time.perf_counter()
        for _ in range(jobs):
            noop.apply_async((payload(),), producer=producer)
        return time.perf_counter() - start


def work(workers: int, jobs: int) -> None:
    become("celery", "--app", "celery_app", "worker", "--concurrency", workers,
           "--loglevel", "WARNING", *FLAGS)  # fmt: skip
