"""The mixed load on real workers: when each job came, began and ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import timed
from benchmarks.composition import composed
from benchmarks.fairness.mix import Mix, Planned
from benchmarks.fairness.models import Arrival, central, prefetching
from benchmarks.timed import LONG, SHORT, Ran
from benchmarks.watch import OnDone, Watch, nobody, run_until
from portico import compose
from portico.ports.draft import Draft
from portico.ports.job_queue import JobQueueAdapter


class Served(NamedTuple):
    """One job of a run; instants in seconds since the run began."""

    arrived: float
    started: float
    ended: float
    long: bool


class Waits(NamedTuple):
    """What the short jobs of one run waited, in seconds, and would have waited elsewhere."""

    portico: list[float]
    central: list[float]
    prefetching: list[float]


def waits_of(run: Sequence[Served], workers: int, prefetch: int) -> Waits:
    """Hold a run against the models, which get the arrivals and run times that it had."""
    run = sorted(run)
    jobs = [Arrival(one.arrived, one.ended - one.started) for one in run]
    waits = (
        [one.started - one.arrived for one in run],
        central(jobs, workers),
        prefetching(jobs, workers, prefetch),
    )
    return Waits(*([w for w, one in zip(ws, run, strict=True) if not one.long] for ws in waits))


async def serve(
    url: str, mix: Mix, planned: Sequence[Planned], *, same_type: bool, on_done: OnDone = nobody
) -> list[Served]:
    """Enqueue the jobs when they are due, run them, and return when all are done.

    Args:
        url: an empty queue.
        mix: how many workers, and what the jobs take.
        planned: the jobs.
        same_type: whether short and long jobs have one job type, so that nothing can be learned.
        on_done: told how many are done.
    """
    drafts = [_draft(mix, one.long, same_type=same_type) for one in planned]
    queue = compose.job_queue(url, alone=True)
    await queue.initialize()
    try:
        with Watch(queue, len(planned), on_done) as watch:
            async with composed(queue, mix.workers, timed.APP) as pipeline:
                work = asyncio.create_task(run_until(pipeline, watch.complete))
                begin = time.monotonic()
                arrived = await _arrive(queue, drafts, [begin + one.at for one in planned])
                await work
    finally:
        await queue.close()
    ran = [Ran.from_bytes(watch.results[draft.id.bytes]) for draft in drafts]
    return [
        Served(at - begin, started - begin, ended - begin, one.long)
        for at, (started, ended), one in zip(arrived, ran, planned, strict=True)
    ]


def _draft(mix: Mix, long: bool, *, same_type: bool) -> Draft:  # noqa: FBT001 - from the plan
    job_type = LONG if long and not same_type else SHORT
    return timed.draft(job_type, sleep=mix.long if long else mix.short)


async def _arrive(
    queue: JobQueueAdapter, drafts: Sequence[Draft], due: Sequence[float]
) -> list[float]:
    """Enqueue each when it is due, and return when that was; a slow insert delays no other."""
    arrived = []
    async with asyncio.TaskGroup() as inserts:
        for draft, at in zip(drafts, due, strict=True):
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            arrived.append(time.monotonic())
            inserts.create_task(queue.insert([draft]))
    return arrived
