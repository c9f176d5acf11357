"""The port that application code implements: one class per job type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from portico.ports.job import Job, JobResult

MYPY = False
"""mypy takes it for true, and pyright for unknown."""


class JobHandler(ABC):
    """Runs the jobs of one type.

    A handler is built once per worker process, with its dependencies injected, and serves many
    jobs, several at a time when the worker's concurrency is above one. So it keeps no state
    between jobs. A job may run more than once (its worker may die after the work and before the
    report), so effects outside the process should use `job.id` as an idempotency key.

    A handler may have an attribute `job_timeout`, the soft deadline of its jobs in seconds (`None`:
    none), and `kill_grace`, the seconds from there until the worker of a job that goes on is
    killed. They go before the supervisor's own settings. An attribute `max_running` says how many
    of its jobs may run at a time in one supervisor; others are put off, uncharged, until their
    turn, and do not keep jobs of other types waiting. With `alone = True` each of its jobs has a
    worker process to itself, started for it and ended after it: nothing of another job is in there,
    and nothing of this one stays for others. Each may be a class attribute or a property.
    Handlers are looked at when they are loaded: a `handle` that is not `async def`, or takes
    anything but the job, is refused, and so is an attribute that looks like one of these misspelt.
    """

    if MYPY or not TYPE_CHECKING:

        @property
        @abstractmethod
        def job_type(self) -> str:
            """The type of the jobs that this handler runs, such as `email.send`; a class attribute
            or a property."""
    else:  # for pyright nothing but `Any` may be overridden by an attribute and by a property
        job_type: Any

    @abstractmethod
    async def handle(self, job: Job) -> JobResult:
        """Run one job.

        A returned `JobResult(success=False)` is final: the job ends FAILED, unless the result
        says `retryable=True`. A raised exception of any class asks for a retry, which happens
        while `job.retry_count < job.max_retries` and dead-letters the job after that; except
        `NonRetryableError` and its subclasses, which end it FAILED. So does a group that holds one,
        as a TaskGroup raises it: what one part of the job cannot do, trying again cannot mend. Of
        an error raised `from` another the class that was raised counts.

        Args:
            job: the job as it was leased, RUNNING, with its payload decoded.

        Returns:
            The result; its `result_data` must be a JSON object of at most 1 MiB.

        Raises:
            asyncio.CancelledError: inside the handler, at the job's soft deadline or when a
                shutdown's grace is over. A handler that goes on regardless, or that never
                yields to the loop, is killed with its process some seconds later.
        """

    async def on_failure(self, job: Job, error: Exception) -> None:  # noqa: B027 - a hook
        """Clean up or tell someone after a failed attempt; does nothing unless overridden.

        Runs once per failed attempt and ends before the next attempt starts; has 30 seconds.
        What it raises is logged and changes nothing. Not called for an attempt that was released
        uncharged (shutdown), nor for one whose lease ran out and that will be tried again.

        Args:
            job: the job as it was leased: on the last attempt
                `job.retry_count >= job.max_retries`.
            error: what the handler raised or returned; `JobTimeoutError` or `WorkerLostError`
                when the process that ran it is gone, and then in another, healthy worker.
        """
