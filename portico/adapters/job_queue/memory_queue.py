"""Jobs in the memory of this process: the reference of what an adapter does, and the tests' fake.

Nothing survives the process, and no other process can take part. Nothing below awaits between a
look and a change, so each call is atomic on its event loop.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import islice
from math import inf
from uuid import UUID

from portico.adapters.job_queue import _settling
from portico.adapters.job_queue._admission import Admission, full
from portico.adapters.job_queue._attempts import StoredAttempt, end_of, worth_noting
from portico.adapters.job_queue._bell import Bell
from portico.adapters.job_queue._leasing import LeasingQueueAdapter
from portico.adapters.job_queue._memory_rows import MemoryQueue, MemoryRow
from portico.adapters.job_queue._outlook import outlooks
from portico.adapters.job_queue._paging import StoredPage, cut, has_metadata, matches, size_of
from portico.adapters.job_queue._rows import (
    COMPLETED,
    DEAD_LETTER,
    FAILED,
    PENDING,
    RETRYING,
    RUNNING,
    SCHEDULED,
    STATUS,
    StoredJob,
    inserted,
    lease_of,
    new_row,
)
from portico.ports.draft import Draft, checked_id
from portico.ports.job import JobStatus
from portico.ports.leasing import (
    Answer,
    Exchange,
    Inserted,
    JobFilter,
    Lease,
    LeaseKey,
    Outlook,
    Receipt,
    Recovered,
    Renewal,
    Settlement,
    Transition,
)
from portico.ports.wanted import EVERYTHING, Wanted

_WAITING = frozenset({PENDING, SCHEDULED, RETRYING})
_COMPLETE = Transition.COMPLETE
_COMPLETED = Receipt(Answer.OK, JobStatus.COMPLETED)
_NOT_FOUND = Receipt(Answer.NOT_FOUND, None)
_OWNER = "this process"
_CANCELS = ("cancel requests",)
_EVERYTHING = Admission()


class MemoryJobQueueAdapter(LeasingQueueAdapter):
    """A queue in memory, for tests and for work that may be lost with the process.

    Leases run out only once someone renews: before that, all holders live as long as the queue.

    Args:
        lease_seconds: how long a lease holds without renewal.
        clock: the wall clock, in seconds since 1970 UTC.
        monotonic: the clock of leases and timeouts, in seconds.
        admission: how much each queue takes; everything when left out.
    """

    def __init__(
        self,
        lease_seconds: float = 60.0,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        admission: Admission = _EVERYTHING,
    ) -> None:
        super().__init__(lease_seconds, clock, monotonic)
        self._admission = admission
        self._rows: dict[bytes, MemoryRow] = {}
        self._running: dict[bytes, MemoryRow] = {}
        self._queues: dict[str, MemoryQueue] = defaultdict(MemoryQueue)
        self._bell = Bell()
        self._cancels = Bell()
        self._seq = 0
        self._renewed = False

    async def initialize(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """Keeps the jobs: they live as long as this object."""

    async def insert(self, drafts: Sequence[Draft]) -> list[Inserted | None]:
        self._admission.check_horizon(drafts, self._clock())
        self._check_room(drafts)
        now = self._now()
        stored = [self._insert(draft, now) for draft in drafts]
        self._bell.ring({draft.queue_name for draft in drafts})
        return stored

    def _check_room(self, drafts: Sequence[Draft]) -> None:
        most = self._admission.max_pending
        if most is None:
            return
        for name, more in Counter(draft.queue_name for draft in drafts).items():
            counts = self._queues[name].counts if name in self._queues else {}
            waiting = sum(counts.get(status, 0) for status in _WAITING)
            if waiting + more > most:
                raise full(name, waiting, more, most)

    def _insert(self, draft: Draft, now: int) -> Inserted | None:
        key = draft.id.bytes
        if key in self._rows:
            return None
        self._seq += 1
        row = self._rows[key] = MemoryRow(self._seq, *new_row(draft, now))
        queue = self._queues[row.queue_name]
        queue.counts[row.status] += 1
        queue.push(row)
        return inserted(row.status, now)

    async def exchange(
        self,
        settlements: Sequence[Settlement],
        queues: Sequence[str],
        limit: int,
        wanted: Wanted = EVERYTHING,
    ) -> Exchange:
        now = self._now()
        receipts = [self._settle(settlement, now) for settlement in settlements]
        leases: list[Lease] = self._lease(queues, limit, now, wanted) if limit > 0 else []
        if len(leases) < limit:
            self._bell.quiet(queues, self._bell.count)
        return Exchange(receipts, leases, self._next_due(queues, now))

    def _settle(self, settlement: Settlement, now: int) -> Receipt:
        row = self._rows.get(settlement.id)
        if row is None:
            return _NOT_FOUND
        token, transition = settlement.token, settlement.transition
        current = token is None or token == row.token
        if row.status != RUNNING or not current:
            again = current and token is not None and row.settled_as == transition.value
            return Receipt(Answer.ALREADY if again else Answer.LOST, STATUS[row.status])
        del self._running[row.id]
        counts = self._queues[row.queue_name].counts
        counts[RUNNING] -= 1
        if transition is _COMPLETE:
            counts[COMPLETED] += 1
            row.status, row.ended_at, row.ended_by_attempt = COMPLETED, now, 1
            row.settled_as, row.result = "complete", settlement.result
            return _COMPLETED
        _settling.settle(row, settlement, now)
        if worth_noting(settlement):
            row.remember(end_of(transition.value, row.status), settlement.failure, now)
        self._placed(row)
        return Receipt(Answer.OK, STATUS[row.status])

    def _placed(self, row: MemoryRow) -> None:
        """Take note of a row's new status, and let it wait if it is to run again."""
        queue = self._queues[row.queue_name]
        queue.counts[row.status] += 1
        if row.status in _WAITING:
            queue.push(row)
            self._bell.ring((row.queue_name,))

    def _lease(self, queues: Sequence[str], limit: int, now: int, wanted: Wanted) -> list[Lease]:
        nonce = secrets.token_bytes(12)
        expires = self._monotonic() + self.lease_seconds
        leases: list[Lease] = []
        for name in queues:
            queue = self._queues.get(name)
            if queue is None or len(leases) == limit:
                continue
            first = len(leases)
            for row in queue.take(limit - first, now, wanted):
                queue.counts[row.status] -= 1
                row.status, row.started_at, row.nonce = RUNNING, now, nonce
                row.attempt += 1
                row.expires, row.owner = expires, _OWNER
                self._running[row.id] = row
                lease = lease_of(row)
                row.token = lease.token
                leases.append(lease)
                if row.cancel_requested:
                    self._cancels.ring()
                queue.counts[RUNNING] += 1
            wanted = wanted.after(lease.job_type for lease in leases[first:])
        return leases

    def _next_due(self, queues: Sequence[str], now: int) -> float | None:
        nearest = None
        for name in queues:
            queue = self._queues.get(name)
            due = None if queue is None else queue.next_due()
            if due is not None and (nearest is None or due < nearest):
                nearest = due
        return None if nearest is None else max(0, nearest - now) / 1_000_000

    async def wait(self, queues: Sequence[str], timeout: float) -> None:
        await self._bell.wait(queues, timeout)

    async def renew(self, leases: Sequence[Lease]) -> list[Renewal]:
        self._renewed = True
        expires = self._monotonic() + self.lease_seconds
        return [self._renew(lease, expires) for lease in leases]

    def _renew(self, lease: Lease, expires: float) -> Renewal:
        row = self._rows.get(lease.id)
        if row is None:
            return Renewal(Answer.NOT_FOUND)
        if row.status != RUNNING or row.token != lease.token:
            return Renewal(Answer.LOST)
        row.expires = expires
        return Renewal(Answer.OK, bool(row.cancel_requested))

    async def recover(self, limit: int = 1000) -> list[Recovered]:
        if not self._renewed:
            return []
        now, clock = self._now(), self._monotonic()
        expired = (row for row in self._running.values() if row.expires <= clock)
        return [self._expire(row, now) for row in list(islice(expired, max(0, limit)))]

    def _expire(self, row: MemoryRow, now: int) -> Recovered:
        lease = lease_of(row)
        del self._running[row.id]
        self._queues[row.queue_name].counts[RUNNING] -= 1
        row.remember(_settling.EXPIRE, _settling.EXPIRED, now)
        _settling.expire(row, now)
        self._placed(row)
        return Recovered(lease, STATUS[row.status])

    async def request_cancel(self, job_id: UUID) -> bool:
        row = self._running.get(checked_id(job_id, "job_id").bytes)
        if row is None:
            return False
        row.cancel_requested = 1
        self._cancels.ring()
        return True

    async def cancel_requests(self) -> list[LeaseKey]:
        await self._cancels.wait(_CANCELS, inf)
        self._cancels.quiet(_CANCELS, self._cancels.count)
        return [
            (row.id, row.token)
            for row in self._running.values()
            if row.cancel_requested and row.token
        ]

    async def cancel_job(self, job_id: UUID) -> bool:
        row = self._rows.get(checked_id(job_id, "job_id").bytes)
        if row is None or row.status not in _WAITING:
            return False
        queue = self._queues[row.queue_name]
        queue.counts[row.status] -= 1
        queue.drop(row)
        _settling.cancel(row, self._now())
        self._placed(row)
        return True

    async def redrive(self, job_ids: Sequence[UUID]) -> list[UUID]:
        now = self._now()
        return [job_id for job_id in job_ids if self._redrive(job_id, now)]

    def _redrive(self, job_id: UUID, now: int) -> bool:
        row = self._rows.get(checked_id(job_id, "job_id").bytes)
        if row is None or row.status not in (FAILED, DEAD_LETTER):
            return False
        self._queues[row.queue_name].counts[row.status] -= 1
        _settling.redrive(row, now)
        row.token = None
        self._placed(row)
        return True

    async def _find(self, job_id: bytes) -> StoredJob | None:
        return self._rows.get(job_id)

    async def _told(self, job_id: bytes) -> tuple[StoredJob, Sequence[StoredAttempt]] | None:
        row = self._rows.get(job_id)
        return None if row is None else (row, row.history)

    async def _page(self, jobs: JobFilter, limit: int, before: int | None) -> StoredPage:
        now, searched = self._now(), 0
        found: list[StoredJob] = []
        for row in reversed(self._rows.values()):
            if before is None or row.seq < before:
                searched += 1
                if matches(row, jobs, now) and has_metadata(row, jobs):
                    found.append(row)
                    if len(found) > limit:
                        break
        shown = cut([(row.seq, size_of(row, jobs)) for row in found], limit)
        cursor = shown[-1] if len(shown) < len(found) else None
        return StoredPage(found[: len(shown)], cursor, searched if jobs.narrow else None)

    async def outlook(self) -> dict[str, Outlook]:
        now = self._now()
        return outlooks(
            (
                (row.queue_name, row.run_at, None)
                if row.run_at <= now
                else (row.queue_name, None, row.run_at)
                for row in self._rows.values()
                if row.status in _WAITING
            ),
            now,
        )

    async def _counts(self, queue_name: str | None) -> dict[str, dict[JobStatus, int]]:
        names = list(self._queues) if queue_name is None else [queue_name]
        counts = {name: self._queues[name].counts for name in names if name in self._queues}
        return {
            name: {STATUS[status]: n for status, n in per.items()}
            for name, per in counts.items()
            if any(per.values())
        }

    async def _purge(self, jobs: JobFilter, limit: int) -> int:
        now = self._now()
        found = [row for row in self._rows.values() if matches(row, jobs, now)]
        found.sort(key=lambda row: row.ended_at or 0)
        for row in found[:limit]:
            del self._rows[row.id]
            self._queues[row.queue_name].counts[row.status] -= 1
        return min(limit, len(found))
