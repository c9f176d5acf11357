"""`portico status`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from portico.cli import exits
from portico.cli.messages import complain, counted
from portico.cli.options import STATUSES, json_option, queue_option
from portico.cli.store import store_option, with_jobs

if TYPE_CHECKING:
    from portico.kits.job.job_service import JobService
    from portico.ports.job import QueueStats
    from portico.ports.leasing import Outlook


class _Seen(NamedTuple):
    """What the store tells."""

    stats: Sequence[QueueStats]
    outlook: Mapping[str, Outlook]
    served: bool | None


@click.command()
@queue_option
@json_option
@store_option
def status(*, queue: str | None, as_json: bool, queue_url: str | None) -> int:
    """Count the jobs of each queue, and say which supervisors of this host cannot use the store.

    Below that, the job types of which as many run as may: others of them wait for their turn.

    `oldest` is for how long a job has been due that waits; `next` is when another one will be.

    Exit code 1 where a supervisor cannot, and where jobs wait while none gives a sign of life;
    which queues one serves is not known. With --json: {"queues": [{"queue_name", "pending",
    "scheduled", "running", "completed", "failed", "retrying", "dead_letter", "total",
    "oldest_wait", "next_due"}, ...]}, by name, the last two in seconds or null, {"troubles":
    [{"pid", "since", "said", "results_waiting"}, ...]}, {"full": [{"pid", "most_running": {type:
    limit}}, ...]}, the job types of which as many run as may, and {"served": true, false, or null
    where the store cannot tell}.
    """
    from portico.cli import shapes
    from portico.supervisor.config import resolve_queue_url
    from portico.supervisor.crowds import crowds
    from portico.supervisor.trouble import troubles

    url = resolve_queue_url(queue_url)
    found = troubles(url)
    for trouble in found:  # at once, for the store may be away from here too
        complain(str(trouble))

    async def look(jobs: JobService) -> _Seen:
        if queue is None:
            stats = list((await jobs.all_stats()).values())
        else:
            stats = [await jobs.get_job_stats(queue)]
        return _Seen(stats, await jobs.outlook(), await jobs.served())

    seen, crowded = with_jobs(queue_url, look), crowds(url)
    shown = [shapes.queue_shape(one, seen.outlook.get(one.queue_name)) for one in seen.stats]
    if as_json:
        told = [shapes.trouble_shape(one) for one in found]
        full = [shapes.crowd_shape(one) for one in crowded]
        shapes.write({"queues": shown, "troubles": told, "full": full, "served": seen.served})
    elif shown:
        _write(shown)
        _write_lines(chain.from_iterable(one.lines for one in crowded))
    else:
        click.echo("The queues are empty.")
    unserved = seen.served is False and _is_told_of_waiting(seen.stats)
    return exits.TROUBLE if found or unserved else exits.OK


def _write_lines(lines: Iterable[str]) -> None:
    """What a file of this user says, which any program of his may have written."""
    from portico.utils.log_lines import escaped

    for line in lines:
        click.echo(escaped(line))


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


def _is_told_of_waiting(stats: Sequence[QueueStats]) -> bool:
    """Say that nobody is there for what waits, if anything does."""
    waiting = sum(one.pending_count + one.retrying_count for one in stats)
    if waiting:
        wait = "waits" if waiting == 1 else "wait"
        complain(
            f"{counted(waiting, 'job')} {wait}, and no supervisor gives a sign of life; start one: "
            "portico supervisor"
        )
    return waiting > 0
