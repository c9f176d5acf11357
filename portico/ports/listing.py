"""Which jobs to list or to act on, and a page of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from portico.exceptions import ValidationError
from portico.ports import document
from portico.ports.creators import checked_creator
from portico.ports.instants import as_local, checked_instant
from portico.ports.job import Job, JobStatus

_LONGEST_AGE = 1000 * 365 * 86_400.0
_ID_DIGITS = re.compile("[0-9a-f]{0,32}")


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list or act on; a condition left out matches all.

    Raises:
        ValidationError: a value is not acceptable; the message names it and the right ones.
    """

    queue_name: str | None = None
    job_type: str | None = None
    statuses: Sequence[JobStatus] | Sequence[str] | JobStatus | str = ()
    """One of them, or several; strings that equal one are one."""
    older_than: float | None = None
    """An age in seconds, counted from the instant the job ended, or was created when it has not
    ended."""
    id_prefix: str = ""
    """What the id begins with: hexadecimal digits, dashes or none."""
    created_by: UUID | str | None = None
    metadata: Mapping[str, Any] | None = None
    """Keys that a job's metadata must have, with equal values."""
    created_after: datetime | None = None
    """At this instant or after it; a naive one is local time."""
    created_before: datetime | None = None
    """Before this instant."""
    documents: bool = True
    """Whether a list brings payloads and metadata: without, they are empty, and it costs no more
    than what it shows. A store may bring them all the same."""

    def __post_init__(self) -> None:
        if self.older_than is not None and not 0 <= self.older_than <= _LONGEST_AGE:
            raise ValidationError(
                f"older_than is {self.older_than!r}; give an age in seconds, from 0 to "
                f"{_LONGEST_AGE:.0f}"
            )
        if not _ID_DIGITS.fullmatch(self.id_digits):
            raise ValidationError(
                f"id_prefix is {self.id_prefix!r}; give up to 32 hexadecimal digits, as ids have"
            )
        self._become("statuses", _statuses(self.statuses))
        if self.created_by is not None:
            self._become("created_by", checked_creator(self.created_by))
        for name in ("created_after", "created_before"):
            value = getattr(self, name)
            if isinstance(value, datetime):
                value = as_local(value, name)
            self._become(name, checked_instant(value, name))
        if self.metadata is not None:
            self._become("metadata", document.decode(document.encode(self.metadata, "metadata")))

    def _become(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # as a frozen dataclass sets its own

    @property
    def each_status(self) -> tuple[JobStatus, ...]:
        """The statuses; none for any."""
        return self.statuses  # type: ignore[return-value] # __post_init__ made them so

    @property
    def id_digits(self) -> str:
        """What ids begin with that match, small and without dashes."""
        return self.id_prefix.replace("-", "").lower()

    @property
    def ids(self) -> tuple[UUID, UUID] | None:
        """The first and the last id that match; `None`: all do."""
        digits = self.id_digits
        return (UUID(f"{digits:0<32}"), UUID(f"{digits:f<32}")) if digits else None

    @property
    def narrow(self) -> bool:
        """Whether it has a condition that no index serves: a list looks at so many of the newest
        jobs at a time then, and says how many."""
        unserved = (self.created_by, self.metadata, self.created_after, self.created_before)
        return any(condition is not None for condition in unserved)


def _statuses(value: object) -> tuple[JobStatus, ...]:
    if value is None:
        return ()
    several = isinstance(value, Iterable) and not isinstance(value, str)
    wanted = [_status(one) for one in value] if several else [_status(value)]  # type: ignore[attr-defined]
    return tuple(status for status in JobStatus if status in wanted)


def _status(value: object) -> JobStatus:
    try:
        return JobStatus(value)
    except ValueError as error:
        known = ", ".join(status.value for status in JobStatus)
        raise ValidationError(
            f"statuses has {value!r:.80}; the statuses are {known}", {"field": "statuses"}
        ) from error


class Glance(NamedTuple):
    """What a list tells of a job beside the job itself."""

    error_type: str | None = None
    """Of the error that the job's message is about."""
    due_at: datetime | None = None
    """As in `JobRecord`."""


@dataclass(frozen=True)
class JobPage:
    """One page of jobs, newest first; `cursor` asks for the next one, `None` on the last.

    A page ends early where its documents grow large, and where a filter is narrow after a number
    of jobs that were looked at: it may be empty then, and not the last.
    """

    jobs: list[Job]
    cursor: str | None = None
    glances: Sequence[Glance] = ()
    """One for each job, or none at all: a store need not know more than its jobs."""
    searched: int | None = None
    """How many jobs a narrow filter was held against; `None` where an index served."""
