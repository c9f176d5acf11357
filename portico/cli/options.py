"""Options that several verbs share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

if TYPE_CHECKING:
    from portico.ports.leasing import JobFilter

C = TypeVar("C", bound=Callable[..., Any])

STATUSES = ("pending", "scheduled", "running", "completed", "failed", "retrying", "dead_letter")
_LONGEST = 36500 * 86400.0
"""Seconds of a duration: a hundred years."""


def seconds_of(text: str) -> float:
    """Seconds from `90`, `5m`, `2h` or `7d`.

    Raises:
        Unusable: no duration, or longer than any date can be away; the text is the way out.
    """
    from portico.supervisor.parsing import Unusable, duration

    seconds = duration(text)
    if seconds > _LONGEST:
        raise Unusable("give at most 36500d")
    return seconds


def as_seconds(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Callback of an option: seconds from `90`, `5m`, `2h` or `7d`."""
    from portico.supervisor.parsing import Unusable

    try:
        return None if value is None else seconds_of(value)
    except Unusable as error:
        raise click.BadParameter(f"{value!r}: {error}", context, option) from None


def as_instant(
    context: click.Context, option: click.Parameter, value: str | None
) -> datetime | None:
    """Callback of an option: a datetime from ISO 8601; without a time zone it is local time."""
    try:
        return None if value is None else datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: give ISO 8601, such as 2026-05-01T09:00 (local time) or 2026-05-01T09:00Z",
            context,
            option,
        ) from None


def as_job_id(context: click.Context, option: click.Parameter, value: str | None) -> UUID | None:
    """Callback of an option or argument: a job's id."""
    try:
        return None if value is None else UUID(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: a job id is a UUID; see portico jobs list", context, option
        ) from None


def as_job_ids(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[UUID, ...]:
    """Callback of an argument: the ids of several jobs, each once."""
    found = (as_job_id(context, option, value) for value in values)
    return tuple(dict.fromkeys(identity for identity in found if identity is not None))


json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
queue_option = click.option("-Q", "--queue", metavar="NAME", help="Only of this queue.")
type_option = click.option("-t", "--type", "job_type", metavar="TYPE", help="Only of this type.")
limit_option = click.option(
    "-n", "--limit", type=click.IntRange(1, 1000), default=50, show_default=True,
    help="How many at most.",
)  # fmt: skip
cursor_option = click.option(
    "--cursor", metavar="CURSOR", help="Go on where the page before ended, which told the cursor."
)


def job_filter(
    queue: str | None,
    job_type: str | None,
    statuses: tuple[str, ...] = (),
    older_than: float | None = None,
) -> JobFilter:
    """The filter that the options of a verb ask for."""
    from portico.ports.job import JobStatus
    from portico.ports.leasing import JobFilter

    return JobFilter(
        queue_name=queue,
        job_type=job_type,
        statuses=tuple(JobStatus(status) for status in statuses),
        older_than=older_than,
    )
