"""Bulk creation: every job has an outcome of its own, and none holds the others back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from portico.exceptions import ConflictError, ValidationError
from portico.ports.draft import Draft
from portico.ports.job import Job
from portico.ports.leasing import Inserted

T = TypeVar("T")
Made = TypeVar("Made")


class Created(NamedTuple):
    """What became of one job of many: the job as stored, or why there is none."""

    job: Job | None
    error: ValidationError | ConflictError | None = None


def each(make: Callable[[T], Made], items: Iterable[T]) -> list[Made | Created]:
    """What is made of each item, or the outcome of one that is not acceptable."""
    return [_one(make, item) for item in items]


def made(items: Iterable[Made | Created]) -> list[Made]:
    """Those that were made, without the outcomes."""
    return [item for item in items if not isinstance(item, Created)]


def outcomes(items: Iterable[Made | Created], answers: Iterable[Created]) -> list[Created]:
    """An outcome per item: its own, or the next of the answers for those that were made."""
    rest = iter(answers)
    return [item if isinstance(item, Created) else next(rest) for item in items]


def created(drafts: Sequence[Draft], stored: Iterable[Inserted | None]) -> list[Created]:
    """The outcomes of drafts, of what `JobQueueAdapter.insert` answered for each."""
    return [_outcome(draft, what) for draft, what in zip(drafts, stored, strict=True)]


def taken(job_id: UUID) -> ConflictError:
    """The error for an id that a job has already."""
    return ConflictError(
        f"a job with id {job_id} exists already; it was left as it was", {"job_id": str(job_id)}
    )


def _one(make: Callable[[T], Made], item: T) -> Made | Created:
    try:
        return make(item)
    except ValidationError as error:
        return Created(None, error)


def _outcome(draft: Draft, stored: Inserted | None) -> Created:
    if stored is None:
        return Created(None, taken(draft.id))
    return Created(draft.stored(stored.status, stored.created_at))
