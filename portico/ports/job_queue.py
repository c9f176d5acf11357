"""The port of the job stores.

An adapter must implement the nine documented methods, and then works under `WorkerManager` and
the supervisor. The **leasing surface** below them has default implementations over the nine; an
adapter that overrides it gains batches, fences, recovery and inspection. `limitations()` says
what an adapter leaves to the defaults and therefore cannot promise.

The states and who may change them are the table of `Transition`; besides those: `lease` takes a
PENDING, due SCHEDULED or due RETRYING job to RUNNING with attempt + 1 and a new token; an expired
lease is settled like a retry (DEAD_LETTER also at the tenth time); `cancel_job` takes a waiting
job to FAILED; `redrive` takes FAILED and DEAD_LETTER to PENDING with attempt and counters at 0;
`purge` removes terminal jobs. Anything else changes nothing.

Order in every adapter: priority, highest first, then the time since when the job has been due,
then the order of enqueueing.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from portico.exceptions import NotSupportedError
from portico.ports import bulk, nine_methods
from portico.ports.bulk import Created
from portico.ports.draft import Draft, drafted
from portico.ports.job import Job, JobStatus, QueueStats
from portico.ports.leasing import (
    Answer,
    Exchange,
    Failure,
    Inserted,
    JobFilter,
    JobPage,
    JobRecord,
    Lease,
    LeaseKey,
    Outlook,
    Receipt,
    Recovered,
    Renewal,
    Settlement,
    Transition,
)
from portico.ports.transaction import SyncTransaction, Transaction
from portico.ports.wanted import EVERYTHING, Wanted

__all__ = [
    "Answer",
    "Created",
    "Draft",
    "Exchange",
    "Failure",
    "Inserted",
    "JobFilter",
    "JobPage",
    "JobQueueAdapter",
    "JobRecord",
    "Lease",
    "LeaseKey",
    "Outlook",
    "Receipt",
    "Recovered",
    "Renewal",
    "Settlement",
    "Transition",
]


class JobQueueAdapter(ABC):
    """A store of jobs.

    Every method may raise `QueueConnectionError` when the store cannot be reached; a change whose
    answer got lost that way may have been applied, and may be repeated.
    """

    @abstractmethod
    async def initialize(self) -> None:
        """Connect, and create or upgrade the schema. May be called twice.

        Raises:
            ConfigurationError: the store cannot be used as it is (newer schema, read-only file).
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of every connection. May be called twice."""

    @abstractmethod
    async def enqueue(self, job: Job) -> Job:
        """Store a job and return it as stored, when the store has it.

        Sets `created_at`; the status becomes PENDING, or SCHEDULED when `scheduled_at` is in the
        future. A job that reads FAILED or DEAD_LETTER (as `get_job` returned it) and is so in the
        store is redriven instead.

        Raises:
            ValidationError: a field is not acceptable.
            ConflictError: a job with this id exists; it is left as it was.
        """

    @abstractmethod
    async def dequeue(self, queue_name: str, timeout: float = 30) -> Job | None:
        """Lease the next due job of a queue: it is RUNNING, with `started_at`, in one atomic step.

        Waits at most `timeout` seconds of monotonic time, and wakes as soon as a job is there; 0
        does not wait.
        """

    @abstractmethod
    async def acknowledge(self, job_id: UUID) -> None:
        """RUNNING → COMPLETED with `completed_at`; on any other job nothing changes."""

    @abstractmethod
    async def reject(
        self,
        job_id: UUID,
        requeue: bool = True,
        error_message: str | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        """End a RUNNING attempt without success, and store the message.

        With `requeue` and retries left: RETRYING, `retry_count` + 1, due after `delay` seconds.
        With `requeue` and none left: DEAD_LETTER. Without `requeue`: FAILED. On a job that is not
        RUNNING nothing changes.
        """

    @abstractmethod
    async def get_job(self, job_id: UUID) -> Job | None:
        """The job as it is now."""

    @abstractmethod
    async def cancel_job(self, job_id: UUID) -> bool:
        """A waiting job → FAILED with the message "Job cancelled", `True`; otherwise `False`."""

    @abstractmethod
    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        """How many jobs of the queue are in each status; zeros for a queue without jobs."""

    # The leasing surface: everything below has a default over the nine methods above.

    def trouble(self) -> str | None:
        """Why the store gives out no jobs at the moment though it answers, as far as is known."""
        return None

    async def served(self) -> bool | None:
        """Whether anybody who leases jobs here gives a sign of life; from which queues he does is
        not known. `None`: this store cannot tell."""
        return None

    def limitations(self) -> list[str]:
        """What this adapter cannot promise because it leaves parts of the surface to defaults."""
        return [
            sentence
            for method, sentence in nine_methods.LIMITATIONS.items()
            if getattr(type(self), method) is getattr(JobQueueAdapter, method)
        ]

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        """Store many jobs in one transaction, their documents unopened.

        Returns:
            Per draft what became of it, or `None` where a job with this id exists already (also
            earlier in the same call); that one is left as it was.

        Raises:
            QueueFullError: a queue takes no more jobs; none of the call is stored.
            ValidationError: a draft is due further ahead than the store takes; likewise.
        """
        return await nine_methods.insert(self, drafts)

    def check_draft(self, draft: Draft) -> None:
        """Hold one draft against this store's own rules, beyond those of `Draft`.

        Raises:
            ValidationError: the store would not take it, whatever comes with it.
        """
        del draft

    async def enqueue_many(self, jobs: Sequence[Job | Draft]) -> list[Created]:
        """Store many jobs, or drafts of them, in few transactions and round trips.

        Unlike `enqueue` it redrives nothing: an id that is taken is a conflict. Up to
        `bulk.PORTION` jobs, or `bulk.PORTION_BYTES` of their documents, are one transaction, all or
        none; more of them are several. The checks keep the event loop busy (some seconds for
        100 000 small ones).

        Returns:
            Per job, in order, the job as stored or the error that kept it out; one that is not
            acceptable, or whose id exists (also earlier in the same call), does not keep the
            others out. Where the store has taken some portions and refused a later one, that error
            is the outcome of each job of it and of those that follow.

        Raises:
            QueueFullError: a queue takes no more jobs; none of the call is stored. An adapter that
                leaves `insert` to its default has stored those before.
        """
        if type(self).insert is JobQueueAdapter.insert:
            return await nine_methods.enqueue_many(self, jobs)
        return await bulk.in_portions(self._drafted, jobs, self.insert)

    def _drafted(self, job: Job | Draft) -> Draft:
        draft = drafted(job)
        self.check_draft(draft)
        return draft

    def within(self, connection: object) -> Transaction:
        """The open transaction of a connection of the caller's that is awaited.

        Raises:
            ValidationError: the connection is of no kind that is known, or not awaited.
            NotSupportedError: this queue is not in a database.
        """
        raise nine_methods.not_within(self, connection)

    def within_sync(self, connection: object) -> SyncTransaction:
        """The open transaction of a connection of the caller's with plain methods; as `within`."""
        raise nine_methods.not_within(self, connection)

    def wake(self, queues: Collection[str]) -> None:
        """Wake who waits for these queues, in this process and in others, as far as the store can.

        For commits that the store has not seen. Never needed: whoever waits looks for himself in
        the end. Raises nothing.
        """
        del queues

    async def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> Exchange:
        """Settle what is finished and lease what can be started, in one transaction.

        Each settlement compares the token, so a stale or foreign one changes nothing, and one
        that was applied before is recognised. Leases come from the queues in the given, strict
        order, at most `limit` in all, sorted as they should start.

        Jobs of types that are not wanted are passed over and stay as they are, in their places.
        Where very many of them come first, a store may look at some at a time: the exchange is
        `unseen` then, and the next ones go on from there. One that leaves this method to its
        default gives them out all the same. `wanted` is given only where it leaves something out.
        """
        del wanted
        return await nine_methods.exchange(self, settlements, queues, limit)

    async def wait(self, queues: Sequence[str], timeout: float) -> None:
        """Return when a job may have become available in one of the queues, or after `timeout`
        seconds. May return early for no reason."""
        del queues
        await asyncio.sleep(min(timeout, nine_methods.POLL))

    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]:
        """Extend held leases, in one statement, and say that this owner is alive.

        A lease that has run out but was taken by nobody is extended all the same. Call it with
        none held too: it is the owner's sign of life.
        """
        return [Renewal(Answer.OK) for _ in leases]

    async def recover(self, limit: int = 1000) -> list[Recovered]:
        """Settle attempts whose lease ran out, at most `limit`; each becomes RETRYING and due at
        once, or DEAD_LETTER, with `expiry_count` + 1."""
        del limit
        return []

    async def request_cancel(self, job_id: UUID) -> bool:
        """Ask the holder of a RUNNING job to stop it; `False` if it is not RUNNING.

        The holder hears of it by `cancel_requests`, and at the latest by its next `renew`.
        """
        raise NotSupportedError(nine_methods.LIMITATIONS["request_cancel"])

    async def cancel_requests(self) -> list[LeaseKey]:
        """Wait until someone may have asked for a running job to be stopped, and return all leases
        of this owner for which that is so.

        May return early for no reason. Where a store can wake nobody it never returns, and `renew`
        tells.
        """
        never: asyncio.Future[list[LeaseKey]] = asyncio.get_running_loop().create_future()
        return await never

    async def redrive(self, job_ids: Sequence[UUID]) -> list[UUID]:
        """FAILED and DEAD_LETTER → PENDING with attempt and counters at 0, keeping the last
        error for people to read; returns the ids of the jobs that it changed.

        More than `bulk.PORTION` of them are changed in several transactions.
        """
        raise NotSupportedError(nine_methods.LIMITATIONS["redrive"])

    async def purge(self, jobs: JobFilter, limit: int = 1000) -> int:
        """Delete terminal jobs that match, at most `limit`; returns how many went.

        More than `bulk.PORTION` of them go in several transactions.

        Raises:
            ValidationError: the filter names a status that is not terminal.
        """
        raise NotSupportedError(nine_methods.LIMITATIONS["purge"])

    async def get_result(self, job_id: UUID) -> dict[str, Any] | None:
        """The `result_data` of a COMPLETED job; `None` for any other."""
        raise NotSupportedError(nine_methods.LIMITATIONS["get_result"])

    async def inspect(self, job_id: UUID) -> JobRecord | None:
        """The job with everything the store knows of its attempts."""
        raise NotSupportedError(nine_methods.LIMITATIONS["inspect"])

    async def list_jobs(
        self, jobs: JobFilter, limit: int = 50, cursor: str | None = None
    ) -> JobPage:
        """One page of the jobs that match, newest first.

        Raises:
            ValidationError: `limit` is not in 1 to 1000, or the cursor is none of ours.
        """
        raise NotSupportedError(nine_methods.LIMITATIONS["list_jobs"])

    async def outlook(self) -> Mapping[str, Outlook]:
        """How long jobs wait in every queue in which any do; nothing where the store cannot tell.

        It costs what counting costs: the waiting jobs may all be looked at.
        """
        return {}

    async def all_stats(self) -> Mapping[str, QueueStats]:
        """The stats of every queue that holds a job, by name, names sorted."""
        raise NotSupportedError(nine_methods.LIMITATIONS["all_stats"])


def queue_stats(queue_name: str, counts: Mapping[JobStatus, int]) -> QueueStats:
    """Build the stats of a queue from its counts per status."""
    return QueueStats(queue_name, **{f"{s.value}_count": counts.get(s, 0) for s in JobStatus})
