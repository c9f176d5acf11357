"""Stores with a fault each, most of them known from the field, over the memory adapter.

A test suite is worth what it notices. These are small on purpose: everything but the fault is the
adapter's own.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from portico.adapters.job_queue import (
    DatabaseJobQueueAdapter,
    MemoryJobQueueAdapter,
    _attempts,
    _settling,
)
from portico.adapters.job_queue._memory_rows import MemoryQueue, MemoryRow
from portico.adapters.job_queue._rows import (
    COMPLETED,
    FAILED,
    RETRYING,
    RUNNING,
    STATUS,
    lease_of,
    token_of,
)
from portico.adapters.job_queue._sqlite import attempts, leasing
from portico.ports.job import JobStatus
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import (
    Answer,
    Exchange,
    JobFilter,
    Lease,
    LeaseKey,
    Receipt,
    Recovered,
    Renewal,
    Settlement,
    Transition,
)
from portico.ports.wanted import EVERYTHING, Wanted


class AcknowledgedById(MemoryJobQueueAdapter):
    """Neither state nor attempt is looked at: whoever knows the id ends the job."""

    def _settle(self, settlement: Settlement, now: int) -> Receipt:
        row = self._rows.get(settlement.id)
        if row is not None and row.status != RUNNING:
            queue = self._queues[row.queue_name]
            queue.counts[row.status] -= 1
            queue.drop(row)
            queue.counts[RUNNING] += 1
            row.status = RUNNING
            self._running[row.id] = row
        return super()._settle(settlement._replace(token=None), now)


class AcknowledgedByState(MemoryJobQueueAdapter):
    """It must be running, but any attempt's token will do."""

    def _settle(self, settlement: Settlement, now: int) -> Receipt:
        return super()._settle(settlement._replace(token=None), now)


class AcknowledgedByAFormerHolder(MemoryJobQueueAdapter):
    """An end is accepted from whoever held the job at any time, also after somebody else got it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given: set[LeaseKey] = set()

    def _lease(self, *asked: Any) -> list[Lease]:
        leases = super()._lease(*asked)
        self._given.update((lease.id, lease.token) for lease in leases)
        return leases

    def _settle(self, settlement: Settlement, now: int) -> Receipt:
        row = self._rows.get(settlement.id)
        given = (settlement.id, settlement.token) in self._given
        if given and row is not None and row.status == RUNNING:
            settlement = settlement._replace(token=token_of(row.attempt, row.nonce or b""))
        return super()._settle(settlement, now)


class UnguardedRescue(MemoryJobQueueAdapter):
    """Recovery goes by when the lease ended, and not by whether the job still runs."""

    async def recover(self, limit: int = 1000) -> list[Recovered]:
        recovered = await super().recover(limit)
        clock = self._monotonic()
        finished = [
            row for row in self._rows.values() if row.status == COMPLETED and row.expires <= clock
        ]
        for row in finished[: max(0, limit) - len(recovered)] if self._renewed else ():
            counts = self._queues[row.queue_name].counts
            counts[COMPLETED] -= 1
            counts[RUNNING] += 1
            self._running[row.id] = row
            recovered.append(self._expire(row, self._now()))
        return recovered


class RenewedById(MemoryJobQueueAdapter):
    """A zombie keeps the next attempt's lease alive."""

    def _renew(self, lease: Lease, expires: float) -> Renewal:
        row = self._rows.get(lease.id)
        if row is not None and row.nonce is not None:
            lease = lease._replace(token=token_of(row.attempt, row.nonce))
        return super()._renew(lease, expires)


class PoppedWithoutLease(MemoryJobQueueAdapter):
    """A job that is handed out is in nobody's hands but the worker's."""

    async def exchange(
        self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int
    ) -> Exchange:
        exchange = await super().exchange(settlements, queues, limit)
        for lease in exchange.leases:
            row = self._rows.pop(lease.id)
            self._running.pop(lease.id)
            self._queues[row.queue_name].counts[RUNNING] -= 1
        return exchange


class ClaimedInTwoSteps(MemoryJobQueueAdapter):
    """A claim and the mark that it runs are two writes: another's in between is overwritten."""

    async def exchange(
        self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int
    ) -> Exchange:
        settled = await super().exchange(settlements, queues, 0)
        now = self._now()
        chosen: list[MemoryRow] = []
        for name in queues:
            queue = self._queues[name]
            rows = list(queue.take(max(0, limit) - len(chosen), now))
            for row in rows:
                queue.push(row)
            chosen += rows
        await asyncio.sleep(0)
        leases = []
        for row in chosen:
            leases += self._mark(row, now)
        return Exchange(settled.receipts, leases, self._next_due(queues, now))

    def _mark(self, row: MemoryRow, now: int) -> list[Lease]:
        queue = self._queues[row.queue_name]
        queue.counts[row.status] -= 1
        queue.counts[RUNNING] += 1
        queue.drop(row)
        row.status, row.started_at, row.attempt = RUNNING, now, row.attempt + 1
        row.nonce = row.attempt.to_bytes(4, "big") + self._seq.to_bytes(8, "big")
        row.expires, row.owner = self._monotonic() + self.lease_seconds, "someone"
        self._running[row.id] = row
        return [lease_of(row)]


class TokenIsTheAttempt(MemoryJobQueueAdapter):
    """The token is the attempt's number: a store that loses the write of a lease, or a redrive,
    gives out the same one a second time."""

    def _lease(self, *asked: Any) -> list[Lease]:
        leases = super()._lease(*asked)
        for lease in leases:
            self._rows[lease.id].nonce = bytes(12)
        return [lease._replace(token=lease.token[:4] + bytes(12)) for lease in leases]


class LeasesByWallClock(MemoryJobQueueAdapter):
    """Whoever sets the clock ends everybody's leases, or none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._monotonic = self._clock


class SwallowedError(MemoryJobQueueAdapter):
    """A completion that could not be written is answered like one that was."""

    def _settle(self, settlement: Settlement, now: int) -> Receipt:
        row = self._rows.get(settlement.id)
        mine = row is not None and row.status == RUNNING
        if mine and settlement.transition is Transition.COMPLETE:
            return Receipt(Answer.OK, JobStatus.COMPLETED)
        return super()._settle(settlement, now)


class ForgetsOrphans(DatabaseJobQueueAdapter):
    """Recovery joins the owners: a job whose owner's row is gone runs for ever."""

    async def recover(self, limit: int = 1000) -> list[Recovered]:
        known = leasing._ORPHANED.replace("owner_id NOT IN", "0 AND owner_id NOT IN")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(leasing, "_ORPHANED", known)
            return await super().recover(limit)


class FailsOnPrune(MemoryJobQueueAdapter):
    """Pruning an owner fails all it ever held, also what had finished in the meantime."""

    async def recover(self, limit: int = 1000) -> list[Recovered]:
        now = self._monotonic()
        for row in self._rows.values() if self._renewed else ():
            if row.status == COMPLETED and row.expires <= now:
                counts = self._queues[row.queue_name].counts
                counts[COMPLETED] -= 1
                counts[FAILED] += 1
                row.status = FAILED
        return await super().recover(limit)


class RetryingIsNotLeasable(MemoryJobQueueAdapter):
    """A job that is to be tried again never is."""

    def _placed(self, row: MemoryRow) -> None:
        super()._placed(row)
        if row.status == RETRYING:
            self._queues[row.queue_name].drop(row)


class _Unordered(MemoryQueue):
    def push(self, row: MemoryRow) -> None:
        priority, row.priority = row.priority, 0
        super().push(row)
        row.priority = priority


class PriorityIgnored(MemoryJobQueueAdapter):
    """The oldest job is the next, however urgent another one is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queues = defaultdict(_Unordered)


class _Impatient(MemoryQueue):
    def take(self, limit: int, now: int, *asked: Any) -> Iterator[MemoryRow]:
        del now
        return super().take(limit, 2**62, *asked)


class DueTimeIgnored(MemoryJobQueueAdapter):
    """What is scheduled for later, or waits for its next attempt, is handed out at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._queues = defaultdict(_Impatient)


class ReleaseIsCharged(MemoryJobQueueAdapter):
    """A drain uses up the retries of what it gives back."""

    def _settle(self, settlement: Settlement, now: int) -> Receipt:
        receipt = super()._settle(settlement, now)
        if receipt.answer is Answer.OK and settlement.transition is Transition.RELEASE:
            row = self._rows[settlement.id]
            row.retry_count, row.release_count = row.retry_count + 1, row.release_count - 1
        return receipt


class RunningIsCancelled(MemoryJobQueueAdapter):
    """The job is called failed while its handler is at work."""

    async def cancel_job(self, job_id: UUID) -> bool:
        row = self._running.pop(UUID(str(job_id)).bytes, None)
        if row is None:
            return await super().cancel_job(job_id)
        self._queues[row.queue_name].counts[RUNNING] -= 1
        _settling.cancel(row, self._now())
        row.ended_by_attempt = 1
        self._placed(row)
        return True


class DeadOneTooEarly(MemoryJobQueueAdapter):
    """`max_retries` is taken for the number of attempts."""

    def _settle(self, settlement: Settlement, now: int) -> Receipt:
        row = self._rows.get(settlement.id)
        last = row is not None and row.retry_count + 1 >= row.max_retries
        if last and settlement.transition is Transition.RETRY:
            receipt = super()._settle(settlement._replace(transition=Transition.QUARANTINE), now)
            if row is not None and receipt.answer is Answer.OK:
                row.settled_as = Transition.RETRY.value
            return receipt
        return super()._settle(settlement, now)


class RedriveKeepsCounters(MemoryJobQueueAdapter):
    """A job that was redriven dies again at its first failure."""

    def _redrive(self, job_id: UUID, now: int) -> bool:
        row = self._rows.get(UUID(str(job_id)).bytes)
        kept = None if row is None else (row.retry_count, row.attempt, row.crash_count)
        changed = super()._redrive(job_id, now)
        if changed and row is not None and kept is not None:
            row.retry_count, row.attempt, row.crash_count = kept
        return changed


class PurgesWhatWaits(MemoryJobQueueAdapter):
    """Retention goes by age alone."""

    async def purge(self, jobs: JobFilter, limit: int = 1000) -> int:
        statuses = jobs.statuses or (*STATUS.values(),)
        return await self._purge(replace(jobs, statuses=statuses), max(0, limit))


class RemembersNoExpiry(MemoryJobQueueAdapter):
    """The attempt of a supervisor that vanished leaves no trace."""

    def _expire(self, row: MemoryRow, now: int) -> Recovered:
        before = row.history
        recovered = super()._expire(row, now)
        row.history = before
        return recovered


class ForgetsOnRedrive(MemoryJobQueueAdapter):
    """A redriven job has lost what made it fail."""

    def _redrive(self, job_id: UUID, now: int) -> bool:
        redriven = super()._redrive(job_id, now)
        if redriven:
            self._rows[job_id.bytes].history = ()
        return redriven


class KeepsHistoriesOfPurgedJobs(DatabaseJobQueueAdapter):
    """A job that gets the id of a deleted one inherits its attempts."""

    async def _purge(self, jobs: JobFilter, limit: int) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attempts, "forget", lambda *_: None)
            return await super()._purge(jobs, limit)


class KeepsEveryAttempt(DatabaseJobQueueAdapter):
    """A history without an end."""

    async def exchange(
        self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int
    ) -> Exchange:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attempts, "_TRIM", "SELECT ?")
            return await super().exchange(settlements, queues, limit)


class StoresWhatItIsTold(DatabaseJobQueueAdapter):
    """A worker's figures are taken as they are."""

    async def exchange(
        self, settlements: Sequence[Settlement], queues: Sequence[str], limit: int
    ) -> Exchange:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_attempts, "_whole", lambda value: value)
            return await super().exchange(settlements, queues, limit)


class LeasesWhatIsNotWanted(MemoryJobQueueAdapter):
    """Which types are wanted is of no account."""

    def _lease(self, queues: Sequence[str], limit: int, now: int, wanted: Wanted) -> list[Lease]:
        return super()._lease(queues, limit, now, EVERYTHING)


class CountsNoneOfAType(MemoryJobQueueAdapter):
    """How many of a type are wanted is of no account."""

    def _lease(self, queues: Sequence[str], limit: int, now: int, wanted: Wanted) -> list[Lease]:
        return super()._lease(queues, limit, now, wanted._replace(most={}))


class CountsATypePerQueue(MemoryJobQueueAdapter):
    """As many of a type as are wanted come from each queue."""

    def _lease(self, queues: Sequence[str], limit: int, now: int, wanted: Wanted) -> list[Lease]:
        leases: list[Lease] = []
        for queue in queues:
            leases += super()._lease([queue], limit - len(leases), now, wanted)
        return leases


class LeavesTheWantedOutInstead(MemoryJobQueueAdapter):
    """Only these, or all but these: one is taken for the other."""

    def _lease(self, queues: Sequence[str], limit: int, now: int, wanted: Wanted) -> list[Lease]:
        turned = wanted if wanted.everything else wanted._replace(only=not wanted.only)
        return super()._lease(queues, limit, now, turned)


class SendsTheUnwantedBack(MemoryJobQueueAdapter):
    """A job that is passed over loses its place."""

    def _lease(self, queues: Sequence[str], limit: int, now: int, wanted: Wanted) -> list[Lease]:
        leases = super()._lease(queues, limit, now, wanted)
        for row in self._rows.values():
            if row.place and not wanted.has(row.job_type):
                row.run_at = now
                self._queues[row.queue_name].push(row)
        return leases


class TellsOfCancelsAtRenewalOnly(MemoryJobQueueAdapter):
    """A request to stop wakes nobody."""

    async def cancel_requests(self) -> list[LeaseKey]:
        return await JobQueueAdapter.cancel_requests(self)
