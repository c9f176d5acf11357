"""`python -m benchmarks latency`: goal P7."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import options, report
from benchmarks.latency.idle import idle_share
from benchmarks.latency.run import Pace, Sent, run
from benchmarks.latency.wake import round_trips
from benchmarks.places import place_of, shown
from benchmarks.samples import percentile
from benchmarks.watch import OnDone

Place = Callable[[], AbstractAsyncContextManager[str]]

GOAL_P50, GOAL_P99 = 3.0, 10.0
GOAL_IDLE = 1.0
WARM_UP_JOBS = 10
ROUND_TRIPS = 50


@click.command()
@options.queue
@options.jobs(200)
@options.workers
@options.runs
@options.seed
@click.option(
    "--interval",
    default=0.05,
    type=click.FloatRange(0, min_open=True),
    show_default=True,
    help="Seconds between two jobs, on average.",
)
@click.option("--idle-workers", default=8, type=click.IntRange(1), show_default=True)
@click.option(
    "--idle-seconds",
    default=10.0,
    type=click.FloatRange(0),
    show_default=True,
    help="How long to watch an idle supervisor, per run; 0: not at all.",
)
@options.json_path
def latency(
    *,
    queue_url: str,
    jobs: int,
    workers: int,
    runs: int,
    seed: int,
    interval: float,
    json_path: Path | None,
    **idling: Any,
) -> None:
    """From `create_job` to the handler's first line in an idle pool, and what idling costs.

    Jobs are created in one process and run by the supervisor of another; with memory:// by the
    same one, for it exists in no other. Idling is that of a supervisor and all its processes.
    """
    idle_workers, idle_seconds = idling["idle_workers"], idling["idle_seconds"]
    found: list[list[Sent]] = []
    trips: list[list[float]] = []
    idle: list[float] = []
    with options.scratch(queue_url) as directory, options.Bars() as bars:
        place = partial(place_of(queue_url), queue_url, directory)
        for number in range(1, runs + 1):
            bar = bars.bar(f"run {number}", jobs + WARM_UP_JOBS)
            pace = Pace(jobs + WARM_UP_JOBS, interval, seed + number)
            found.append(uvloop.run(_sent(place, workers, pace, bar))[WARM_UP_JOBS:])
            trips.append(round_trips(pace._replace(jobs=ROUND_TRIPS)))
        bar = bars.bar("idle", runs if idle_seconds else 0)
        for number in range(1, runs + 1 if idle_seconds else 0):
            idle.append(100 * uvloop.run(_rest(place, idle_workers, idle_seconds)))
            bar(number)
    _show(f"{shown(queue_url)}, {workers} workers, {jobs:,} jobs, {runs} runs", found, trips)
    if idle:
        name = f"% of a core, supervisor and {idle_workers} workers idle on {shown(queue_url)}"
        report.print_goal(options.console, name, idle, GOAL_IDLE)
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "latency", "queue": shown(queue_url), "workers": workers,
                "interval": interval, "runs": [[tuple(one) for one in run] for run in found],
                "fields": Sent._fields, "round_trips": trips, "idle_percent": idle,
                "idle_workers": idle_workers,
            },
        )  # fmt: skip


async def _sent(place: Place, workers: int, pace: Pace, on_done: OnDone) -> list[Sent]:
    async with place() as url:
        return await run(url, workers, pace, on_done)


async def _rest(place: Place, workers: int, seconds: float) -> float:
    async with place() as url:
        return idle_share(url, workers, seconds)


def _show(title: str, found: Sequence[Sequence[Sent]], trips: Sequence[Sequence[float]]) -> None:
    spans: dict[str, Sequence[Sequence[float]]] = {
        "create_job called to start": [[one.started - one.sent for one in run] for run in found],
        "create_job returned to start": [
            [one.started - one.stored for one in run] for run in found
        ],
        "create_job": [[one.stored - one.sent for one in run] for run in found],
        "a byte to a process that sleeps, and back": trips,
    }
    rows = {
        f"{name}, p{percent}": [1000 * percentile(run, percent) for run in of_runs]
        for name, of_runs in spans.items()
        for percent in (50, 99)
    }
    report.print_values(options.console, title, "ms", rows)
    for percent, goal in ((50, GOAL_P50), (99, GOAL_P99)):
        key = f"create_job called to start, p{percent}"
        report.print_goal(options.console, f"ms, {key}", rows[key], goal)
