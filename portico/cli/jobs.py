"""`portico jobs`: list, show, cancel, result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from portico.cli import exits
from portico.cli.groups import Group
from portico.cli.messages import complain
from portico.cli.options import (
    STATUSES,
    as_job_id,
    as_job_ids,
    cursor_option,
    job_filter,
    json_option,
    limit_option,
    queue_option,
    type_option,
)
from portico.cli.store import store_option, with_jobs
from portico.exceptions import ConflictError, ResourceNotFoundError

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService
    from portico.ports.job import Job
    from portico.ports.leasing import JobFilter, JobPage, JobRecord


@click.group(cls=Group, epilog=exits.EPILOG)
def jobs() -> None:
    """List, show and cancel jobs."""


@jobs.command("list")
@queue_option
@type_option
@click.option(
    "-s", "--status", "statuses", multiple=True, type=click.Choice(STATUSES),
    help="Only in this status; may be repeated.",
)  # fmt: skip
@limit_option
@cursor_option
@json_option
@store_option
def list_(
    *,
    queue: str | None,
    job_type: str | None,
    statuses: tuple[str, ...],
    limit: int,
    cursor: str | None,
    as_json: bool,
    queue_url: str | None,
) -> None:
    """List jobs, newest first.

    With --json: {"jobs": [...], "cursor": "..." or null}, each job with the fields of
    portico.ports.job.Job.
    """
    wanted = job_filter(queue, job_type, statuses)
    show_page(queue_url, wanted, limit, cursor, as_json=as_json)


@jobs.command("show")
@click.argument("job_id", callback=as_job_id)
@json_option
@store_option
def show(job_id: UUID, *, as_json: bool, queue_url: str | None) -> None:
    """Show one job with its attempts, error and traceback.

    With --json: the job's fields and the counters of its attempts in one object.
    """
    show_record(queue_url, job_id, as_json=as_json)


@jobs.command("cancel")
@click.argument("job_ids", nargs=-1, required=True, callback=as_job_ids, metavar="JOB_ID...")
@click.option(
    "--running/--waiting", default=True, help="Leave running jobs alone: --waiting. Else stop them."
)
@store_option
def cancel(job_ids: tuple[UUID, ...], *, running: bool, queue_url: str | None) -> int:
    """Cancel jobs, waiting or running.

    A running job is told to stop within a second; after two more its worker is killed. With
    --waiting running jobs are left alone.
    """

    async def cancel_each(service: JobService) -> int:
        code = exits.OK
        for job_id in job_ids:
            if await service.cancel_job(job_id, running):
                click.echo(f"{job_id} cancelled")
            else:
                job = await service.get_job(job_id)
                complain(_why_not(job_id, job))
                code = max(code, exits.NOT_FOUND if job is None else exits.REFUSED)
        return code

    return with_jobs(queue_url, cancel_each)


@jobs.command("result")
@click.argument("job_id", callback=as_job_id)
@json_option
@store_option
def result(job_id: UUID, *, as_json: bool, queue_url: str | None) -> None:
    """Print the result of a completed job, which is JSON with and without --json."""
    from portico.cli import shapes

    del as_json

    async def fetch(service: JobService) -> tuple[Job | None, dict[str, Any] | None]:
        return await service.get_job(job_id), await service.get_result(job_id)

    job, value = with_jobs(queue_url, fetch)
    if job is None:
        raise missing(job_id)
    if value is None:
        raise ConflictError(f"job {job_id} is {job.status.value}; only completed jobs have results")
    shapes.write(value)


def show_page(
    queue_url: str | None, wanted: JobFilter, limit: int, cursor: str | None, *, as_json: bool
) -> None:
    """Write one page of the jobs that match."""
    from portico.cli import shapes
    from portico.cli.listing import write_page

    async def fetch(service: JobService) -> JobPage:
        return await service.list_jobs(wanted, limit, cursor)

    page = with_jobs(queue_url, fetch)
    if as_json:
        shapes.write(shapes.page_shape(page))
        return
    if not page.jobs:
        click.echo("No jobs match.")
        return
    write_page(page, wanted)
    if page.cursor is not None:
        click.echo(f"More: add --cursor {page.cursor}", err=True)


def show_record(queue_url: str | None, job_id: UUID, *, as_json: bool) -> None:
    """Write one job with everything the store knows of it."""
    from portico.cli import shapes
    from portico.cli.record import write_record

    async def fetch(service: JobService) -> JobRecord | None:
        return await service.inspect(job_id)

    record = with_jobs(queue_url, fetch)
    if record is None:
        raise missing(job_id)
    if as_json:
        shapes.write(shapes.record_shape(record))
    else:
        write_record(record)


def missing(job_id: UUID) -> ResourceNotFoundError:
    """The error for an id that no job has."""
    return ResourceNotFoundError(f"there is no job {job_id}; see portico jobs list")


def _why_not(job_id: UUID, job: Job | None) -> str:
    if job is None:
        return str(missing(job_id))
    way_out = (
        "leave --waiting out to stop it" if job.status == "running" else "only waiting jobs can be"
    )
    return f"job {job_id} is {job.status.value} and was not cancelled; {way_out}"
