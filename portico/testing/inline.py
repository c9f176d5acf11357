"""Jobs run inside of a test, with the very code that runs them in a worker.

`perform` runs one attempt of one job; `drain` runs what waits in a queue until nothing does. Both
say what became of each attempt: the verdict is `kits.job.execution`'s, the delay before the next
attempt `kits.job.settlement`'s, and the status the store's.

What takes a process of its own is left out: nothing is killed, be it for its memory or because it
goes on after its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from portico.kits.job.execution import Execution
from portico.kits.job.handlers import handlers_by_type
from portico.kits.job.retry import RetryPolicies, RetryPolicy
from portico.kits.job.settlement import settle
from portico.ports import document
from portico.ports.job import Job, JobStatus
from portico.ports.job_executor import Outcome
from portico.ports.job_handler import JobHandler
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import Lease, Settlement, Transition
from portico.testing.clock import FakeClock
from portico.testing.jobs import make_job
from portico.testing.queues import memory_queue

_TICK = 1e-6


@dataclass(frozen=True)
class Attempt:
    """One attempt, and what became of its job.

    Attributes:
        job: the job as the store has it afterwards, with its new status and `retry_count`.
        number: the first attempt is 1.
        result: what the handler returned as `result_data`, in its JSON form; `None` unless it
            succeeded.
        error_type: the class of what it raised, or Portico's word for what went wrong.
        error_message: what it said.
        traceback: where it was raised.
        retry_in: seconds until the next attempt; `None` when there is none.
    """

    job: Job
    number: int
    result: dict[str, Any] | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str = field(default="", repr=False)
    retry_in: float | None = None

    @property
    def status(self) -> JobStatus:
        """What the job is now."""
        return self.job.status


@dataclass(frozen=True)
class Drained:
    """What a drain ran: every attempt, in order."""

    attempts: list[Attempt]

    def ended(self, status: JobStatus) -> list[Job]:
        """The jobs that an attempt took to this status, in that order."""
        return [attempt.job for attempt in self.attempts if attempt.status is status]

    @property
    def completed(self) -> list[Job]:
        """The jobs that succeeded."""
        return self.ended(JobStatus.COMPLETED)

    @property
    def failed(self) -> list[Job]:
        """The jobs that ended FAILED: not to be tried again."""
        return self.ended(JobStatus.FAILED)

    @property
    def dead(self) -> list[Job]:
        """The jobs that ended DEAD_LETTER: no retry was left."""
        return self.ended(JobStatus.DEAD_LETTER)

    @property
    def retried(self) -> list[Job]:
        """The jobs as they were given back for another attempt; one may be there several times."""
        return self.ended(JobStatus.RETRYING)


async def perform(
    handler: JobHandler,
    payload: Mapping[str, Any] | None = None,
    *,
    retry_count: int = 0,
    job_timeout: float | None = None,
    retry_policy: RetryPolicy | None = None,
    retry_returned_failures: bool = False,
    **fields: Any,
) -> Attempt:
    """Run one attempt of a job that has this payload, in no queue of anybody's.

        attempt = await perform(SendEmail(mailer), {"to": "ann@example.org"}, retry_count=3)
        assert attempt.status is JobStatus.DEAD_LETTER

    Args:
        handler: what runs it, `on_failure` included.
        payload: the job's input; empty when left out.
        retry_count: how often it has been retried before, at most `max_retries` (3 by default).
        job_timeout: its soft deadline in seconds; `None` sets none.
        retry_policy: when a failed attempt is retried; as in a worker when left out.
        retry_returned_failures: retry `JobResult(success=False)` like a raised exception.
        fields: other fields of the `Job`: `max_retries`, `metadata`, `id` and so on.

    Raises:
        ValidationError: a field of the job is not acceptable.
        ValueError: `retry_count` is negative, or more than `max_retries`.
    """
    handlers = handlers_by_type([handler])
    job = make_job(**{"job_type": next(iter(handlers)), "payload": dict(payload or {}), **fields})
    if not 0 <= retry_count <= job.max_retries:
        raise ValueError(f"retry_count is {retry_count}; give 0 to max_retries, {job.max_retries}")
    clock = FakeClock()
    queue = memory_queue(clock)
    stored = await queue.enqueue(job)
    if stored.scheduled_at is not None and stored.status is JobStatus.SCHEDULED:
        clock.advance(stored.scheduled_at - clock.now() + timedelta(microseconds=1))
    lease = await _lease(queue, job.queue_name)
    for _ in range(retry_count):
        await queue.exchange([Settlement(lease.id, lease.token, Transition.RETRY)], (), 0)
        lease = await _lease(queue, job.queue_name)
    policies = RetryPolicies(retry_policy or RetryPolicy())
    runner = _Runner(queue, handlers, policies, job_timeout, retry_returned_failures)
    return await runner.run(lease)


async def drain(
    queue: JobQueueAdapter,
    handlers: Mapping[str, JobHandler] | Iterable[JobHandler],
    *,
    queues: Sequence[str] = ("default",),
    clock: FakeClock | None = None,
    job_timeout: float | None = None,
    retry_policy: RetryPolicy | None = None,
    retry_returned_failures: bool = False,
    limit: int = 1000,
) -> Drained:
    """Run everything that is due, one job after the other, also what those jobs create.

    Args:
        queue: where the jobs are, initialized.
        handlers: by job type, or any iterable of handlers.
        queues: served in this strict order.
        clock: the queue's. With it jobs that are due later, be they scheduled or to be retried,
            are brought forward by advancing it, until none waits; without it they are left.
        job_timeout: soft deadline of each job in seconds; `None` sets none.
        retry_policy: when to retry; as in a worker when left out.
        retry_returned_failures: retry `JobResult(success=False)` like a raised exception.
        limit: attempts after which something must be wrong.

    Raises:
        AssertionError: more attempts than `limit`: jobs create jobs without end.
        ConfigurationError: the handlers are not usable.
    """
    policies = RetryPolicies(retry_policy or RetryPolicy())
    by_type = handlers_by_type(handlers)
    runner = _Runner(queue, by_type, policies, job_timeout, retry_returned_failures)
    attempts: list[Attempt] = []
    while True:
        exchange = await queue.exchange((), queues, 1)
        for lease in exchange.leases:
            attempts.append(await runner.run(lease))
            if len(attempts) > limit:
                newest = attempts[-1].job
                raise AssertionError(
                    f"more than {limit} attempts, the last of {newest.job_type} {newest.id}; "
                    "do jobs create jobs without end? Otherwise give a higher limit"
                )
        if exchange.leases:
            continue
        if clock is None or exchange.next_due is None:
            return Drained(attempts)
        clock.advance(max(exchange.next_due, _TICK))


async def _lease(queue: JobQueueAdapter, name: str) -> Lease:
    [lease] = (await queue.exchange((), (name,), 1)).leases
    return lease


class _Runner:
    """Runs leases of one queue to their settlement."""

    def __init__(
        self,
        queue: JobQueueAdapter,
        handlers: Mapping[str, JobHandler],
        policies: RetryPolicies,
        job_timeout: float | None,
        retry_returned_failures: bool,
    ) -> None:
        self._queue = queue
        self._policies = policies
        self._timeout = job_timeout
        self._execution = Execution(handlers, retry_returned_failures=retry_returned_failures)

    async def run(self, lease: Lease) -> Attempt:
        task = asyncio.create_task(self._execution.run(lease, self._timeout))
        try:
            await asyncio.wait([task])
        finally:
            if not task.done():  # the test was cancelled
                self._execution.interrupt(task)
        settlement = settle(Outcome(lease, self._execution.verdict(task)), self._policies)
        await self._queue.exchange([settlement], (), 0)
        job = await self._queue.get_job(lease.job_id)
        if job is None:
            raise AssertionError(f"job {lease.job_id} was deleted while it ran")
        return _attempt(lease, settlement, job)


def _attempt(lease: Lease, settlement: Settlement, job: Job) -> Attempt:
    failure = settlement.failure
    result = settlement.result if settlement.transition is Transition.COMPLETE else None
    return Attempt(
        job,
        lease.attempt,
        None if result is None else document.decode(result),
        None if failure is None else failure.type,
        None if failure is None else failure.message,
        "" if failure is None else failure.traceback,
        settlement.delay if job.status in (JobStatus.RETRYING, JobStatus.SCHEDULED) else None,
    )
