"""RQ on Redis: workers that run jobs in their own process, or fork for each, the default."""

from __future__ import annotations

import os
import time

from noop_job import done, payload
from processes import become
from redis import Redis
from rq import Queue

_URL = os.environ["BENCH_URL"]

DISTRIBUTIONS = ("rq", "redis", "hiredis")
SETTINGS = {
    "worker_class": {
        "simple": "rq.worker.SimpleWorker",  # README: faster, as it skips the fork
        "fork": "rq.worker.Worker",  # the default: a job cannot take its worker along
    }[os.environ.get("BENCH_VARIANT") or "simple"],
    "result_ttl": 0,  # the result is not kept; 500 s by default
    "enqueue_many": 1000,  # so many in a pipeline, instead of one at a time
}


def noop(_: dict[str, str]) -> None:
    done()


def processes(workers: int) -> str:
    return f"{workers} {SETTINGS['worker_class'].rpartition('.')[2]}s"


def enqueue(jobs: int) -> float:
    queue, batch = Queue("bench", connection=Redis.from_url(_URL)), SETTINGS["enqueue_many"]
    start = time.perf_counter()
    for first in range(0, jobs, batch):
        queue.enqueue_many([
            Queue.prepare_data("rq_app.noop", (payload(),), result_ttl=SETTINGS["result_ttl"])
            for _ in range(min(batch, jobs - first))
        ])  # fmt: skip
    return time.perf_counter() - start


def work(workers: int, jobs: int) -> None:
    become("rq", "worker-pool", "bench", "--num-workers", workers, "--url", _URL, "--quiet",
           "--worker-class", SETTINGS["worker_class"])  # fmt: skip
