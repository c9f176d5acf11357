"""Healthy jobs among some that kill their worker, through supervised workers."""

from __future__ import annotations

import os
import signal
import time
from random import Random
from typing import NamedTuple

from benchmarks import timed
from benchmarks.composition import composed
from benchmarks.timed import SHORT
from benchmarks.watch import OnDone, Watch, nobody, run_until
from portico import compose
from portico.kits.job.new_job import new_id
from portico.ports.draft import Draft
from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler
from portico.ports.leasing import Transition

APP = "benchmarks.storm.run:app"
KILLER = "bench.killer"
_BATCH = 1000


class Killer(JobHandler):
    """Takes its process with it, each time."""

    job_type = KILLER

    async def handle(self, job: Job) -> JobResult:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it lives")


app = [*timed.app, Killer()]


class Load(NamedTuple):
    """What is to be run. Times in seconds."""

    healthy: int
    workers: int
    seconds: float
    killers: float
    """Their share of all jobs."""

    def drafts(self, seed: int) -> list[Draft]:
        """All jobs, the killers in random places."""
        count = round(self.healthy * self.killers / (1 - self.killers))
        killing = [True] * count + [False] * self.healthy
        Random(seed).shuffle(killing)  # noqa: S311 - no secret
        return [_killer() if kills else timed.draft(SHORT, sleep=self.seconds) for kills in killing]


def _killer() -> Draft:
    return Draft.of(Job(new_id(), "default", KILLER, {}))


async def measure(url: str, load: Load, seed: int, on_done: OnDone = nobody) -> float:
    """Healthy jobs per second, from the first lease to the last of them that the store confirms.

    The jobs wait and the workers are ready when the clock starts.
    """
    queue = compose.job_queue(url, alone=True)
    await queue.initialize()
    try:
        async with composed(queue, load.workers, APP) as pipeline:
            drafts = load.drafts(seed)
            for first in range(0, len(drafts), _BATCH):
                await queue.insert(drafts[first : first + _BATCH])
            with Watch(queue, load.healthy, on_done, tolerated={Transition.CRASH}) as watch:
                begin = time.monotonic()
                await run_until(pipeline, watch.complete)
        return load.healthy / (watch.completed_at - begin)
    finally:
        await queue.close()
