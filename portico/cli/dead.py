"""`portico dead`: what to do with jobs that ran out of retries."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from portico.cli import exits
from portico.cli.groups import Group
from portico.cli.ids import as_job_ref, as_job_refs, each_found, missing
from portico.cli.jobs import show_page, show_record
from portico.cli.messages import complain, counted
from portico.cli.options import (
    as_seconds,
    cursor_option,
    job_filter,
    json_option,
    limit_option,
    queue_option,
    type_option,
)
from portico.cli.store import opened, store_option, with_jobs
from portico.cli.sweeps import Sweep

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService
    from portico.ports.leasing import JobFilter

failed_option = click.option(
    "--failed", is_flag=True, help="Failed jobs too: those that no retry could mend, or cancelled."
)

older_option = click.option(
    "--older-than", callback=as_seconds, metavar="TIME", help="Ended longer ago than 7d, 2h."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


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
    """List dead-lettered jobs, newest first.

    --json as in portico jobs list.
    """
    wanted = job_filter(queue, job_type, _statuses(failed=failed))
    show_page(queue_url, wanted, limit, cursor, as_json=as_json)


@dead.command("show")
@click.argument("job_id", callback=as_job_ref)
@json_option
@store_option
def show(job_id: str, *, as_json: bool, queue_url: str | None) -> None:
    """Show one job, as portico jobs show does."""
    show_record(queue_url, job_id, as_json=as_json)


@dead.command("requeue")
@click.argument("job_ids", nargs=-1, callback=as_job_refs, metavar="[JOB_ID...]")
@click.option("--all", "all_", is_flag=True, help="All that match --queue, --type, --older-than.")
@queue_option
@type_option
@failed_option
@older_option
@yes_option
@store_option
def requeue(
    job_ids: tuple[str, ...],
    *,
    all_: bool,
    queue: str | None,
    job_type: str | None,
    failed: bool,
    older_than: float | None,
    yes: bool,
    queue_url: str | None,
) -> int:
    """Run jobs again: those named, or --all.

    They have all their retries then. Named ones may also be FAILED; --all takes those with --failed
    only, asks first when it is given at a terminal, and leaves alone what dies meanwhile.
    """
    if bool(job_ids) == all_:
        raise click.UsageError("name the jobs, or give --all; see portico dead list")
    if job_ids:
        return with_jobs(queue_url, lambda service: _requeue_named(service, job_ids))
    wanted = job_filter(queue, job_type, _statuses(failed=failed), older_than)
    ask = sys.stdin.isatty() and not yes
    return _sweep(queue_url, wanted, "Run {} again?" if ask else None, Sweep.requeue, "requeued")


@dead.command("purge")
@queue_option
@type_option
@failed_option
@older_option
@yes_option
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
    """Delete dead-lettered jobs for ever, after asking.

    The question says how many there are. What dies meanwhile is left alone.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody is here to confirm that jobs are deleted; add --yes")
    wanted = job_filter(queue, job_type, _statuses(failed=failed), older_than)
    ask = None if yes else "Delete {} for ever?"
    return _sweep(queue_url, wanted, ask, Sweep.purge, "deleted")


def _sweep(
    queue_url: str | None,
    wanted: JobFilter,
    question: str | None,
    work: Callable[[Sweep], int],
    done: str,
) -> int:
    """Work on all jobs that match, once the question, if there is one, was answered with yes."""
    with opened(queue_url) as session:
        sweep = Sweep(session, wanted)
        if question is not None:
            count = sweep.count()
            asked = question.format(sweep.described(count))
            if count and not click.confirm(asked, err=True):
                return exits.TROUBLE
        click.echo(f"{counted(work(sweep), 'job')} {done}")
    return exits.OK


async def _requeue_named(service: JobService, refs: tuple[str, ...]) -> int:
    ids, code = await each_found(service, refs)
    changed = set(await service.redrive(ids))
    for job_id in ids:
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


def _statuses(*, failed: bool) -> tuple[str, ...]:
    return ("dead_letter", "failed") if failed else ("dead_letter",)
