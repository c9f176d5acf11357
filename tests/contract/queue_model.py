"""What a job store does, in as few words as possible: the oracle of the state machine.

Instants are microseconds, as in leases. The model is told which token a store gave out and which
leases it says have run out, and predicts everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from portico.ports import document
from portico.ports.draft import Draft
from portico.ports.job import JobStatus
from portico.ports.leasing import (
    CANCELLED,
    MAX_HISTORY,
    Answer,
    AttemptRecord,
    Evidence,
    Failure,
    JobRecord,
    Receipt,
    Settlement,
    Transition,
)

S, T = JobStatus, Transition
LATER = (S.SCHEDULED, S.RETRYING)
WAITING = (S.PENDING, *LATER)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EXPIRED = Failure("LeaseExpired", "the lease ran out: whoever held it vanished or lost it")


def instant(micros: int | None) -> datetime | None:
    return None if micros is None else EPOCH + timedelta(microseconds=micros)


@dataclass
class Row:
    draft: Draft
    seq: int
    created_at: int
    status: JobStatus
    run_at: int
    retries: int = 0
    releases: int = 0
    snoozes: int = 0
    crashes: int = 0
    expiries: int = 0
    attempt: int = 0
    token: bytes | None = None
    settled_as: Transition | None = None
    snoozed_since: int | None = None
    suspect: bool = False
    cancel_requested: bool = False
    ended_by_attempt: bool = False
    started_at: int | None = None
    ended_at: int | None = None
    error: Failure | None = None
    """A message of "" stands for one that the store words itself."""
    result: bytes | None = None
    history: list[AttemptRecord] = field(default_factory=list)

    def start(self, token: bytes, now: int) -> None:
        self.status, self.token, self.started_at = S.RUNNING, token, now
        self.attempt += 1

    def remember(self, ended_as: str, now: int, error: Failure | None = None) -> None:
        """Add the running attempt to the history; `owner` is the store's to know."""
        kind, message, traceback, evidence = error or Failure("", "")
        ended_at = instant(now)
        assert ended_at is not None
        self.history.append(
            AttemptRecord(
                attempt=self.attempt,
                ended_as=ended_as,
                started_at=instant(self.started_at),
                ended_at=ended_at,
                error_type=kind or None,
                error_message=message or None,
                traceback=traceback or None,
                evidence=evidence or Evidence(),
            )
        )

    def become(self, status: JobStatus, now: int, delay: float) -> None:
        """End the running attempt."""
        self.status = status
        self.retries += status is S.RETRYING
        self.releases += status is S.PENDING
        self.snoozes += status is S.SCHEDULED
        if status in LATER:
            self.run_at = now + int(delay * 1_000_000)
        if status.terminal:
            self.ended_at, self.ended_by_attempt = now, True

    def settle(self, end: Settlement, now: int) -> None:
        how, once = end.transition, self.draft.max_retries == 0
        self.crashes += how is T.CRASH
        spent = self.retries >= self.draft.max_retries
        weary = end.patience is not None and self.snoozed_since is not None and (
            now - self.snoozed_since > end.patience * 1_000_000
        )  # fmt: skip
        status = {
            T.COMPLETE: S.COMPLETED,
            T.RETRY: S.DEAD_LETTER if spent else S.RETRYING,
            T.FAIL: S.FAILED,
            T.RELEASE: S.PENDING,
            T.INTERRUPT: S.DEAD_LETTER if once else S.PENDING,
            T.SUSPECT: S.DEAD_LETTER if once else S.PENDING,
            T.CRASH: S.DEAD_LETTER if spent or self.crashes >= 3 else S.RETRYING,
            T.SNOOZE: S.DEAD_LETTER if weary else S.SCHEDULED,
            T.QUARANTINE: S.DEAD_LETTER,
        }[how]
        self.become(status, now, end.delay)
        if how is not T.SNOOZE or end.failure is not None:  # being put off is no failure
            said = status.value if how is T.RETRY and status is S.DEAD_LETTER else how.value
            self.remember(said, now, None if how is T.COMPLETE else end.failure)
        self.settled_as = how
        self.suspect = self.suspect or (how is T.SUSPECT and not once)
        self.result = end.result if how is T.COMPLETE else self.result
        if how is T.SNOOZE:
            self.snoozed_since = self.snoozed_since or now
        elif how is not T.RELEASE:
            self.snoozed_since = None
        if how is T.COMPLETE:
            self.error = None  # what earlier attempts met stands in the history
        elif end.failure is not None:
            self.error = end.failure
        elif once and how in (T.CRASH, T.INTERRUPT, T.SUSPECT):
            self.error = Failure("", "")

    def expire(self, now: int) -> None:
        self.expiries += 1
        dead = self.retries >= self.draft.max_retries or self.expiries >= 10
        self.become(S.DEAD_LETTER if dead else S.RETRYING, now, 0)
        self.remember("expire", now, EXPIRED)
        self.settled_as, self.error = None, Failure("LeaseExpired", "the lease ran out")

    def redriven(self, now: int) -> Row:
        """As if it were new, but for its error, its history and its place in listings."""
        return Row(
            self.draft, self.seq, self.created_at, S.PENDING, now,
            error=self.error, history=self.history,
        )  # fmt: skip

    def record(self) -> JobRecord:
        ended = instant(self.ended_at)
        job = replace(
            self.draft.stored(self.status, EPOCH),
            created_at=instant(self.created_at),
            retry_count=self.retries,
            started_at=instant(self.started_at),
            completed_at=ended if self.status is S.COMPLETED else None,
            failed_at=ended if self.status in (S.FAILED, S.DEAD_LETTER) else None,
        )
        return JobRecord(
            job=job,
            attempt=self.attempt,
            release_count=self.releases,
            snooze_count=self.snoozes,
            crash_count=self.crashes,
            expiry_count=self.expiries,
            suspect=self.suspect,
            ended_by_attempt=self.ended_by_attempt,
            cancel_requested=self.cancel_requested,
            due_at=instant(self.run_at) if self.status in WAITING else None,
            result=document.decode(self.result or b"{}") if self.status is S.COMPLETED else None,
            attempts=tuple(self.history[-MAX_HISTORY - (self.status is S.COMPLETED) :]),
        )


class Model:
    def __init__(self) -> None:
        self.rows: dict[UUID, Row] = {}
        self._seq = 0

    def insert(self, draft: Draft, now: int) -> JobStatus | None:
        if draft.id in self.rows:
            return None
        self._seq += 1
        due = now if draft.scheduled_at is None else (draft.scheduled_at - EPOCH) // MICROSECOND
        status = S.SCHEDULED if due > now else S.PENDING
        self.rows[draft.id] = Row(draft, self._seq, now, status, due)
        return status

    def due(self, queues: Sequence[str], limit: int, now: int) -> list[Row]:
        """The jobs that the next lease brings, in their order."""
        found: list[Row] = []
        for queue in queues:
            mine = [
                row for row in self._waiting(queue) if row.status is S.PENDING or row.run_at <= now
            ]
            mine.sort(key=lambda row: (-row.draft.priority, row.run_at, row.seq))
            found += mine
        return found[: max(0, limit)]

    def next_due(self, queues: Sequence[str]) -> int | None:
        """When the first job is due, in queues that hold none that is due now."""
        return min((row.run_at for queue in queues for row in self._waiting(queue)), default=None)

    def settle(self, end: Settlement, now: int) -> Receipt:
        row = self.rows.get(UUID(bytes=end.id))
        if row is None:
            return Receipt(Answer.NOT_FOUND, None)
        mine = end.token is None or end.token == row.token
        if row.status is S.RUNNING and mine:
            row.settle(end, now)
            return Receipt(Answer.OK, row.status)
        again = mine and end.token is not None and row.settled_as is end.transition
        return Receipt(Answer.ALREADY if again else Answer.LOST, row.status)

    def cancel(self, job_id: UUID, now: int) -> bool:
        row = self.rows.get(job_id)
        if row is None or row.status not in WAITING:
            return False
        row.status, row.ended_at, row.error = S.FAILED, now, CANCELLED
        return True

    def redrive(self, job_ids: Sequence[UUID], now: int) -> list[UUID]:
        bad = (S.FAILED, S.DEAD_LETTER)
        found = [i for i in dict.fromkeys(job_ids) if i in self.rows and self.rows[i].status in bad]
        self.rows |= {job_id: self.rows[job_id].redriven(now) for job_id in found}
        return found

    def _waiting(self, queue: str) -> list[Row]:
        rows = self.rows.values()
        return [row for row in rows if row.draft.queue_name == queue and row.status in WAITING]
