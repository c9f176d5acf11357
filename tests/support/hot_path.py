"""What a supervisor asks of its store over and over, for tests of what that costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from benchmarks import scale
from portico.ports.draft import Draft
from portico.ports.job import Job
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Failure, Lease, Settlement, Transition
from portico.ports.wanted import Wanted

QUEUES = ("default", "second")
BATCH = 100


async def fill(queue: JobQueueAdapter, rows: int) -> None:
    """So many jobs that are finished, that wait, and that wait for their time."""
    await scale.fill(queue, finished=rows, waiting=rows)
    later = datetime.now(UTC) + timedelta(days=1)
    job = Job(uuid4(), "default", "bench.noop", {}, scheduled_at=later)
    for first in range(0, rows, scale.BATCH):
        numbers = range(first, min(rows, first + scale.BATCH))
        await queue.insert([
            Draft.of(replace(job, id=uuid4(), priority=n % 3, queue_name=QUEUES[n % 2]))
            for n in numbers
        ])  # fmt: skip


async def lease(queue: JobQueueAdapter, count: int = BATCH) -> list[Lease]:
    leases = (await queue.exchange((), QUEUES, count)).leases
    assert len(leases) == count
    return leases


def ends(leases: list[Lease], transition: Transition = Transition.COMPLETE) -> list[Settlement]:
    result = b"{}" if transition is Transition.COMPLETE else None
    failure = None if transition is Transition.COMPLETE else Failure("E", "for this test")
    return [Settlement(one.id, one.token, transition, result, failure) for one in leases]


async def turn(queue: JobQueueAdapter, held: list[Lease]) -> None:
    """Settle a batch and lease the next."""
    exchange = await queue.exchange(ends(held), QUEUES, BATCH)
    assert len(exchange.leases) == BATCH


async def turn_of_failures(queue: JobQueueAdapter, held: list[Lease]) -> None:
    """Settle a batch that is to run again at once, and lease it again among the others."""
    exchange = await queue.exchange(ends(held, Transition.RETRY), QUEUES, BATCH)
    assert len(exchange.leases) == BATCH


async def turn_without_a_type(queue: JobQueueAdapter, held: list[Lease]) -> None:
    """The same with a type left out."""
    without = Wanted(frozenset({"bench.other"}))
    exchange = await queue.exchange(ends(held, Transition.RETRY), QUEUES, BATCH, without)
    assert len(exchange.leases) == BATCH


async def look(queue: JobQueueAdapter, held: list[Lease]) -> None:
    """See that nothing is due, and when something will be."""
    exchange = await queue.exchange((), ("second",), BATCH)
    assert not exchange.leases
    assert exchange.next_due


async def renew(queue: JobQueueAdapter, held: list[Lease]) -> None:
    await queue.renew(held)


async def recover(queue: JobQueueAdapter, held: list[Lease]) -> None:
    await queue.recover()


async def cancel_requests(queue: JobQueueAdapter, held: list[Lease]) -> None:
    """Hear of a request, which is waited for."""
    assert await queue.request_cancel(held[0].job_id)
    assert held[0].key in await queue.cancel_requests()


ACTS: tuple[Callable[[JobQueueAdapter, list[Lease]], Awaitable[None]], ...] = (
    turn, turn_of_failures, turn_without_a_type, look, renew, recover, cancel_requests,
)  # fmt: skip
"""Each is given the queue, and a batch of leases that it may settle."""
