"""`portico dead`: what to do with jobs that ran out of retries."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from portico.cli import exits
from portico.cli.groups import Group
from portico.cli.jobs import missing, show_page, show_record
from portico.cli.messages import complain, counted
from portico.cli.options import (
    as_job_id,
    as_job_ids,
    as_seconds,
    cursor_option,
    job_filter,
    json_option,
    limit_option,
    queue_option,
    type_option,
)
from portico.cli.store import store_option, with_jobs

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService
    from portico.ports.leasing import JobFilter

_PAGE = 500

failed_option = click.option(
    "--failed", is_flag=True, help="Failed jobs too: those that no retry could mend, or cancelled."
)


@click.group(cls=Group, epilog=exits.EPILOG)
def dead() -> None:
    """Look at dead-lettered jobs, run them again, or delete them."""


@dead.command("list")
@queue_option
@type_option
@failed_option
@limit_option
@cursor_option
@json_option
@store_option
def list_(
    *,
    queue: str | None,
    job_type: str | None,
    failed: bool,
    limit: int,
    cursor: str | None,
    as_json: bool,
    queue_url: str | None,
) -> None:
    """List dead-lettered jobs, newest first; --json as in portico jobs list."""
    wanted = job_filter(queue, job_type, _statuses(failed=failed))
    show_page(queue_url, wanted, limit, cursor, as_json=as_json)


@dead.command("show")
@click.argument("job_id", callback=as_job_id)
@json_option
@store_option
def show(job_id: UUID, *, as_json: bool, queue_url: str | None) -> None:
    """Show one job with its error and traceback; the same as portico jobs show."""
    show_record(queue_url, job_id, as_json=as_json)


@dead.command("requeue")
@click.argument("job_ids", nargs=-1, callback=as_job_ids, metavar="[JOB_ID...]")
@click.option("--all", "all_", is_flag=True, help="All that match --queue, --type, --older-than.")
@queue_option
@type_option
@failed_option
@click.option(
    "--older-than", callback=as_seconds, metavar="TIME", help="Ended longer ago than 7d, 2h."
)
@store_option
def requeue(
    job_ids: tuple[UUID, ...],
    *,
    all_: bool,
    queue: str | None,
    job_type: str | None,
    failed: bool,
    older_than: float | None,
    queue_url: str | None,
) -> int:
    """Run jobs again, with all their retries: those named, or --all.

    Named ones may also be FAILED; --all takes those with --failed only.
    """
    if bool(job_ids) == all_:
        raise click.UsageError("name the jobs, or give --all; see portico dead list")
    if job_ids:
        return with_jobs(queue_url, lambda service: _requeue_named(service, job_ids))
    wanted = job_filter(queue, job_type, _statuses(failed=failed), older_than)
    count = with_jobs(queue_url, lambda service: _requeue_all(service, wanted))
    click.echo(f"{counted(count, 'job')} requeued")
    return exits.OK


@dead.command("purge")
@queue_option
@type_option
@failed_option
@click.option(
    "--older-than", callback=as_seconds, metavar="TIME", help="Ended longer ago than 7d, 2h."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@store_option
def purge(
    *,
    queue: str | None,
    job_type: str | None,
    failed: bool,
    older_than: float | None,
    yes: bool,
    queue_url: str | None,
) -> int:
    """Delete dead-lettered jobs for ever, after asking."""
    wanted = job_filter(queue, job_type, _statuses(failed=failed), older_than)
    if not yes and not _confirmed(_described(wanted)):
        return exits.TROUBLE
    count = with_jobs(queue_url, lambda service: _purge_all(service, wanted))
    click.echo(f"{counted(count, 'job')} deleted")
    return exits.OK


async def _requeue_named(service: JobService, job_ids: tuple[UUID, ...]) -> int:
    changed = set(await service.redrive(job_ids))
    code = exits.OK
    for job_id in job_ids:
        if job_id in changed:
            click.echo(f"{job_id} requeued")
            continue
        job = await service.get_job(job_id)
        if job is None:
            complain(str(missing(job_id)))
            code = max(code, exits.NOT_FOUND)
        else:
            complain(f"job {job_id} is {job.status.value}; only dead and failed jobs run again")
            code = exits.REFUSED
    return code


async def _requeue_all(service: JobService, wanted: JobFilter) -> int:
    count, cursor = 0, None
    while True:
        page = await service.list_jobs(wanted, _PAGE, cursor)
        count += len(await service.redrive([job.id for job in page.jobs]))
        cursor = page.cursor
        if cursor is None:
            return count


async def _purge_all(service: JobService, wanted: JobFilter) -> int:
    count = 0
    while gone := await service.purge(wanted, _PAGE):
        count += gone
    return count


def _statuses(*, failed: bool) -> tuple[str, ...]:
    return ("dead_letter", "failed") if failed else ("dead_letter",)


def _described(wanted: JobFilter) -> str:
    words = ["the", " and ".join(s.value.replace("_", "-") for s in wanted.statuses), "jobs"]
    words += [f"of type {wanted.job_type}"] if wanted.job_type else []
    words += [f"in queue {wanted.queue_name}"] if wanted.queue_name else ["in all queues"]
    words += [f"that ended over {wanted.older_than:g} s ago"] if wanted.older_than else []
    return " ".join(words)


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody is here to confirm deleting {what}; add --yes")
    return click.confirm(f"Delete {what} for ever?", err=True)
