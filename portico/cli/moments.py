"""Instants and times as people read them on a terminal, and as they are written elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import NamedTuple

from portico.ports.job import CANCELLED_MESSAGE, Job, JobStatus

_FEW = 10.0
_UNITS = (
    (100.0, (1.0, "s")), (100 * 60.0, (60.0, "m")), (48 * 3600.0, (3600.0, "h")),
    (inf, (86_400.0, "d")),
)  # fmt: skip
"""Below so many seconds a time is told in a unit of so many."""


class Moment(NamedTuple):
    """A cell of a table: what is told of it on a terminal, and what is written elsewhere."""

    told: str
    written: str


def since(job: Job, due: datetime | None, now: datetime | None = None) -> Moment | None:
    """How long a job has been in its status, or when that ends: words that go on after it.

    `pending for 3m`, `scheduled in 5m`, `running for 12s`, `completed 2h ago`.

    Args:
        job: the job.
        due: when it may start, if it waits and that is known.
        now: the present instant; the clock's, when left out.
    """
    now = now or datetime.now(UTC)
    instant = _instant(job, due)
    if instant is None:
        return None
    ago = (now - instant).total_seconds()
    if job.status.terminal:
        told = f"{span(ago)} ago"
    else:
        told = f"for {span(ago)}" if ago >= 0 else f"in {span(-ago)}"
    return Moment(told, instant.astimezone().isoformat(timespec="seconds"))


def took(job: Job) -> Moment | None:
    """How long the last attempt had a job; `None` where no attempt ended it."""
    ended = job.completed_at or job.failed_at
    if ended is None or job.started_at is None or job.error_message == CANCELLED_MESSAGE:
        return None
    seconds = (ended - job.started_at).total_seconds()
    told = f"{seconds:.1f}s" if 0 <= seconds < _FEW else span(seconds)
    return Moment(told, f"{seconds:.3f}s")


def waited(how: str, seconds: float | None) -> Moment | None:
    """A length of time, after a word or none."""
    return None if seconds is None else Moment(f"{how}{span(seconds)}", f"{seconds:.0f}s")


def span(seconds: float) -> str:
    """A length of time in the largest unit that tells enough of it: `45s`, `12m`, `30h`, `9d`."""
    unit, name = next(one for most, one in _UNITS if seconds < most)
    return f"{max(0, int(seconds / unit))}{name}"


def moment(instant: datetime | None) -> str | None:
    """An instant in local time, with its offset from UTC."""
    return None if instant is None else instant.astimezone().isoformat(" ", "seconds")


def _instant(job: Job, due: datetime | None) -> datetime | None:
    match job.status:
        case JobStatus.RUNNING:
            return job.started_at
        case JobStatus.PENDING:
            return job.created_at
        case JobStatus.SCHEDULED:
            return due or job.scheduled_at
        case JobStatus.RETRYING:
            return due
    return job.completed_at or job.failed_at
