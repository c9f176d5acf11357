"""Dramatiq on Redis."""

from __future__ import annotations

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from noop_job import done, payload
from processes import become

DISTRIBUTIONS = ("dramatiq", "redis", "hiredis")
SETTINGS = {
    "middleware": [],  # none of the time limits, retries and callbacks that cost per message
    "--threads": 8,  # the default
    "dramatiq_queue_prefetch": 64,  # by default twice the threads: then it waits between batches
}

broker = RedisBroker(url=os.environ["BENCH_URL"], middleware=SETTINGS["middleware"])
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name="noop")
def noop(_: dict[str, str]) -> None:
    done()


def processes(workers: int) -> str:
    return f"{workers} × {SETTINGS['--threads']} threads, prefetch 64"


def enqueue(jobs: int) -> float:
    start = time.perf_counter()
    for _ in range(jobs):
        noop.send(payload())
    return time.perf_counter() - start


def work(workers: int, jobs: int) -> None:
    os.environ["dramatiq_queue_prefetch"] = str(SETTINGS["dramatiq_queue_prefetch"])  # noqa: SIM112
    become("dramatiq", "dramatiq_app", "--processes", workers, "--threads", SETTINGS["--threads"])
