"""Jobs run in this process: `WorkerManager`, for applications that need no worker processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from portico.exceptions import ConfigurationError
from portico.kits.job.handlers import handlers_by_type
from portico.kits.job.job_audit import JobAudit
from portico.kits.job.journal import Progress
from portico.kits.job.pipeline import LEASE_SECONDS, Pipeline
from portico.kits.job.retry import RetryPolicies, RetryPolicy
from portico.kits.job.task_executor import TaskExecutor
from portico.ports.audit import AuditAdapter
from portico.ports.draft import checked_name
from portico.ports.job_handler import JobHandler
from portico.ports.job_queue import JobQueueAdapter
from portico.utils.logging import get_logger

SHUTDOWN_GRACE = 25.0

logger = get_logger(__name__)


class _Running(NamedTuple):
    pipeline: Pipeline
    task: asyncio.Task[None]


class WorkerManager:
    """Leases jobs and runs their handlers as tasks of the running loop.

        async with WorkerManager(job_queue, handlers) as manager:
            await manager.wait()

    Right for I/O-bound handlers: one that holds the loop holds up everything else in the process,
    and nothing can stop it. `portico.supervisor` runs handlers in processes of their own.
    """

    def __init__(  # noqa: PLR0913 - the documented constructor
        self,
        job_queue: JobQueueAdapter | None = None,
        handlers: Mapping[str, JobHandler] | Iterable[JobHandler] = (),
        concurrency: int = 10,
        queues: Sequence[str] = ("default",),
        *,
        retry_policy: RetryPolicy | None = None,
        retry_policies: Mapping[str, RetryPolicy] | None = None,
        job_timeout: float | None = None,
        shutdown_grace: float = SHUTDOWN_GRACE,
        retry_returned_failures: bool = False,
        audit: AuditAdapter | None = None,
        lease_seconds: float | None = None,
        drain_when_empty: bool = False,
        queue_adapter: JobQueueAdapter | None = None,
        num_workers: int | None = None,
    ) -> None:
        """Check everything; nothing starts before `start`.

        Args:
            job_queue: where the jobs are; `start` initializes it, nobody here closes it.
            handlers: by job type, or any iterable of handlers.
            concurrency: jobs that run at the same time.
            queues: served in this strict order.
            retry_policy: when to retry; 2 s doubling to 1 h, with jitter, when left out.
            retry_policies: the policies of single job types.
            job_timeout: soft deadline of each job in seconds; `None` sets none.
            shutdown_grace: seconds that running jobs have when `stop` is called.
            retry_returned_failures: retry `JobResult(success=False)` like a raised exception.
            audit: told of every job that ends.
            lease_seconds: how long the adapter's leases hold; asked of the adapter when left out.
            drain_when_empty: stop when no job is due any more.
            queue_adapter: another name of `job_queue`.
            num_workers: another name of `concurrency`.

        Raises:
            ConfigurationError: an argument is not usable; the message names it.
            ValidationError: a queue name is not acceptable.
        """
        self._queue = _checked_queue(job_queue if queue_adapter is None else queue_adapter)
        self._handlers = handlers_by_type(handlers)
        self._concurrency = _checked_concurrency(
            concurrency if num_workers is None else num_workers
        )
        self._queues = _checked_queues(queues)
        self._policies = RetryPolicies(retry_policy or RetryPolicy(), dict(retry_policies or {}))
        self._job_timeout = _checked_seconds("job_timeout", job_timeout)
        self._shutdown_grace = _checked_seconds("shutdown_grace", shutdown_grace) or 0.0
        self._retry_returned_failures = retry_returned_failures
        self._audit = JobAudit(audit) if audit is not None else None
        self._lease_seconds = _lease_seconds(lease_seconds, self._queue)
        self._drain_when_empty = drain_when_empty
        self._starting = asyncio.Lock()
        self._running: _Running | None = None
        self._progress = Progress()

    @property
    def is_running(self) -> bool:
        """Whether jobs are being run; `False` once it has stopped, for whatever reason."""
        return self._running is not None and not self._running.task.done()

    @property
    def progress(self) -> Progress:
        """Counts since the last start."""
        return self._progress

    async def start(self) -> None:
        """Start running jobs, and return; does nothing when it is running.

        Raises:
            QueueConnectionError: the store cannot be reached.
        """
        async with self._starting:
            if self.is_running:
                return
            await self._queue.initialize()
            pipeline = self._pipeline()
            await pipeline.open()
            self._progress = pipeline.progress
            task = asyncio.create_task(pipeline.run(), name="portico-pipeline")
            task.add_done_callback(partial(_log_end, pipeline.progress))
            self._running = _Running(pipeline, task)
            logger.info(
                "worker_manager_started",
                concurrency=self._concurrency,
                queues=",".join(self._queues),
                job_types=",".join(sorted(self._handlers)),
            )

    async def stop(self, grace: float | None = None) -> None:
        """Take no more jobs, let running ones end, cancel what has not ended after the grace.

        Does nothing when it is not running. A second call with a shorter grace shortens the first.

        Raises:
            Exception: what ended the work before this, if something did.
        """
        running = self._running
        if running is None:
            return
        running.pipeline.stop(self._shutdown_grace if grace is None else grace)
        try:
            await asyncio.shield(running.task)
        finally:
            if running.task.done() and self._running is running:
                self._running = None

    async def wait(self) -> None:
        """Return when it has stopped: by `stop`, or with `drain_when_empty` by itself.

        Raises:
            Exception: what ended the work, if something did.
        """
        if self._running is not None:
            await asyncio.shield(self._running.task)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _pipeline(self) -> Pipeline:
        executor = TaskExecutor(
            self._handlers,
            self._concurrency,
            self._job_timeout,
            retry_returned_failures=self._retry_returned_failures,
        )
        return Pipeline(
            self._queue,
            executor,
            self._queues,
            policies=self._policies,
            lease_seconds=self._lease_seconds,
            audit=self._audit,
            drain_when_empty=self._drain_when_empty,
        )


def _log_end(progress: Progress, task: asyncio.Task[None]) -> None:
    """Whatever ends the work is said at once: nobody may be waiting for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("worker_manager_failed", error=f"{type(error).__name__}: {error}")
    else:
        logger.info("worker_manager_stopped", **asdict(progress))


def _checked_queue(queue: JobQueueAdapter | None) -> JobQueueAdapter:
    if queue is None:
        raise ConfigurationError("job_queue is missing; give a JobQueueAdapter")
    if not isinstance(queue, JobQueueAdapter):
        raise ConfigurationError(
            f"job_queue is of type {type(queue).__name__}; give a JobQueueAdapter"
        )
    return queue


def _checked_concurrency(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ConfigurationError(f"concurrency is {value!r}; give a whole number of 1 or more")


def _checked_queues(queues: Sequence[str]) -> tuple[str, ...]:
    names = (queues,) if isinstance(queues, str) else tuple(dict.fromkeys(queues))
    if not names:
        raise ConfigurationError("queues is empty; give at least one queue name")
    return tuple(checked_name(name, "queues") for name in names)


def _checked_seconds(name: str, value: float | None) -> float | None:
    if value is None or value >= 0:
        return value
    raise ConfigurationError(f"{name} is {value!r}; give seconds, 0 or more")


def _lease_seconds(given: float | None, queue: JobQueueAdapter) -> float:
    seconds: object = getattr(queue, "lease_seconds", LEASE_SECONDS) if given is None else given
    if isinstance(seconds, int | float) and seconds > 0:
        return seconds
    raise ConfigurationError(f"lease_seconds is {seconds!r}; give seconds, more than 0")
