"""Creating jobs within a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Unpack

from portico.kits.job.new_job import arguments_of
from portico.ports import bulk
from portico.ports.bulk import Created
from portico.ports.draft import Draft
from portico.ports.job import Job
from portico.ports.job_creator import JobCreator
from portico.ports.job_options import JobOptions, spelled_out
from portico.ports.transaction import SyncTransaction, Transaction

Drafting = Callable[[Mapping[str, Any]], Draft]
"""From the arguments of `create_job` to a draft; raises ValidationError."""


class JobsWithin(JobCreator):
    """Creates jobs in a transaction of the caller's; `JobService.within` makes it.

    The jobs exist when that transaction commits, and only then: nobody leases one before, and a
    rollback, to a savepoint too, takes those created since with it. A bad value, a taken id or a
    full queue leaves the transaction usable. Errors of the connection itself are the driver's own.
    """

    def __init__(self, transaction: Transaction, draft: Drafting) -> None:
        self._transaction = transaction
        self._draft = draft

    @spelled_out
    async def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        queue_name: str = "default",
        priority: int = 0,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Create a job and return when the transaction has it; see `JobCreator`."""
        arguments = arguments_of(job_type, payload, queue_name, priority, options)
        draft = bulk.accepted(self._draft, arguments)
        return bulk.only(bulk.created([draft], await self._transaction.insert([draft])))

    async def create_jobs(
        self, jobs: Iterable[Mapping[str, Any]], *, return_exceptions: bool = False
    ) -> list[Created]:
        """Create many jobs in one go; see `JobCreator.create_jobs`."""
        items = bulk.each(self._draft, jobs)
        drafts = bulk.made(items)
        stored = await self._transaction.insert(drafts) if drafts else []
        created = bulk.outcomes(items, bulk.created(drafts, stored))
        return bulk.told(created, return_exceptions=return_exceptions)


class JobsWithinSync:
    """`JobsWithin` for connections with plain methods; `JobService.within_sync` makes it."""

    def __init__(self, transaction: SyncTransaction, draft: Drafting) -> None:
        self._transaction = transaction
        self._draft = draft

    @spelled_out
    def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        queue_name: str = "default",
        priority: int = 0,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Create a job and return when the transaction has it; see `JobCreator`."""
        arguments = arguments_of(job_type, payload, queue_name, priority, options)
        draft = bulk.accepted(self._draft, arguments)
        return bulk.only(bulk.created([draft], self._transaction.insert([draft])))

    def create_jobs(
        self, jobs: Iterable[Mapping[str, Any]], *, return_exceptions: bool = False
    ) -> list[Created]:
        """Create many jobs in one go; see `JobCreator.create_jobs`."""
        items = bulk.each(self._draft, jobs)
        drafts = bulk.made(items)
        stored = self._transaction.insert(drafts) if drafts else []
        created = bulk.outcomes(items, bulk.created(drafts, stored))
        return bulk.told(created, return_exceptions=return_exceptions)
