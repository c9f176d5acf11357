"""Options that several verbs share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

from portico.ports.names import NAME
from portico.utils.durations import seconds_of

if TYPE_CHECKING:
    from portico.ports.leasing import JobFilter

C = TypeVar("C", bound=Callable[..., Any])

STATUSES = ("pending", "scheduled", "running", "completed", "failed", "retrying", "dead_letter")


def as_seconds(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Callback of an option: seconds from `90`, `5m`, `1h30m` or `7d`."""
    try:
        return None if value is None else seconds_of(value)
    except ValueError as way_out:
        raise click.BadParameter(f"{value!r}: {way_out}", context, option) from None


def as_deadline(
    context: click.Context, option: click.Parameter, value: str | None
) -> dict[str, float | None]:
    """Callback of an option: `job_timeout` as `create_job` takes it, if one is given at all."""
    from portico.supervisor.parsing import timeout

    try:
        return {} if value is None else {"job_timeout": timeout(value)}
    except ValueError as way_out:
        raise click.BadParameter(f"{value!r}: {way_out}", context, option) from None


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


def as_name(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Callback of an option: the name of a queue or of a job type."""
    if value is None or NAME.fullmatch(value):
        return value
    raise click.BadParameter(
        f"{value!r}: use 1 to 128 letters, digits or any of _ . : -", context, option
    )


def as_job_id(context: click.Context, option: click.Parameter, value: str | None) -> UUID | None:
    """Callback of an option or argument: a job's id."""
    try:
        return None if value is None else UUID(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: a job id is a UUID; see portico jobs list", context, option
        ) from None


json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
queue_option = click.option(
    "-Q", "--queue", callback=as_name, metavar="NAME", help="Only of this queue."
)
type_option = click.option(
    "-t", "--type", "job_type", callback=as_name, metavar="TYPE", help="Only of this type."
)
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
