"""Leases, executors and stores for the tests of the job kit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

from portico.adapters.job_queue.memory_queue import MemoryJobQueueAdapter
from portico.exceptions import QueueConnectionError
from portico.ports.job import Job, JobResult
from portico.ports.job_executor import Completed, JobExecutor, Outcome, Released, Verdict
from portico.ports.job_handler import JobHandler
from portico.ports.leasing import Exchange, Failure, Lease, Settlement


def make_lease(**overrides: Any) -> Lease:
    """A lease on a first attempt, with some fields set otherwise."""
    fields: dict[str, Any] = {
        "id": uuid4().bytes,
        "token": uuid4().bytes,
        "attempt": 1,
        "queue_name": "default",
        "job_type": "test.job",
        "payload": b"{}",
        "priority": 0,
        "max_retries": 3,
        "retry_count": 0,
        "scheduled_at": None,
        "started_at": 1_763_920_000_123_456,
        "created_at": 1_763_919_000_000_001,
        "created_by": None,
        "metadata": b"{}",
        "error_message": None,
        "suspect": False,
    }
    return Lease(**{**fields, **overrides})


class Doing(JobHandler):
    """Runs a function; notes the jobs it saw and what `on_failure` was told."""

    def __init__(
        self,
        handle: Callable[[Job], Awaitable[Any]] | None = None,
        on_failure: Callable[[Job, Exception], Awaitable[None]] | None = None,
        job_type: str = "test.job",
    ) -> None:
        self._handle = handle
        self._on_failure = on_failure
        self._job_type = job_type
        self.jobs: list[Job] = []
        self.told: list[tuple[Job, Exception]] = []

    @property
    def job_type(self) -> str:
        return self._job_type

    async def handle(self, job: Job) -> JobResult:
        self.jobs.append(job)
        return JobResult(success=True) if self._handle is None else await self._handle(job)

    async def on_failure(self, job: Job, error: Exception) -> None:
        self.told.append((job, error))
        if self._on_failure is not None:
            await self._on_failure(job, error)


class ManualExecutor(JobExecutor):
    """Runs nothing: the test says what ends, and sees what was asked."""

    def __init__(self, capacity: int = 4, *, at_once: Verdict | None = None) -> None:
        self.capacity = capacity
        self.at_once = at_once
        self.leases: list[Lease] = []
        self.forfeited: list[Lease] = []
        self.cancelled: list[Lease] = []
        self.mourned: list[tuple[Lease, Failure]] = []
        self.graces: list[float] = []
        self.may_drain = asyncio.Event()
        self.may_drain.set()
        self._outcomes: list[Outcome] = []
        self._changed: Callable[[], None] = lambda: None

    def end(self, verdict: Verdict | None = None, *leases: Lease) -> None:
        """End these leases, or all that are held."""
        for lease in leases or tuple(self.leases):
            self.leases.remove(lease)
            self._outcomes.append(Outcome(lease, Completed(b"{}") if verdict is None else verdict))
        self._changed()

    def on_change(self, callback: Callable[[], None]) -> None:
        self._changed = callback

    def free(self) -> int:
        return self.capacity - len(self.leases)

    def submit(self, leases: Sequence[Lease]) -> None:
        if self.at_once is not None:
            self._outcomes += [Outcome(lease, self.at_once) for lease in leases]
            self._changed()
        else:
            self.leases += leases

    def finished(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def held(self) -> list[Lease]:
        return list(self.leases)

    def forfeit(self, leases: Sequence[Lease]) -> None:
        self.forfeited += leases
        self.leases = [lease for lease in self.leases if lease not in leases]
        self._changed()

    def cancel(self, leases: Sequence[Lease]) -> None:
        self.cancelled += leases

    def mourn(self, lease: Lease, failure: Failure) -> None:
        self.mourned.append((lease, failure))

    async def drain(self, grace: float) -> None:
        self.graces.append(grace)
        await self.may_drain.wait()
        if self.leases:
            self.end(Released())


class FlakyQueue(MemoryJobQueueAdapter):
    """A queue in memory whose exchanges can fail, before or after they were applied."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.exchanges: list[tuple[int, int]] = []
        """Settlements and limit of each exchange that was tried."""
        self.script: list[str] = []
        """For the exchanges to come: `ok`, `lost`, `reply lost`, `broken`, `hang`."""
        self.down = False
        self.why: Exception = QueueConnectionError("no route to store")
        """What a queue that is down says."""
        self.renewals = 0

    async def exchange(
        self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int
    ) -> Exchange:
        self.exchanges.append((len(settlements), limit))
        step = "lost" if self.down else (self.script.pop(0) if self.script else "ok")
        if step == "lost":
            raise QueueConnectionError("no route to store")
        if step == "broken":
            raise ZeroDivisionError("a defect in the adapter")
        if step == "hang":
            await asyncio.Event().wait()
        exchange = await super().exchange(settlements, queues, limit)
        if step == "reply lost":
            raise QueueConnectionError("connection reset")
        return exchange

    async def renew(self, leases: Sequence[Lease]) -> Any:
        if self.down:
            raise self.why
        self.renewals += 1
        return await super().renew(leases)
