"""The nine documented methods over the leasing surface, for adapters that have the surface."""

from __future__ import annotations

import math
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from portico.adapters.job_queue._admission import Admission
from portico.adapters.job_queue._attempts import StoredAttempt, attempt_records
from portico.adapters.job_queue._paging import StoredPage, check_purgeable, has_metadata
from portico.adapters.job_queue._rows import (
    StoredJob,
    glance_at,
    job_for_listing,
    job_of,
    job_of_lease,
    record_of,
    result_of,
)
from portico.exceptions import ValidationError
from portico.ports.bulk import taken
from portico.ports.draft import Draft, checked_id, checked_name
from portico.ports.job import TERMINAL, Job, JobStatus, QueueStats
from portico.ports.job_queue import JobQueueAdapter, queue_stats
from portico.ports.leasing import (
    Failure,
    JobFilter,
    JobPage,
    JobRecord,
    Lease,
    Settlement,
    Transition,
)

_LARGEST_PAGE = 1000
_CURSOR = re.compile(r"[0-9]{1,18}")


class LeasingQueueAdapter(JobQueueAdapter):
    """What an adapter with tokens, batches and records need not write itself.

    A subclass implements `initialize`, `close`, the surface down to `purge`, and the five
    questions at the end of this class; one that limits what it takes sets `_admission`.
    """

    _admission = Admission()

    def __init__(
        self,
        lease_seconds: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (math.isfinite(lease_seconds) and lease_seconds > 0):
            raise ValidationError(f"lease is {lease_seconds!r}; give seconds, more than 0")
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._monotonic = monotonic

    def check_draft(self, draft: Draft) -> None:
        self._admission.check_horizon((draft,), self._clock())

    async def enqueue(self, job: Job) -> Job:
        draft = Draft.of(job)
        if job.status in (JobStatus.FAILED, JobStatus.DEAD_LETTER) and (
            await self.redrive([draft.id])
        ):
            return await self.get_job(draft.id) or job
        stored = (await self.insert([draft]))[0]
        if stored is None:
            raise taken(draft.id)
        return draft.stored(stored.status, stored.created_at)

    async def dequeue(self, queue_name: str, timeout: float = 30) -> Job | None:
        queues = (checked_name(queue_name, "queue_name"),)
        deadline = self._monotonic() + _checked_seconds(timeout, "timeout")
        while True:
            found = await self.exchange((), queues, 1)
            if found.leases:
                job = await self._opened(found.leases[0])
                if job is not None:
                    return job
                continue
            left = deadline - self._monotonic()
            if left <= 0:
                return None
            await self.wait(queues, left if found.next_due is None else min(left, found.next_due))

    async def acknowledge(self, job_id: UUID) -> None:
        await self._settle_running(job_id, Transition.COMPLETE)

    async def reject(
        self,
        job_id: UUID,
        requeue: bool = True,
        error_message: str | None = None,
        *,
        delay: float = 0.0,
    ) -> None:
        _checked_seconds(delay, "delay")
        failure = None if error_message is None else Failure("", error_message)
        transition = Transition.RETRY if requeue else Transition.FAIL
        await self._settle_running(job_id, transition, failure, delay)

    async def get_job(self, job_id: UUID) -> Job | None:
        row = await self._find(checked_id(job_id, "job_id").bytes)
        return None if row is None else job_of(row)

    async def get_queue_stats(self, queue_name: str) -> QueueStats:
        name = checked_name(queue_name, "queue_name")
        return queue_stats(name, (await self._counts(name)).get(name, {}))

    async def all_stats(self) -> Mapping[str, QueueStats]:
        counts = await self._counts(None)
        return {name: queue_stats(name, counts[name]) for name in sorted(counts)}

    async def get_result(self, job_id: UUID) -> dict[str, Any] | None:
        row = await self._find(checked_id(job_id, "job_id").bytes)
        return None if row is None else result_of(row)

    async def inspect(self, job_id: UUID) -> JobRecord | None:
        found = await self._told(checked_id(job_id, "job_id").bytes)
        if found is None:
            return None
        row, attempts = found
        return record_of(row, attempt_records(row, attempts))

    async def list_jobs(
        self, jobs: JobFilter, limit: int = 50, cursor: str | None = None
    ) -> JobPage:
        if not 1 <= limit <= _LARGEST_PAGE:
            raise ValidationError(f"limit is {limit}; give 1 to {_LARGEST_PAGE}")
        if cursor is not None and not _CURSOR.fullmatch(cursor):
            raise ValidationError(f"cursor is {cursor!r}; give the cursor of an earlier page")
        before = None if cursor is None else int(cursor)
        page = await self._page(_checked_filter(jobs), limit, before)
        rows = [row for row in page.rows if has_metadata(row, jobs)]
        return JobPage(
            [job_for_listing(row, documents=jobs.documents) for row in rows],
            None if page.cursor is None else str(page.cursor),
            [*map(glance_at, rows)],
            page.searched,
        )

    async def purge(self, jobs: JobFilter, limit: int = 1000) -> int:
        wrong = [status.value for status in jobs.each_status if status not in TERMINAL]
        if wrong:
            raise ValidationError(
                f"statuses has {', '.join(wrong)}; only completed, failed and dead_letter jobs "
                "can be purged"
            )
        check_purgeable(jobs)
        if limit <= 0:
            return 0
        statuses = tuple(jobs.each_status) or tuple(sorted(TERMINAL))
        return await self._purge(replace(_checked_filter(jobs), statuses=statuses), limit)

    async def _settle_running(
        self,
        job_id: UUID,
        transition: Transition,
        failure: Failure | None = None,
        delay: float = 0.0,
    ) -> None:
        key = checked_id(job_id, "job_id").bytes
        await self.exchange([Settlement(key, None, transition, None, failure, delay)], (), 0)

    async def _opened(self, lease: Lease) -> Job | None:
        """The leased job; one that cannot be decoded is dead-lettered, for it never will be."""
        try:
            return job_of_lease(lease)
        except ValueError as error:
            failure = Failure("PayloadInvalid", f"the stored payload cannot be decoded: {error}")
            quarantined = Settlement(lease.id, lease.token, Transition.QUARANTINE, failure=failure)
            await self.exchange([quarantined], (), 0)
            return None

    def _now(self) -> int:
        """The wall clock, in microseconds."""
        return int(self._clock() * 1_000_000)

    @abstractmethod
    async def _find(self, job_id: bytes) -> StoredJob | None:
        """The row of a job."""

    @abstractmethod
    async def _told(self, job_id: bytes) -> tuple[StoredJob, Sequence[StoredAttempt]] | None:
        """The row of a job and its history, oldest first, as they were at one instant."""

    @abstractmethod
    async def _page(self, jobs: JobFilter, limit: int, before: int | None) -> StoredPage:
        """Rows with a `seq` lower than `before` that match in all but their metadata."""

    @abstractmethod
    async def _counts(self, queue_name: str | None) -> dict[str, dict[JobStatus, int]]:
        """Jobs per status of one queue, or of every queue that holds any."""

    @abstractmethod
    async def _purge(self, jobs: JobFilter, limit: int) -> int:
        """Delete rows that match a filter of terminal statuses."""


def _checked_seconds(value: float, field: str) -> float:
    if math.isnan(value):
        raise ValidationError(f"{field} is {value!r}; give seconds")
    return max(0.0, value)


def _checked_filter(jobs: JobFilter) -> JobFilter:
    if jobs.older_than is not None and not (math.isfinite(jobs.older_than)):
        raise ValidationError(f"older_than is {jobs.older_than!r}; give seconds")
    return jobs
