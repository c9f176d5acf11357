"""A job on its way into a store, and the rules of admission.

Whatever the way in (a service, an adapter's `enqueue`, a worker's request), a job becomes a
`Draft` first, so that the rules stand here once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from portico.exceptions import ValidationError
from portico.ports import document
from portico.ports.job import Job, JobStatus
from portico.ports.names import NAME
from portico.ports.time_limits import check_metadata

_INT32 = 2**31
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class Draft(NamedTuple):
    """A checked job with its documents encoded; what `JobQueueAdapter.insert` stores.

    A tuple, because bulk enqueueing builds one per job.
    """

    id: UUID
    queue_name: str
    job_type: str
    payload: bytes
    priority: int
    max_retries: int
    scheduled_at: datetime | None
    created_by: UUID | None
    metadata: bytes

    @classmethod
    def of(cls, job: Job) -> Draft:
        """Check a job and encode it.

        Raises:
            ValidationError: a field is not acceptable; the message names it, its value and the
                way out.
        """
        check_metadata(job.metadata)
        return cls(
            checked_id(job.id, "id"),
            checked_name(job.queue_name, "queue_name"),
            checked_name(job.job_type, "job_type"),
            document.encode(job.payload, "payload"),
            _checked_integer(job.priority, "priority", -_INT32),
            _checked_integer(job.max_retries, "max_retries", 0),
            checked_instant(job.scheduled_at, "scheduled_at"),
            None if job.created_by is None else checked_id(job.created_by, "created_by"),
            document.encode(job.metadata, "metadata", document.MAX_METADATA),
        )

    def check(self) -> None:
        """Hold a draft that came from another process against the rules, its documents unopened.

        Raises:
            ValidationError: a field is not acceptable.
        """
        checked_name(self.queue_name, "queue_name")
        checked_name(self.job_type, "job_type")
        _checked_integer(self.priority, "priority", -_INT32)
        _checked_integer(self.max_retries, "max_retries", 0)
        checked_instant(self.scheduled_at, "scheduled_at")
        document.check(self.payload, "payload")
        document.check(self.metadata, "metadata", document.MAX_METADATA)

    def stored(self, status: JobStatus, created_at: datetime) -> Job:
        """The job as the store has it now; decodes the documents."""
        return Job(
            id=self.id,
            queue_name=self.queue_name,
            job_type=self.job_type,
            payload=document.decode(self.payload),
            priority=self.priority,
            max_retries=self.max_retries,
            scheduled_at=self.scheduled_at,
            status=status,
            created_by=self.created_by,
            created_at=created_at,
            metadata=document.decode(self.metadata),
        )


def checked_id(value: object, field: str) -> UUID:
    """Take a UUID or its text.

    Raises:
        ValidationError: it is neither.
    """
    if isinstance(value, UUID):
        return value
    try:
        return UUID(str(value))
    except ValueError as error:
        raise ValidationError(f"{field} is {value!r:.80}; give a UUID") from error


def checked_name(value: object, field: str) -> str:
    """Take a queue name or a job type.

    Raises:
        ValidationError: empty, longer than 128, or other characters than letters, digits and
            `_ . : -`.
    """
    if isinstance(value, str) and NAME.fullmatch(value):
        return value if type(value) is str else str.__str__(value)
    shown = repr(value)[:80]
    raise ValidationError(
        f"{field} is {shown}; use 1 to 128 letters, digits or any of _ . : -", {"field": field}
    )


def checked_instant(value: object, field: str) -> datetime | None:
    """Take an aware datetime, or `None`; an instant before 1970 counts as 1970.

    Raises:
        ValidationError: naive, no datetime at all, or past the year 9000.
    """
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ValidationError(f"{field} is {value!r:.80}; give an aware datetime")
    if value.utcoffset() is None:
        raise ValidationError(
            f"{field} is {value.isoformat()} without a time zone; "
            "give an aware datetime, such as datetime.now(UTC)"
        )
    try:
        instant = value.astimezone(UTC)
    except OverflowError as error:
        raise ValidationError(
            f"{field} is {value.isoformat()}; out of range, give an instant from 1970 to 9000"
        ) from error
    if instant >= _LATEST:
        raise ValidationError(f"{field} is {value.isoformat()}; give an instant before 9000")
    return max(instant, _EARLIEST)


def _checked_integer(value: object, field: str, lowest: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and lowest <= value < _INT32:
        return value
    raise ValidationError(
        f"{field} is {value!r:.80}; give a whole number from {lowest} to {_INT32 - 1}",
        {"field": field},
    )
