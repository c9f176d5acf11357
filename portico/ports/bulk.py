"""Bulk creation: every job has an outcome of its own, and none holds the others back.

What is created at once is stored in portions: one transaction of a million jobs would keep
everybody waiting who has one job, and run into every limit of time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from portico.exceptions import ConflictError, PorticoError, ValidationError
from portico.ports.draft import Draft
from portico.ports.job import Job
from portico.ports.leasing import Inserted

T = TypeVar("T")
Made = TypeVar("Made")


PORTION = 2_000
"""Jobs of one transaction, so that nobody else waits for long, ..."""
PORTION_BYTES = 8 * 2**20
"""... and bytes of their documents, from which on another one begins."""


class Created(NamedTuple):
    """What became of one job of many: the job as stored, or why there is none.

    A `ValidationError` or `ConflictError` is the job's own. Any other kept out the portion that it
    was in, and what came after it: more than one portion was given, and those before are stored.
    """

    job: Job | None
    error: PorticoError | None = None


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


def only(outcomes: Sequence[Created]) -> Job:
    """The one job, as stored.

    Raises:
        PorticoError: why there is none.
    """
    [outcome] = outcomes
    if outcome.job is None:
        raise outcome.error or AssertionError("an outcome is a job or an error")
    return outcome.job


def told(outcomes: list[Created], *, return_exceptions: bool) -> list[Created]:
    """The outcomes, where all are jobs or the errors are wanted beside them.

    Raises:
        ExceptionGroup: of the errors, each with its `index` in its details.
    """
    refused = [_at(n, each.error) for n, each in enumerate(outcomes) if each.error is not None]
    if return_exceptions or not refused:
        return outcomes
    others = len(outcomes) - len(refused)
    rest = f"the other {others} are created" if others else "none is created"
    raise ExceptionGroup(
        f"{len(refused)} of {len(outcomes)} jobs were refused, {rest}; "
        "return_exceptions=True tells which",
        refused,
    )


async def in_portions(
    make: Callable[[T], Draft],
    jobs: Iterable[T],
    insert: Callable[[Sequence[Draft]], Awaitable[list[Inserted | None]]],
) -> list[Created]:
    """Store what is made of jobs, a portion at a time; an outcome per job, in order.

    Raises:
        PorticoError: the store refused the first jobs; none is stored.
    """
    told: list[Created] = []
    refusal: PorticoError | None = None
    for items in _portions(_one(make, job) for job in jobs):
        drafts = made(items)
        stored: list[Created] = []
        if refusal is None and drafts:
            try:
                stored = created(drafts, await insert(drafts))
            except PorticoError as error:
                if not any(outcome.job for outcome in told):
                    raise
                refusal = error
        told += outcomes(items, [Created(None, refusal)] * len(drafts) if refusal else stored)
    return told


def _portions(items: Iterable[Draft | Created]) -> Iterator[list[Draft | Created]]:
    portion: list[Draft | Created] = []
    size = 0
    for item in items:
        portion.append(item)
        size += len(item.payload) + len(item.metadata) if isinstance(item, Draft) else 0
        if len(portion) == PORTION or size >= PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


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


def _at(index: int, error: PorticoError) -> PorticoError:
    details = {**error.details, "index": index}
    return type(error)(f"jobs[{index}]: {error.message}", details, cause=error)


def _outcome(draft: Draft, stored: Inserted | None) -> Created:
    if stored is None:
        return Created(None, taken(draft.id))
    return Created(draft.stored(stored.status, stored.created_at))
