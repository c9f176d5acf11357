"""What a large store costs: the same jobs among few rows and among millions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from benchmarks import noop
from benchmarks.throughput import run_jobs
from benchmarks.watch import OnDone, nobody
from portico import compose
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Lease, Settlement, Transition

BATCH = 2_000

Places = Callable[[], AbstractAsyncContextManager[str]]
Shown = Callable[[str, int], OnDone]


async def compare(
    place: Places, sizes: Sequence[int], *, workers: int, jobs: int, runs: int, shown: Shown
) -> dict[int, list[float]]:
    """Rates of the same jobs from stores of several sizes, run by run in turn.

    Args:
        place: opens an empty queue and gives its URL; called once per size.
        sizes: how many jobs wait in each store, and as many are finished.
        workers: how many worker processes.
        jobs: how many jobs a run takes; they are added before it, so that each run leases ahead
            of what it takes, in all the stores alike.
        runs: how many rates per size.
        shown: given a name and a total, what to tell the progress.
    """
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    async with AsyncExitStack() as opened:
        queues = {}
        for size in sizes:
            queue = compose.job_queue(await opened.enter_async_context(place()), alone=True)
            await queue.initialize()
            opened.push_async_callback(queue.close)
            await fill(queue, size, size, shown(f"fill {size:,}", 2 * size))
            queues[size] = queue
        for number in range(1, runs + 1):
            for size, queue in queues.items():
                told = shown(f"run {number}, {size:,}", jobs)
                rates[size].append(await rate(queue, workers, jobs, told))
    return rates


async def fill(
    queue: JobQueueAdapter, finished: int, waiting: int, on_row: OnDone = nobody
) -> None:
    """Store so many completed jobs, and so many that wait; `on_row` is told how many there are.

    They go the way of all jobs: inserted, leased, settled. So the store is as such use leaves it.
    """
    done = 0
    for count in _batches(finished):
        await queue.insert(noop.drafts(count))
        await _complete(queue, (await queue.exchange((), ("default",), count)).leases)
        done += count
        on_row(done)
    for count in _batches(waiting):
        await queue.insert(noop.drafts(count))
        done += count
        on_row(done)


async def rate(queue: JobQueueAdapter, workers: int, jobs: int, on_done: OnDone = nobody) -> float:
    """Jobs per second of so many jobs, by real workers, while as many wait as before."""
    for count in _batches(jobs):
        await queue.insert(noop.drafts(count))
    timeline, _ = await run_jobs(queue, workers, jobs, on_done)
    await _settle_rest(queue)
    return timeline.rate()


async def _complete(queue: JobQueueAdapter, leases: list[Lease]) -> None:
    ends = [Settlement(lease.id, lease.token, Transition.COMPLETE, b"{}") for lease in leases]
    await queue.exchange(ends, (), 0)


async def _settle_rest(queue: JobQueueAdapter) -> None:
    """Nothing stays leased: the pipeline has given back what it did not start."""
    running = (await queue.get_queue_stats("default")).running_count
    if running:
        raise RuntimeError(f"{running} jobs are still leased after a drain")


def _batches(total: int) -> list[int]:
    whole, rest = divmod(total, BATCH)
    return [BATCH] * whole + [rest] * bool(rest)
