"""`portico jobs`: list, show, cancel, result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from portico.cli import exits
from portico.cli.groups import Group
from portico.cli.ids import as_job_ref, as_job_refs, each_found, found, missing
from portico.cli.made import made_options
from portico.cli.messages import complain, counted
from portico.cli.options import (
    STATUSES,
    cursor_option,
    job_filter,
    json_option,
    limit_option,
    queue_option,
    type_option,
)
from portico.cli.store import store_option, with_jobs
from portico.exceptions import ConflictError

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
@made_options
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
    **made: Any,
) -> None:
    """List jobs, newest first.

    `when` goes on after the status: pending for 3m, scheduled in 5m, running for 12s, failed 2h
    ago. In a pipe it is the instant itself.

    With --json: {"jobs": [...], "cursor": "..." or null}, each job with the fields of
    portico.ports.job.Job, and with error_type and due_at.

    By creator, metadata and creation a page looks at the 100 000 newest jobs at most, and may be
    empty; --cursor goes on below.
    """
    wanted = replace(job_filter(queue, job_type, statuses), **made)
    show_page(queue_url, wanted, limit, cursor, as_json=as_json)


@jobs.command("show")
@click.argument("job_id", callback=as_job_ref)
@json_option
@store_option
def show(job_id: str, *, as_json: bool, queue_url: str | None) -> None:
    """Show one job with its attempts and errors.

    Four digits or more that its id begins with are enough, if no other job's does.

    With --json: the job's fields and the counters of its attempts in one object.
    """
    show_record(queue_url, job_id, as_json=as_json)


@jobs.command("cancel")
@click.argument("job_ids", nargs=-1, required=True, callback=as_job_refs, metavar="JOB_ID...")
@click.option(
    "--running/--waiting", default=True, help="Leave running jobs alone: --waiting. Else stop them."
)
@store_option
def cancel(job_ids: tuple[str, ...], *, running: bool, queue_url: str | None) -> int:
    """Cancel jobs, waiting or running.

    A running job is told to stop within a second; after two more its worker is killed. With
    --waiting running jobs are left alone.
    """

    async def cancel_each(service: JobService) -> int:
        ids, code = await each_found(service, job_ids)
        for job_id in ids:
            if await service.cancel_job(job_id, running):
                click.echo(f"{job_id} cancelled")
            else:
                job = await service.get_job(job_id)
                complain(_why_not(job_id, job))
                code = max(code, exits.NOT_FOUND if job is None else exits.REFUSED)
        return code

    return with_jobs(queue_url, cancel_each)


@jobs.command("result")
@click.argument("job_id", callback=as_job_ref)
@json_option
@store_option
def result(job_id: str, *, as_json: bool, queue_url: str | None) -> None:
    """Print the result of a completed job.

    It is JSON, with --json and without.
    """
    from portico.cli import shapes

    del as_json

    async def fetch(service: JobService) -> dict[str, Any]:
        meant = await found(service, job_id)
        job = await service.get_job(meant)
        if job is None:
            raise missing(meant)
        value = await service.get_result(meant)
        if value is None:
            raise ConflictError(
                f"job {meant} is {job.status.value}; only completed jobs have results"
            )
        return value

    shapes.write(with_jobs(queue_url, fetch))


def show_page(
    queue_url: str | None, wanted: JobFilter, limit: int, cursor: str | None, *, as_json: bool
) -> None:
    """Write one page of the jobs that match."""
    from portico.cli import shapes
    from portico.cli.listing import write_page

    async def fetch(service: JobService) -> JobPage:
        return await service.list_jobs(replace(wanted, documents=as_json), limit, cursor)

    page = with_jobs(queue_url, fetch)
    if as_json:
        shapes.write(shapes.page_shape(page))
        return
    if page.jobs:
        write_page(page, wanted)
    else:
        looked = "" if page.searched is None else f" among {counted(page.searched, 'job')}"
        click.echo(f"No jobs match{looked}.")
    if page.cursor is not None:
        click.echo(f"More: add --cursor {page.cursor}", err=True)


def show_record(queue_url: str | None, job_id: str, *, as_json: bool) -> None:
    """Write one job with everything the store knows of it."""
    from portico.cli import shapes
    from portico.cli.record import write_record
    from portico.supervisor.config import resolve_queue_url
    from portico.supervisor.crowds import crowds

    async def fetch(service: JobService) -> JobRecord:
        meant = await found(service, job_id)
        record = await service.inspect(meant)
        if record is None:
            raise missing(meant)
        return record

    record = with_jobs(queue_url, fetch)
    if as_json:
        shapes.write(shapes.record_shape(record))
    else:
        told = [one.of(record.job.job_type) for one in crowds(resolve_queue_url(queue_url))]
        write_record(record, "; ".join(filter(None, told)) or None)


def _why_not(job_id: UUID, job: Job | None) -> str:
    if job is None:
        return str(missing(job_id))
    way_out = (
        "leave --waiting out to stop it" if job.status == "running" else "only waiting jobs can be"
    )
    return f"job {job_id} is {job.status.value} and was not cancelled; {way_out}"
