"""The same items by a supervisor, by a process pool of the standard library, and one by one."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from uuid import uuid4

from benchmarks.composition import composed
from benchmarks.watch import OnDone, Watch, nobody, run_until
from benchmarks.workloads import work
from benchmarks.workloads.work import Item
from portico import compose
from portico.ports.draft import Draft
from portico.ports.job import Job


async def by_portico(
    url: str, workers: int, items: Sequence[Item], on_done: OnDone = nobody
) -> float:
    """Seconds from the first lease to the last completion in the store; the jobs wait before."""
    jobs = [Job(uuid4(), "default", item.job_type, dict(item.payload)) for item in items]
    queue = compose.job_queue(url, alone=True)
    await queue.initialize()
    try:
        await queue.insert([Draft.of(job) for job in jobs])
        with Watch(queue, len(jobs), on_done) as watch:
            async with composed(queue, workers, work.APP) as pipeline:
                begin = time.monotonic()
                await run_until(pipeline, watch.complete)
        return watch.completed_at - begin
    finally:
        await queue.close()


def by_executor(workers: int, items: Sequence[Item], on_done: OnDone = nobody) -> float:
    """Seconds from the first `submit` to the last result, by processes that are there before.

    They come from a fork server that has the libraries loaded, as the workers of a supervisor do.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__name__])
    with ProcessPoolExecutor(workers, context) as pool:
        for waiting in [pool.submit(time.sleep, 0.5) for _ in range(workers)]:  # noqa: TID251
            waiting.result()
        begin = time.monotonic()
        futures = [pool.submit(work.run_item, item) for item in items]
        for number, future in enumerate(as_completed(futures), 1):
            future.result()
            on_done(number)
        return time.monotonic() - begin
