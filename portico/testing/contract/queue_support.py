"""What the rules of the job stores are tested with: clocks that jump, and shorthand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from portico.ports.job import Job, JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import (
    Failure,
    JobRecord,
    Lease,
    Receipt,
    Recovered,
    Settlement,
    Transition,
)
from portico.testing.jobs import make_job

LEASE_SECONDS = 60.0


@dataclass
class Clocks:
    """The wall clock and the monotonic one; both run, and both can be made to jump."""

    wall_offset: float = 0.0
    monotonic_offset: float = 0.0
    one_for_all: bool = False
    """The store has one clock of its own, for leases as well."""
    listeners: list[Callable[[], None]] = field(default_factory=list)
    """Called when a clock has jumped: they tell a store that keeps its own time."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        for listener in self.__dict__.get("listeners", ()):
            listener()

    def wall(self) -> float:
        return time.time() + self.wall_offset

    def monotonic(self) -> float:
        return time.monotonic() + self.monotonic_offset

    def advance(self, seconds: float) -> None:
        self.wall_offset += seconds
        self.monotonic_offset += seconds


async def enqueued(queue: JobQueueAdapter, **fields: Any) -> Job:
    return await queue.enqueue(make_job(**fields))


async def leased(queue: JobQueueAdapter, *queues: str, limit: int = 1) -> list[Lease]:
    return (await queue.exchange((), queues or ("default",), limit)).leases


async def leased_job(queue: JobQueueAdapter, **fields: Any) -> Lease:
    """Enqueue a job into an empty queue and lease it."""
    job = await enqueued(queue, **fields)
    [lease] = await leased(queue, job.queue_name)
    assert lease.job_id == job.id
    return lease


def ending(lease: Lease, transition: Transition, **fields: Any) -> Settlement:
    return Settlement(lease.id, lease.token, transition, **fields)


async def settled(queue: JobQueueAdapter, *settlements: Settlement) -> list[Receipt]:
    return (await queue.exchange(settlements, (), 0)).receipts


async def ended(
    queue: JobQueueAdapter, lease: Lease, transition: Transition, **fields: Any
) -> Receipt:
    [receipt] = await settled(queue, ending(lease, transition, **fields))
    return receipt


async def record(queue: JobQueueAdapter, job_id: UUID) -> JobRecord:
    """What the store knows of a job; every attempt must be accounted for."""
    found = await queue.inspect(job_id)
    assert found is not None
    assert found.accounted, found
    return found


async def status(queue: JobQueueAdapter, job_id: UUID) -> JobStatus:
    return (await record(queue, job_id)).job.status


async def run_out(queue: JobQueueAdapter, clocks: Clocks) -> list[Recovered]:
    """Let every lease run out that is held now, and recover."""
    await queue.renew([])
    await queue.recover()
    clocks.advance(LEASE_SECONDS + 1)
    return await queue.recover()


def failure(message: str = "it broke", kind: str = "ValueError") -> Failure:
    return Failure(kind, message, "Traceback: ...")
