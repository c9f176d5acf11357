"""Single jobs at random intervals: when each was sent, stored and started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import NamedTuple
from uuid import UUID

from benchmarks import timed
from benchmarks.composition import composed
from benchmarks.supervisors import SupervisorProcess
from benchmarks.timed import Ran
from benchmarks.watch import OnDone, nobody
from portico import compose
from portico.kits.job.job_service import JobService

_PATIENCE = 30.0


class Sent(NamedTuple):
    """One job, in seconds of the clock that all processes share."""

    sent: float
    """Just before `create_job` was called."""
    stored: float
    """When it had returned."""
    started: float
    """The handler's first line."""


class Pace(NamedTuple):
    """How many jobs come, and how far apart: from half to one and a half times `interval`."""

    jobs: int
    interval: float
    seed: int


async def run(url: str, workers: int, pace: Pace, on_done: OnDone = nobody) -> list[Sent]:
    """Create jobs one by one.

    The supervisor is another process, except for a queue in memory, which no other can reach.
    """
    random = Random(pace.seed)  # noqa: S311 - no secret
    sent: list[tuple[UUID, float, float]] = []
    async with _served(url, workers) as service:
        for number in range(1, pace.jobs + 1):
            await asyncio.sleep(pace.interval * random.uniform(0.5, 1.5))
            before = time.monotonic()
            job = await service.create_job(timed.SHORT, {})
            sent.append((job.id, before, time.monotonic()))
            on_done(number)
        return [
            Sent(before, after, (await _ran(service, job_id)).started)
            for job_id, before, after in sent
        ]


@asynccontextmanager
async def _served(url: str, workers: int) -> AsyncIterator[JobService]:
    """Jobs of the caller are run by an idle pool."""
    queue = compose.job_queue(url, alone=True)
    async with JobService(queue) as service:
        if url.startswith("memory:"):
            async with composed(queue, workers, timed.APP) as pipeline:
                work = asyncio.create_task(pipeline.run())
                yield service
                pipeline.stop(_PATIENCE)
                await work
        else:
            supervisor = SupervisorProcess(url, timed.APP, workers)
            await asyncio.to_thread(supervisor.__enter__)
            try:
                await asyncio.to_thread(supervisor.ready)
                yield service
            finally:
                await asyncio.to_thread(supervisor.__exit__)


async def _ran(service: JobService, job_id: UUID) -> Ran:
    await service.wait_for(job_id, _PATIENCE)
    result = await service.get_result(job_id)
    if result is None:
        raise RuntimeError(f"job {job_id} of the benchmark did not complete")
    return Ran.of(result)
