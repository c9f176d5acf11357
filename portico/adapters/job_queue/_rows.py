"""Stored values and the domain's: the one place where rows become jobs, records and leases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from portico.adapters.job_queue._sound import mended
from portico.exceptions import DatabaseError
from portico.ports import document
from portico.ports.creators import without_creator
from portico.ports.draft import Draft
from portico.ports.job import WAITING, Job, JobStatus
from portico.ports.leasing import AttemptRecord, Glance, Inserted, JobRecord, Lease

STATUS = {status.value: status for status in JobStatus}

PENDING = JobStatus.PENDING.value
SCHEDULED = JobStatus.SCHEDULED.value
RUNNING = JobStatus.RUNNING.value
COMPLETED = JobStatus.COMPLETED.value
FAILED = JobStatus.FAILED.value
RETRYING = JobStatus.RETRYING.value
DEAD_LETTER = JobStatus.DEAD_LETTER.value

UNREADABLE = "portico.unreadable"
"""Metadata key under which a listing says that a stored document could not be decoded."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class StoredJob:
    """A job as a store keeps it: documents encoded, instants in microseconds since 1970 UTC.

    The order of the fields is the order of the columns in a store that has columns.
    """

    seq: int
    id: bytes
    queue_name: str
    job_type: str
    payload: bytes
    priority: int
    max_retries: int
    scheduled_at: int | None
    created_by: bytes | None
    created_at: int
    metadata: bytes
    status: str
    run_at: int
    """Due since, or from, this instant; decides the order within a priority."""
    retry_count: int = 0
    attempt: int = 0
    nonce: bytes | None = None
    """The random part of the newest attempt's token; stays when the attempt has ended."""
    settled_as: str | None = None
    """The transition that ended the newest attempt."""
    release_count: int = 0
    snooze_count: int = 0
    snoozed_since: int | None = None
    """When the present row of snoozes began."""
    crash_count: int = 0
    expiry_count: int = 0
    suspect: int = 0
    cancel_requested: int = 0
    ended_by_attempt: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    result: bytes | None = None
    owner: str | None = None


Row = TypeVar("Row", bound=StoredJob)


def micros(instant: datetime) -> int:
    """Microseconds since 1970 UTC, exactly."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(value: int | None) -> datetime | None:
    """The aware datetime of a stored instant; `None` for one that is none, too."""
    if value is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=value)
    except (TypeError, ValueError, OverflowError):  # written by something else than Portico
        return None


def status_of(value: object) -> JobStatus:
    """A stored status; one that there is not is a job that nobody will ever run."""
    return STATUS.get(value, JobStatus.DEAD_LETTER) if isinstance(value, str) else _LOST


_LOST = JobStatus.DEAD_LETTER


def uuid_of(value: object) -> UUID | None:
    """A stored id, if it is one."""
    return UUID(bytes=value) if isinstance(value, bytes) and len(value) == 16 else None  # noqa: PLR2004


def new_row(draft: Draft, now: int) -> tuple[Any, ...]:
    """A draft as `StoredJob` keeps it, from `id` to `run_at`. Only the future is SCHEDULED."""
    if draft.delay is not None:
        scheduled_at: int | None = now + draft.delay
    else:
        scheduled_at = None if draft.scheduled_at is None else micros(draft.scheduled_at)
    later = scheduled_at is not None and scheduled_at > now
    return (
        draft.id.bytes,
        draft.queue_name,
        draft.job_type,
        draft.payload,
        draft.priority,
        draft.max_retries,
        scheduled_at,
        None if draft.created_by is None else draft.created_by.bytes,
        now,
        draft.metadata,
        SCHEDULED if later else PENDING,
        now if scheduled_at is None else scheduled_at,
    )


def inserted(status: str, created_at: int) -> Inserted:
    """What `insert` answers for a draft that it stored."""
    return Inserted(STATUS[status], _EPOCH + timedelta(microseconds=created_at))


def lease_of(row: StoredJob) -> Lease:
    """The lease of the running attempt."""
    return tuple.__new__(  # past the named tuple's own __new__, which costs as much again
        Lease,
        (
            row.id,
            token_of(row.attempt, row.nonce or b""),
            row.attempt,
            row.queue_name,
            row.job_type,
            row.payload,
            row.priority,
            row.max_retries,
            row.retry_count,
            row.scheduled_at,
            row.started_at or 0,
            row.created_at,
            row.created_by,
            row.metadata,
            row.error_message,
            bool(row.suspect),
        ),
    )


_FOUR_BYTES = 2**32 - 1


def token_of(attempt: int, nonce: bytes) -> bytes:
    """A token: the attempt in four bytes, then the random part; of an attempt that cannot be, one
    that matches no row."""
    return (attempt & _FOUR_BYTES).to_bytes(4, "big") + nonce


def attempt_of(token: bytes) -> tuple[int, bytes]:
    """The attempt and the random part of a token; of a malformed one, what matches no row."""
    return int.from_bytes(token[:4], "big"), token[4:]


def job_of_lease(lease: Lease) -> Job:
    """The job as it was leased.

    Raises:
        ValueError: a stored document cannot be decoded.
    """
    creator, metadata = without_creator(lease.metadata)
    return Job(
        id=lease.job_id,
        queue_name=lease.queue_name,
        job_type=lease.job_type,
        payload=document.decode(lease.payload),
        priority=lease.priority,
        max_retries=lease.max_retries,
        retry_count=lease.retry_count,
        scheduled_at=instant(lease.scheduled_at),
        started_at=instant(lease.started_at),
        status=JobStatus.RUNNING,
        error_message=lease.error_message,
        created_by=creator or uuid_of(lease.created_by),
        created_at=instant(lease.created_at),
        metadata=document.decode(metadata),
    )


def job_of(row: StoredJob) -> Job:
    """The job of a row.

    Raises:
        DatabaseError: a stored document cannot be decoded; the message names the job.
    """
    row = _sound(row)
    try:
        _, metadata = without_creator(row.metadata)
        return _job(row, document.decode(row.payload), document.decode(metadata))
    except ValueError as error:
        job_id = uuid_of(row.id)
        raise DatabaseError(
            f"job {job_id} cannot be read: its stored payload or metadata is damaged ({error}); "
            "it is dead-lettered when it is leased",
            {"job_id": str(job_id)},
            error,
        ) from error


def job_for_listing(row: StoredJob, *, documents: bool = True) -> Job:
    """The job of a row, with a damaged document shown as empty and named in the metadata.

    Without documents both are empty.
    """
    odd = mended(row)
    row = replace(row, **odd) if odd else row
    if not documents:
        return _job(row, {}, {})
    try:
        job = job_of(row)
    except DatabaseError as error:
        return _job(row, {}, {UNREADABLE: error.message})
    if odd:
        damage = f"what is stored as {', '.join(sorted(odd))} is damaged"
        return _job(row, dict(job.payload), {**job.metadata, UNREADABLE: damage})
    return job


def _sound(row: StoredJob) -> StoredJob:
    odd = mended(row)
    return replace(row, **odd) if odd else row


def glance_at(row: StoredJob) -> Glance:
    """What a list tells beside the job of a row."""
    row = _sound(row)
    waits = status_of(row.status) in WAITING
    return Glance(_standing(row).type, instant(row.run_at) if waits else None)


class _Standing(NamedTuple):
    type: str | None
    message: str | None
    traceback: str | None


def _standing(row: StoredJob) -> _Standing:
    """The error that a job stands at: none once it is completed, whatever earlier attempts met."""
    if row.status == COMPLETED:
        return _Standing(None, None, None)
    return _Standing(row.error_type, row.error_message, row.traceback)


def _job(row: StoredJob, payload: dict[str, Any], metadata: dict[str, Any]) -> Job:
    ended_at = instant(row.ended_at)
    return Job(
        id=uuid_of(row.id) or UUID(int=0),
        queue_name=row.queue_name,
        job_type=row.job_type,
        payload=payload,
        priority=row.priority,
        max_retries=row.max_retries,
        retry_count=row.retry_count,
        scheduled_at=instant(row.scheduled_at),
        started_at=instant(row.started_at),
        completed_at=ended_at if row.status == COMPLETED else None,
        failed_at=ended_at if row.status in (FAILED, DEAD_LETTER) else None,
        status=status_of(row.status),
        error_message=_standing(row).message,
        created_by=without_creator(row.metadata)[0] or uuid_of(row.created_by),
        created_at=instant(row.created_at),
        metadata=metadata,
    )


def result_of(row: StoredJob) -> dict[str, Any] | None:
    """The result of a COMPLETED job.

    Raises:
        DatabaseError: the stored result cannot be decoded; the message names the job.
    """
    if row.status != COMPLETED:
        return None
    try:
        return {} if row.result is None else document.decode(row.result)
    except ValueError as error:
        job_id = uuid_of(row.id)
        raise DatabaseError(
            f"the result of job {job_id} cannot be read: {error}", {"job_id": str(job_id)}, error
        ) from error


def record_of(row: StoredJob, attempts: tuple[AttemptRecord, ...]) -> JobRecord:
    """Everything a row says, as an operator wants to see it, damaged documents included."""
    job, row = job_for_listing(row), _sound(row)
    standing = _standing(row)
    try:
        result = result_of(row)
    except DatabaseError as error:
        result = {UNREADABLE: error.message}
    return JobRecord(
        job=job,
        attempt=row.attempt,
        release_count=row.release_count,
        snooze_count=row.snooze_count,
        crash_count=row.crash_count,
        expiry_count=row.expiry_count,
        suspect=bool(row.suspect),
        ended_by_attempt=bool(row.ended_by_attempt),
        cancel_requested=bool(row.cancel_requested),
        error_type=standing.type,
        traceback=standing.traceback,
        result=result,
        due_at=instant(row.run_at) if job.status in WAITING else None,
        owner=row.owner if job.status is JobStatus.RUNNING else None,
        attempts=attempts,
    )
