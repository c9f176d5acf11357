"""Jobs of pure computation through supervised workers."""

from __future__ import annotations

import time

from benchmarks import timed
from benchmarks.composition import composed
from benchmarks.watch import OnDone, Watch, nobody, run_until
from portico import compose

_BATCH = 1000


async def rate(url: str, workers: int, steps: int, jobs: int, on_done: OnDone = nobody) -> float:
    """Jobs per second, from the first lease to the last completion that the store confirms.

    The jobs wait and the workers are ready when the clock starts.
    """
    queue = compose.job_queue(url)
    await queue.initialize()
    try:
        async with composed(queue, workers, timed.APP) as pipeline:
            for first in range(0, jobs, _BATCH):
                count = min(_BATCH, jobs - first)
                await queue.insert([timed.draft(spin=steps) for _ in range(count)])
            with Watch(queue, jobs, on_done) as watch:
                begin = time.monotonic()
                await run_until(pipeline, watch.complete)
        return jobs / (watch.completed_at - begin)
    finally:
        await queue.close()
