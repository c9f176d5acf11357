"""A page of jobs as a table."""

from __future__ import annotations

from collections.abc import Sequence

from portico.cli.moments import since, took
from portico.cli.tables import Cell, Column, first_line, table
from portico.ports.job import CANCELLED_MESSAGE, Job
from portico.ports.leasing import Glance, JobFilter, JobPage

_COLUMNS = (
    Column("id"),
    Column("queue", 8, spare=True),
    Column("type", 12),
    Column("status"),
    Column("when"),
    Column("took", number=True, spare=True),
    Column("retries", number=True, spare=True),
    Column("error", 16),
)


def write_page(page: JobPage, wanted: JobFilter) -> None:
    """Write the jobs of a page, a line each.

    On a terminal without what all of them have in common because `wanted` asks for it.
    """
    glances = page.glances or [Glance()] * len(page.jobs)
    alike = {
        "queue": wanted.queue_name is not None,
        "type": wanted.job_type is not None,
        "status": len(wanted.each_status) == 1,
    }
    columns = [column._replace(known=alike.get(column.heading, False)) for column in _COLUMNS]
    table(columns, map(_row, page.jobs, glances))


def _row(job: Job, glance: Glance) -> Sequence[Cell]:
    return (
        job.id,
        job.queue_name,
        job.job_type,
        job.status.value,
        since(job, glance.due_at),
        took(job),
        f"{job.retry_count}/{job.max_retries}",
        _error(job, glance),
    )


def _error(job: Job, glance: Glance) -> str:
    """One line: what kind of error it was, and the first line of what it said."""
    said = first_line(job.error_message)
    plain = not said or not glance.error_type or said == CANCELLED_MESSAGE
    return said if plain else f"{glance.error_type}: {said}"
