"""The leasing surface over a `Store`: what all durable adapters have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Generic, TypeVar
from uuid import UUID

from portico.adapters.job_queue._admission import Admission
from portico.adapters.job_queue._attempts import StoredAttempt
from portico.adapters.job_queue._bell import Bell
from portico.adapters.job_queue._home import Home
from portico.adapters.job_queue._joining import JoinedInserts
from portico.adapters.job_queue._leasing import LeasingQueueAdapter
from portico.adapters.job_queue._paging import StoredPage
from portico.adapters.job_queue._rows import StoredJob
from portico.adapters.job_queue._store import Store
from portico.exceptions import QueueConnectionError
from portico.ports.bulk import PORTION
from portico.ports.draft import Draft, checked_id
from portico.ports.job import WAITING, JobStatus
from portico.ports.leasing import (
    Exchange,
    Inserted,
    JobFilter,
    Lease,
    LeaseKey,
    Outlook,
    Recovered,
    Renewal,
    Settlement,
    Transition,
)
from portico.ports.wanted import EVERYTHING, Wanted

_CANCELS = ("cancel requests",)
_POLL = 1.0
"""Seconds after which whoever waits looks for himself, should a wake-up have got lost."""


StoreT = TypeVar("StoreT", bound=Store)


class StoredQueueAdapter(LeasingQueueAdapter, Generic[StoreT]):
    """An adapter whose jobs are in a `Store`, which a subclass makes and puts into `_store`.

    The store rings `_bell` for jobs that other processes brought, and `_cancels` for requests to
    stop running ones.
    """

    _store: StoreT
    _admission: Admission

    def __init__(
        self,
        lease_seconds: float = 60.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(lease_seconds, clock, monotonic)
        self._bell = Bell()
        self._cancels = Bell()
        self._home = Home()
        self._inserts = JoinedInserts(self._store_together)

    @property
    def _here(self) -> StoreT:
        """The store, for whoever comes from where it is open."""
        self._home.check()
        return self._store

    async def initialize(self) -> None:
        is_new = self._home.enter()
        try:
            await self._store.connect()
        except BaseException:
            if is_new:
                self._home.leave()
            raise

    async def close(self) -> None:
        await self._here.close()
        self._home.leave()

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        if not drafts:
            return []
        self._home.check()
        self._admission.check_horizon(drafts, self._clock())
        stored = await self._inserts.insert(drafts)
        self._bell.ring({draft.queue_name for draft in drafts})
        return stored

    async def _store_together(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        return await self._here.insert(drafts)

    async def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> Exchange:
        heard = self._bell.count
        pending = self._here.exchange(settlements, queues, limit, wanted)
        try:
            exchanged = await asyncio.shield(pending)
        except asyncio.CancelledError:
            pending.add_done_callback(self._give_back)
            raise
        if any(receipt.status in WAITING for receipt in exchanged.receipts):
            own = self._bell.count == heard
            self._bell.ring()
            heard += own
        if len(exchanged.leases) < limit:
            self._bell.quiet(queues, heard)
        return exchanged

    def _give_back(self, pending: asyncio.Future[Exchange]) -> None:
        """Release what was leased for a caller who has stopped to wait for it."""
        if pending.cancelled() or pending.exception() is not None:
            return
        unused = [
            Settlement(lease.id, lease.token, Transition.RELEASE)
            for lease in pending.result().leases
        ]
        if unused:
            with suppress(QueueConnectionError):  # closed: the lease runs out, or the process ends
                self._here.exchange(unused, (), 0).add_done_callback(self._given_back)

    def _given_back(self, released: asyncio.Future[Exchange]) -> None:
        if not released.cancelled() and released.exception() is None:
            self._bell.ring()

    async def wait(self, queues: Sequence[str], timeout: float) -> None:
        with self._here.listening():
            await self._bell.wait(queues, min(timeout, _POLL))

    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]:
        return await self._here.renew(leases)

    async def recover(self, limit: int = 1000) -> list[Recovered]:
        recovered = await self._here.recover(max(0, limit))
        if recovered:
            self._bell.ring({found.lease.queue_name for found in recovered})
        return recovered

    async def request_cancel(self, job_id: UUID) -> bool:
        return await self._here.request_cancel(checked_id(job_id, "job_id").bytes)

    async def cancel_requests(self) -> list[LeaseKey]:
        woken = await self._here.watch_cancels()
        with self._here.hearing_cancels():
            await self._cancels.wait(_CANCELS, inf if woken else _POLL)
        self._cancels.quiet(_CANCELS, self._cancels.count)
        return await self._here.cancel_requests()

    async def cancel_job(self, job_id: UUID) -> bool:
        return await self._here.cancel(checked_id(job_id, "job_id").bytes)

    async def redrive(self, job_ids: Sequence[UUID]) -> list[UUID]:
        keys = [checked_id(job_id, "job_id").bytes for job_id in job_ids]
        changed: list[bytes] = []
        for first in range(0, len(keys), PORTION):
            changed += await self._here.redrive(keys[first : first + PORTION])
            self._bell.ring()
        return [UUID(bytes=key) for key in changed]

    async def served(self) -> bool | None:
        return await self._here.served()

    async def _find(self, job_id: bytes) -> StoredJob | None:
        return await self._here.find(job_id)

    async def _told(self, job_id: bytes) -> tuple[StoredJob, Sequence[StoredAttempt]] | None:
        return await self._here.told(job_id)

    async def _page(self, jobs: JobFilter, limit: int, before: int | None) -> StoredPage:
        return await self._here.page(jobs, limit, before)

    async def outlook(self) -> dict[str, Outlook]:
        return await self._here.outlook()

    async def _counts(self, queue_name: str | None) -> dict[str, dict[JobStatus, int]]:
        return await self._here.counts(queue_name)

    async def _purge(self, jobs: JobFilter, limit: int) -> int:
        gone = 0
        while gone < limit:
            some = min(limit - gone, PORTION)
            went = await self._here.purge(jobs, some)
            gone += went
            if went < some:
                break
        return gone
