"""Jobs of pure computation through supervised workers."""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks import timed
from benchmarks.composition import composed
from benchmarks.timed import Ran
from benchmarks.watch import OnDone, Watch, nobody, run_until
from portico import compose

_BATCH = 1000


class Measured(NamedTuple):
    """Jobs per second, and the share of the workers' time that was spent inside of handlers: what
    is missing was spent by Portico, whatever else the machine had to do."""

    rate: float
    busy: float


async def measure(
    url: str, workers: int, steps: int, jobs: int, on_done: OnDone = nobody
) -> Measured:
    """From the first lease to the last completion that the store confirms.

    The jobs wait and the workers are ready when the clock starts.
    """
    queue = compose.job_queue(url, alone=True)
    await queue.initialize()
    try:
        async with composed(queue, workers, timed.APP) as pipeline:
            for first in range(0, jobs, _BATCH):
                count = min(_BATCH, jobs - first)
                await queue.insert([timed.draft(spin=steps) for _ in range(count)])
            with Watch(queue, jobs, on_done) as watch:
                begin = time.monotonic()
                await run_until(pipeline, watch.complete)
        elapsed = watch.completed_at - begin
        ran = [Ran.from_bytes(result) for result in watch.results.values()]
        inside = sum(one.ended - one.started for one in ran)
        return Measured(jobs / elapsed, inside / (workers * elapsed))
    finally:
        await queue.close()
