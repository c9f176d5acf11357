"""`portico status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from portico.cli.messages import complain
from portico.cli.options import STATUSES, json_option, queue_option
from portico.cli.store import store_option, with_jobs

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService
    from portico.ports.job import QueueStats
    from portico.ports.leasing import Outlook


@click.command()
@queue_option
@json_option
@store_option
def status(*, queue: str | None, as_json: bool, queue_url: str | None) -> None:
    """Count the jobs of each queue, and say which supervisors of this host cannot use the store.

    `oldest` is for how long a job has been due that waits; `next` is when another one will be.

    With --json: {"queues": [{"queue_name", "pending", "scheduled", "running", "completed",
    "failed", "retrying", "dead_letter", "total", "oldest_wait", "next_due"}, ...]}, by name, the
    last two in seconds or null, and {"troubles": [{"pid", "since", "said", "results_waiting"},
    ...]}.
    """
    from portico.cli import shapes
    from portico.supervisor.config import resolve_queue_url
    from portico.supervisor.trouble import troubles

    found = troubles(resolve_queue_url(queue_url))
    for trouble in found:  # at once, for the store may be away from here too
        complain(str(trouble))

    async def look(jobs: JobService) -> tuple[Sequence[QueueStats], Mapping[str, Outlook]]:
        if queue is not None:
            return [await jobs.get_job_stats(queue)], await jobs.outlook()
        return list((await jobs.all_stats()).values()), await jobs.outlook()

    counts, outlook = with_jobs(queue_url, look)
    shown = [shapes.queue_shape(stats, outlook.get(stats.queue_name)) for stats in counts]
    if as_json:
        shapes.write({"queues": shown, "troubles": [shapes.trouble_shape(one) for one in found]})
    elif shown:
        _write(shown)
    else:
        click.echo("The queues are empty.")


def _write(queues: Sequence[Mapping[str, Any]]) -> None:
    from portico.cli.moments import waited
    from portico.cli.tables import Column, table

    counts = [Column(name, number=True) for name in STATUSES]
    spare = {"completed", "failed"}
    columns = (
        Column("queue", 7),
        *(column._replace(spare=column.heading in spare) for column in counts),
        Column("total", spare=True, number=True),
        Column("oldest", number=True),
        Column("next", number=True),
    )
    rows = (
        (
            one["queue_name"],
            *(one[name] for name in STATUSES),
            one["total"],
            waited("", one["oldest_wait"]),
            waited("in ", one["next_due"]),
        )
        for one in queues
    )
    table(columns, rows)
