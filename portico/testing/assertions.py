"""Which jobs wait in a queue, asserted; a miss says which do instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portico.ports.job import WAITING, Job
from portico.ports.job_queue import JobQueueAdapter
from portico.ports.leasing import JobFilter

_PAGE = 1000
_SHOWN = 20
_WIDEST = 300
_TOLERANCE = timedelta(seconds=1)
_WAITING = tuple(sorted(WAITING))


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """Conditions on a job; one that is `None` holds for every job."""

    job_type: str | None
    payload: Mapping[str, Any] | None
    queue_name: str | None
    scheduled_at: datetime | None

    def __post_init__(self) -> None:
        if self.scheduled_at is not None and self.scheduled_at.utcoffset() is None:
            raise ValueError(
                f"scheduled_at is {self.scheduled_at.isoformat()} without a time zone; "
                "give an aware datetime, such as datetime.now(UTC)"
            )

    def met_by(self, job: Job) -> bool:
        """Whether a job is meant; type and queue have been asked of the store."""
        if self.payload is not None and not _holds(job.payload, self.payload):
            return False
        if self.scheduled_at is None:
            return True
        return job.scheduled_at is not None and (
            abs(job.scheduled_at - self.scheduled_at) <= _TOLERANCE
        )

    def __str__(self) -> str:
        """The conditions, for a message."""
        parts = []
        if self.job_type is not None:
            parts.append(f"job_type={self.job_type!r}")
        if self.payload is not None:
            parts.append(f"payload with {dict(self.payload)!r:.{_WIDEST}}")
        if self.queue_name is not None:
            parts.append(f"queue_name={self.queue_name!r}")
        if self.scheduled_at is not None:
            parts.append(f"scheduled_at={self.scheduled_at.isoformat()}")
        return ", ".join(parts) or "any"


async def all_enqueued(
    queue: JobQueueAdapter,
    *,
    job_type: str | None = None,
    payload: Mapping[str, Any] | None = None,
    queue_name: str | None = None,
    scheduled_at: datetime | None = None,
) -> list[Job]:
    """The jobs that wait (PENDING, SCHEDULED or RETRYING) and match, in the order of enqueueing.

    Args:
        queue: an adapter that can list its jobs.
        job_type: of this type.
        payload: with these keys and values; other keys may be there too, at the top.
        queue_name: in this queue.
        scheduled_at: to be started at this instant, give or take a second.

    Raises:
        NotSupportedError: the adapter has the nine documented methods only.
        ValueError: `scheduled_at` has no time zone.
    """
    wanted = _Wanted(
        job_type=job_type, payload=payload, queue_name=queue_name, scheduled_at=scheduled_at
    )
    return await _matching(queue, wanted)


async def assert_enqueued(
    queue: JobQueueAdapter,
    *,
    job_type: str | None = None,
    payload: Mapping[str, Any] | None = None,
    queue_name: str | None = None,
    scheduled_at: datetime | None = None,
    count: int | None = None,
) -> list[Job]:
    """Fail unless a job waits that matches, and return those that do, as `all_enqueued` would.

    Args:
        queue: an adapter that can list its jobs.
        job_type: of this type.
        payload: with these keys and values; other keys may be there too, at the top.
        queue_name: in this queue.
        scheduled_at: to be started at this instant, give or take a second.
        count: so many, neither more nor fewer; at least one when left out.

    Raises:
        AssertionError: none matches, or not as many; the message lists what waits instead.
    """
    wanted = _Wanted(
        job_type=job_type, payload=payload, queue_name=queue_name, scheduled_at=scheduled_at
    )
    found = await _matching(queue, wanted)
    if (len(found) == count) if count is not None else found:
        return found
    expected = "a job" if count is None else f"{count} {_jobs(count)}"
    raise AssertionError(f"expected {expected} ({wanted}), found {len(found)}; {await _all(queue)}")


async def refute_enqueued(
    queue: JobQueueAdapter,
    *,
    job_type: str | None = None,
    payload: Mapping[str, Any] | None = None,
    queue_name: str | None = None,
    scheduled_at: datetime | None = None,
) -> None:
    """Fail if a job waits that matches; the arguments are those of `all_enqueued`.

    Raises:
        AssertionError: one does; the message lists what waits.
    """
    wanted = _Wanted(
        job_type=job_type, payload=payload, queue_name=queue_name, scheduled_at=scheduled_at
    )
    if found := await _matching(queue, wanted):
        raise AssertionError(f"expected no job ({wanted}), found {len(found)}; {await _all(queue)}")


async def _matching(queue: JobQueueAdapter, wanted: _Wanted) -> list[Job]:
    jobs = JobFilter(queue_name=wanted.queue_name, job_type=wanted.job_type, statuses=_WAITING)
    found: list[Job] = []
    cursor = None
    while True:
        page = await queue.list_jobs(jobs, _PAGE, cursor)
        found += [job for job in page.jobs if wanted.met_by(job)]
        cursor = page.cursor
        if cursor is None:
            return found[::-1]


async def _all(queue: JobQueueAdapter) -> str:
    """What waits, for the message of a failure."""
    page = await queue.list_jobs(JobFilter(statuses=_WAITING), _SHOWN)
    if not page.jobs:
        return "no job waits in any queue"
    lines = "\n".join(f"  {_line(job)}" for job in page.jobs)
    more = "" if page.cursor is None else "\n  and older ones"
    return f"there wait, the newest first:\n{lines}{more}"


def _line(job: Job) -> str:
    at = "" if job.scheduled_at is None else f" for {job.scheduled_at.isoformat()}"
    return f"{job.job_type} in {job.queue_name}, {job.status.value}{at}: {job.payload!r:.{_WIDEST}}"


def _holds(whole: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return all(key in whole and whole[key] == value for key, value in part.items())


def _jobs(count: int) -> str:
    return "job" if count == 1 else "jobs"
