"""Bulk creation: every job has an outcome of its own, and none holds the others back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from portico.exceptions import ConflictError, PorticoError, ValidationError
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


def told(outcomes: list[Created], *, return_exceptions: bool) -> list[Created]:
    """The outcomes, where all are jobs or the errors are wanted beside them.

    Raises:
        ExceptionGroup: of the errors, each with its `index` in its details.
    """
    refused = [_at(n, each.error) for n, each in enumerate(outcomes) if each.error is not None]
    if return_exceptions or not refused:
        return outcomes
    others = len(outcomes) - len(refused)
    raise ExceptionGroup(
        f"{len(refused)} of {len(outcomes)} jobs were refused, the other {others} are created; "
        "return_exceptions=True tells which",
        refused,
    )


def taken(job_id: UUID) -> ConflictError:
    """The error for an id that a job has already."""
    return ConflictError(
        f"a job with id {job_id} exists already; it was left as it was", {"job_id": str(job_id)}
    )


def accepted(make: Callable[[T], Made], item: T) -> Made:
    """What is made of one item.

    Raises:
        ValidationError: it is not acceptable, or its own code raises when it is looked at.
    """
    try:
        return make(item)
    except (PorticoError, MemoryError):
        raise
    except Exception as error:
        kind = type(error).__name__
        raise ValidationError(f"the job cannot be read: {kind}: {error}", cause=error) from error


def _one(make: Callable[[T], Made], item: T) -> Made | Created:
    try:
        return accepted(make, item)
    except ValidationError as error:
        return Created(None, error)


def _at(index: int, error: ValidationError | ConflictError) -> PorticoError:
    details = {**error.details, "index": index}
    return type(error)(f"jobs[{index}]: {error.message}", details, cause=error)


def _outcome(draft: Draft, stored: Inserted | None) -> Created:
    if stored is None:
        return Created(None, taken(draft.id))
    return Created(draft.stored(stored.status, stored.created_at))
