"""Creating and managing jobs: what application code and the command line call."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Self, Unpack
from uuid import UUID

from portico.exceptions import ResourceNotFoundError, ValidationError
from portico.kits.job.job_audit import JobAudit
from portico.kits.job.new_job import arguments_of, new_job
from portico.kits.job.within import JobsWithin, JobsWithinSync
from portico.ports import bulk
from portico.ports.audit import AuditAdapter
from portico.ports.bulk import Created
from portico.ports.draft import Draft, checked_id, drafted
from portico.ports.job import Job, QueueStats
from portico.ports.job_creator import JobCreator
from portico.ports.job_options import JobOptions, spelled_out
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter, JobPage, JobRecord, Outlook

_FIRST_LOOK = 0.02
_SLOWEST_LOOK = 1.0
_SHOWN = 12


class JobService(JobCreator):
    """Creates jobs in a queue, and looks after them.

    The queue must be initialized; `async with` does that, and closes it afterwards. Job ids may be
    given as UUIDs or as their text. Every method may raise `QueueConnectionError`, and those beyond
    the nine methods of the queue port `NotSupportedError`.
    """

    def __init__(
        self,
        job_queue: JobQueueAdapter | None = None,
        *,
        queue_adapter: JobQueueAdapter | None = None,
        job_types: Collection[str] | None = None,
        audit: AuditAdapter | None = None,
    ) -> None:
        """Build the service.

        Args:
            job_queue: where the jobs are kept.
            queue_adapter: another spelling of `job_queue`.
            job_types: the types that may be created, or the handlers by type; all when left out.
                Looked at on every call, so a registry may grow later.
            audit: told about created and cancelled jobs.
        """
        queue = job_queue if job_queue is not None else queue_adapter
        if queue is None:
            raise TypeError("JobService needs a job_queue")
        self._queue = queue
        self._job_types = job_types
        self._audit = JobAudit(audit)

    async def __aenter__(self) -> Self:
        await self._queue.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._queue.close()

    @spelled_out
    async def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        queue_name: str = "default",
        priority: int = 0,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Create a job and return when the store has it; see `JobCreator`."""
        arguments = arguments_of(job_type, payload, queue_name, priority, options)
        job = bulk.accepted(self._checked_job, arguments)
        stored = await self._stored(job)
        await self._audit.created(stored)
        return stored

    async def _stored(self, job: Job | Draft) -> Job:
        if isinstance(job, Job):
            return await self._queue.enqueue(job)
        return bulk.only(await self._queue.enqueue_many([job]))

    async def create_jobs(
        self, jobs: Iterable[Mapping[str, Any]], *, return_exceptions: bool = False
    ) -> list[Created]:
        """Create many jobs, up to `bulk.PORTION` of them in one transaction; see `JobCreator`, and
        `JobQueueAdapter.enqueue_many` for what becomes of more.

        Raises:
            QueueFullError: a queue takes no more jobs; none of the first transaction is stored.
                One that a later transaction meets is the outcome of those that follow.
        """
        items = bulk.each(self._checked_job, jobs)
        created = bulk.outcomes(items, await self._queue.enqueue_many(bulk.made(items)))
        for outcome in created:
            if outcome.job is not None:
                await self._audit.created(outcome.job)
        return bulk.told(created, return_exceptions=return_exceptions)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Hold the arguments of one `create_job` against every rule that is known beforehand.

        Those are all but two: whether its id is taken, and whether its queue is full. The service
        need not be open.

        Raises:
            ValidationError: `create_job` would refuse them.
        """
        self._draft(arguments)

    def within(self, connection: object) -> JobsWithin:
        """Create jobs in a transaction of the caller's, on a connection that is awaited.

        The queue's own database is needed: the same SQLite file, or the same PostgreSQL database.
        All rules of admission hold; `max_pending` counts what that transaction sees. The service
        itself need not be open, once the database has the tables. On SQLite nobody else writes
        while that transaction is open, supervisors included.

        No supervisor can see the jobs before the commit, and none need be told of it: on PostgreSQL
        they wake at once, on SQLite within a second, or at once by `committed`, which also tells
        the audit log.

        Args:
            connection: of asyncpg, psycopg 3 (`AsyncConnection`), aiosqlite, or SQLAlchemy 2
                (`AsyncConnection`, `AsyncSession`), with an open transaction, or such that it
                begins one by itself.

        Raises:
            ValidationError: the connection is of another kind. What else is wrong with it (closed,
                another database, autocommit) is said when a job is created.
            NotSupportedError: the queue is not in a database.
        """
        return JobsWithin(self._queue.within(connection), self._draft)

    def within_sync(self, connection: object) -> JobsWithinSync:
        """Create jobs in a transaction of the caller's, on a connection with plain methods.

        As `within`, for connections of sqlite3, psycopg 3, and SQLAlchemy 2 (`Connection`,
        `Session`, `scoped_session`). What it returns has plain methods as well, needs no event
        loop, blocks, and may be used in any thread that the connection may be used in.
        """
        return JobsWithinSync(self._queue.within_sync(connection), self._draft)

    async def committed(self, jobs: Iterable[Job]) -> None:
        """Say that the transaction is committed which these were created in by `within`.

        It wakes idle supervisors, and tells the audit log of each job that the store has now: a job
        whose transaction was rolled back is never audited. Nothing else depends on it. With an
        audit log the service must be open.
        """
        jobs = list(jobs)
        self._queue.wake({job.queue_name for job in jobs})
        if self._audit.kept:
            for job in jobs:
                if await self._queue.get_job(job.id) is not None:
                    await self._audit.created(job)

    async def get_job(self, job_id: UUID | str) -> Job | None:
        """The job as it is now; `None` when there is none."""
        return await self._queue.get_job(checked_id(job_id, "job_id"))

    async def cancel_job(self, job_id: UUID | str, running: bool = False) -> bool:  # noqa: FBT001, FBT002 - the documented signature
        """Cancel a waiting job; with `running`, ask the holder of a running one to stop it.

        Returns:
            Whether it was cancelled, or the request recorded; `False` for a job in any other
            status, and for one that does not exist.
        """
        identity = checked_id(job_id, "job_id")
        if await self._queue.cancel_job(identity):
            await self._audit.cancelled(identity)
            return True
        if running and await self._queue.request_cancel(identity):
            await self._audit.cancelled(identity, running=True)
            return True
        return False

    async def get_result(self, job_id: UUID | str) -> dict[str, Any] | None:
        """The `result_data` of a COMPLETED job; `None` for any other."""
        return await self._queue.get_result(checked_id(job_id, "job_id"))

    async def wait_for(self, job_id: UUID | str, timeout: float | None = None) -> Job:
        """The job, once it is in a terminal status.

        Looks at the store from time to time, 50 times a second at first and once a second in the
        end.

        Raises:
            TimeoutError: it was still in work after `timeout` seconds.
            ResourceNotFoundError: there is no such job.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._ended(job_id)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(
                f"job {job_id} has not ended within {timeout} s; it is left as it is, and get_job "
                "tells its status"
            ) from error

    async def _ended(self, job_id: UUID | str) -> Job:
        delay = _FIRST_LOOK
        while True:
            job = await self.get_job(job_id)
            if job is None:
                raise ResourceNotFoundError(f"there is no job {job_id}")
            if job.status.terminal:
                return job
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, _SLOWEST_LOOK)

    async def get_job_stats(self, queue_name: str = "default") -> QueueStats:
        """How many jobs of the queue are in each status."""
        return await self._queue.get_queue_stats(queue_name)

    async def all_stats(self) -> Mapping[str, QueueStats]:
        """The stats of every queue that holds a job, by name."""
        return await self._queue.all_stats()

    async def outlook(self) -> Mapping[str, Outlook]:
        """How long jobs wait in every queue in which any do, by name."""
        return await self._queue.outlook()

    async def served(self) -> bool | None:
        """Whether a supervisor gives a sign of life; `None` where the store cannot tell."""
        return await self._queue.served()

    async def list_jobs(
        self, jobs: JobFilter | None = None, limit: int = 50, cursor: str | None = None
    ) -> JobPage:
        """One page of the jobs that match, newest first; `limit` from 1 to 1000."""
        return await self._queue.list_jobs(_checked_filter(jobs), limit, cursor)

    async def inspect(self, job_id: UUID | str) -> JobRecord | None:
        """The job with everything the store knows of its attempts."""
        return await self._queue.inspect(checked_id(job_id, "job_id"))

    async def redrive(self, job_ids: Sequence[UUID | str]) -> list[UUID]:
        """FAILED and DEAD_LETTER → PENDING with fresh counters; returns what was changed."""
        return await self._queue.redrive([checked_id(job_id, "job_id") for job_id in job_ids])

    async def purge(self, jobs: JobFilter, limit: int = 1000) -> int:
        """Delete terminal jobs that match, at most `limit`; returns how many went."""
        return await self._queue.purge(_checked_filter(jobs), limit)

    def _job(self, arguments: Mapping[str, Any]) -> Job | Draft:
        job = new_job(arguments)
        self._check_type(job.job_type)
        return job

    def _checked_job(self, arguments: Mapping[str, Any]) -> Job | Draft:
        job = self._job(arguments)
        drafted(job)  # an adapter of another make may not check
        return job

    def _draft(self, arguments: Mapping[str, Any]) -> Draft:
        draft = drafted(self._job(arguments))
        self._queue.check_draft(draft)
        return draft

    def _check_type(self, job_type: object) -> None:
        known = self._job_types
        if known is None or job_type in known:
            return
        close = get_close_matches(str(job_type), known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValidationError(
            f"job_type is {job_type!r}, which no handler here serves{hint} "
            f"Known types: {_listed(sorted(known))}",
            {"field": "job_type", "value": job_type},
        )


def _checked_filter(jobs: object) -> JobFilter:
    if jobs is None:
        return JobFilter()
    if isinstance(jobs, JobFilter):
        return jobs
    named = ", ".join(each.name for each in fields(JobFilter))
    raise ValidationError(
        f"the filter is {jobs!r:.80}; give a JobFilter, as JobFilter(job_type='email.send'), "
        f"with any of {named}"
    )


def _listed(names: Sequence[str]) -> str:
    rest = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + rest
