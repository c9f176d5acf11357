"""`portico status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from portico.cli.messages import complain
from portico.cli.options import STATUSES, json_option, queue_option
from portico.cli.store import store_option, with_jobs

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService
    from portico.ports.job import QueueStats


_COUNTS = (*STATUSES, "total")


@click.command()
@queue_option
@json_option
@store_option
def status(*, queue: str | None, as_json: bool, queue_url: str | None) -> None:
    """Count the jobs of each queue, and say which supervisors of this host cannot use the store.

    With --json: {"queues": [{"queue_name", "pending", "scheduled", "running", "completed",
    "failed", "retrying", "dead_letter", "total"}, ...]}, by name, and {"troubles": [{"pid",
    "since", "said", "results_waiting"}, ...]}.
    """
    from portico.cli import shapes, tables
    from portico.supervisor.config import resolve_queue_url
    from portico.supervisor.trouble import troubles

    found = troubles(resolve_queue_url(queue_url))
    for trouble in found:  # at once, for the store may be away from here too
        complain(str(trouble))

    async def counts(jobs: JobService) -> list[QueueStats]:
        if queue is not None:
            return [await jobs.get_job_stats(queue)]
        return list((await jobs.all_stats()).values())

    shown = [shapes.stats_shape(stats) for stats in with_jobs(queue_url, counts)]
    if as_json:
        shapes.write({"queues": shown, "troubles": [shapes.trouble_shape(one) for one in found]})
    elif shown:
        numbers = (tables.Column(name, number=True, spare=name == "total") for name in _COUNTS)
        rows = ([one["queue_name"], *(one[name] for name in _COUNTS)] for one in shown)
        tables.table((tables.Column("queue", 7), *numbers), rows)
    else:
        click.echo("The queues are empty.")
