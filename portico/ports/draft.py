"""A job on its way into a store, and the rules of admission.

Whatever the way in (a service, an adapter's `enqueue`, a worker's request), a job becomes a
`Draft` first, so that the rules stand here once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from portico.exceptions import ValidationError
from portico.ports import document
from portico.ports.creators import checked_creator, id_of, with_creator, without_creator
from portico.ports.instants import LONGEST_DELAY, checked_instant
from portico.ports.job import Job, JobStatus
from portico.ports.names import NAME
from portico.ports.time_limits import check_metadata

_INT32 = 2**31


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
    """What the stores know the creator by; see `creators` for one that is a text."""
    metadata: bytes
    delay: int | None = None
    """Microseconds from the instant at which the store takes it, by the store's clock; in place of
    `scheduled_at`."""

    @classmethod
    def of(cls, job: Job) -> Draft:
        """Check a job and encode it.

        Raises:
            ValidationError: a field is not acceptable; the message names it, its value and the
                way out.
        """
        check_metadata(job.metadata)
        creator = None if job.created_by is None else checked_creator(job.created_by)
        metadata = document.encode(job.metadata, "metadata", document.MAX_METADATA)
        return cls(
            _exact(checked_id(job.id, "id")),
            checked_name(job.queue_name, "queue_name"),
            checked_name(job.job_type, "job_type"),
            document.encode(job.payload, "payload"),
            _checked_integer(job.priority, "priority", -_INT32),
            _checked_integer(job.max_retries, "max_retries", 0),
            checked_instant(job.scheduled_at, "scheduled_at"),
            None if creator is None else _exact(id_of(creator)),
            with_creator(metadata, creator),
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
        if self.delay is not None:
            if self.scheduled_at is not None:
                raise ValidationError("delay and scheduled_at exclude each other; give one of them")
            _checked_integer(self.delay, "delay", 0, LONGEST_DELAY // timedelta(microseconds=1) + 1)
        document.check(self.payload, "payload")
        document.check(without_creator(self.metadata)[1], "metadata", document.MAX_METADATA)

    def stored(self, status: JobStatus, created_at: datetime) -> Job:
        """The job as the store has it now; decodes the documents."""
        creator, metadata = without_creator(self.metadata)
        scheduled_at = self.scheduled_at
        if self.delay is not None:
            scheduled_at = created_at + timedelta(microseconds=self.delay)
        return Job(
            id=self.id,
            queue_name=self.queue_name,
            job_type=self.job_type,
            payload=document.decode(self.payload),
            priority=self.priority,
            max_retries=self.max_retries,
            scheduled_at=scheduled_at,
            status=status,
            created_by=creator or self.created_by,
            created_at=created_at,
            metadata=document.decode(metadata),
        )


def drafted(job: Job | Draft) -> Draft:
    """A job as a draft; a draft is one."""
    return job if isinstance(job, Draft) else Draft.of(job)


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


def _exact(value: UUID) -> UUID:
    """The same as a plain UUID, which says of itself what it is."""
    return value if type(value) is UUID else UUID(int=value.int)


def _checked_integer(value: object, field: str, lowest: int, limit: int = _INT32) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        exact = int.__index__(value)  # whatever a kind of number of one's own says of itself
        if lowest <= exact < limit:
            return exact
    raise ValidationError(
        f"{field} is {value!r:.80}; give a whole number from {lowest} to {limit - 1}",
        {"field": field},
    )
