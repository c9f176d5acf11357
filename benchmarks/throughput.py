"""The dequeue-to-acknowledge rate: first the jobs, then the supervisor, until all are done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks import noop
from benchmarks.composition import composed
from benchmarks.samples import Sample, Timeline
from benchmarks.watch import OnDone, nobody, run_until
from portico import compose
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Answer, Exchange, Settlement
from portico.ports.wanted import EVERYTHING, Wanted

INSERT_BATCH = 1000


async def measure(queue_url: str, workers: int, jobs: int, on_done: OnDone = nobody) -> Sample:
    """Run no-op jobs once.

    Args:
        queue_url: an empty queue; for SQLite a file that does not exist yet.
        workers: how many worker processes.
        jobs: how many jobs.
        on_done: told after each exchange how many jobs the store has as completed.
    """
    queue = compose.job_queue(queue_url, alone=True)  # as a supervisor
    await queue.initialize()
    try:
        enqueue_rate = await _enqueue(queue, jobs)
        timeline, exchanges = await run_jobs(queue, workers, jobs, on_done)
    finally:
        await queue.close()
    return Sample(jobs=jobs, rate=timeline.rate(), enqueue_rate=enqueue_rate, exchanges=exchanges)


async def run_jobs(
    queue: JobQueueAdapter, workers: int, jobs: int, on_done: OnDone = nobody
) -> tuple[Timeline, int]:
    """Run so many of a queue's jobs; when they were done, and how often the store was asked."""
    count = _Count(queue, jobs, on_done)
    try:
        async with composed(queue, workers) as pipeline:
            await run_until(pipeline, count.complete)
    finally:
        count.remove()
    return count.timeline, count.exchanges


async def _enqueue(queue: JobQueueAdapter, jobs: int) -> float:
    drafts = noop.drafts(jobs)
    start = time.perf_counter()
    for first in range(0, jobs, INSERT_BATCH):
        await queue.insert(drafts[first : first + INSERT_BATCH])
    return jobs / (time.perf_counter() - start)


class _Count:
    """Sits in front of a queue's `exchange` and counts the completions that it confirms."""

    def __init__(self, queue: JobQueueAdapter, jobs: int, on_done: OnDone) -> None:
        self.timeline = Timeline(jobs)
        self.complete = asyncio.Event()
        self.exchanges = 0
        self._exchange = queue.exchange
        self._on_done = on_done
        self._queue = queue
        queue.exchange = self.exchange  # type: ignore[method-assign]  # cheaper than a wrapper

    def remove(self) -> None:
        """Let the queue be as it was."""
        self._queue.exchange = self._exchange  # type: ignore[method-assign]

    async def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> Exchange:
        answer = await self._exchange(settlements, queues, limit, wanted)
        self.exchanges += 1
        if settlements:
            confirmed = sum(receipt.answer is Answer.OK for receipt in answer.receipts)
            if not self.timeline.complete:
                self.timeline.add(time.perf_counter(), confirmed)
            self._on_done(self.timeline.done)
        if self.timeline.complete:
            self.complete.set()
        return answer
