"""`python -m benchmarks enqueue`."""

from __future__ import annotations

from pathlib import Path

import click
import uvloop

from benchmarks import options, report
from benchmarks.enqueue import WAYS, Way, rate
from benchmarks.places import place_of, shown
from benchmarks.watch import OnDone

WARM_UP_JOBS = 200


@click.command()
@options.queue
@options.jobs(20_000, 1_000)
@options.runs
@options.json_path
def enqueue(queue_url: str, jobs: int, runs: int, json_path: Path | None) -> None:
    """How many jobs per second one process creates, one by one and in batches."""
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    with options.scratch(queue_url) as directory, options.Bars() as bars:

        def run(way: Way, count: int, on_done: OnDone) -> float:
            async def run() -> float:
                async with place_of(queue_url)(queue_url, directory) as url:
                    return await rate(url, way, count, on_done)

            return uvloop.run(run())

        for name, (way, part) in WAYS.items():
            run(way, WARM_UP_JOBS, bars.bar(f"{name}, warm-up", WARM_UP_JOBS))
            bar = bars.bar(name, runs * (jobs // part))
            for number in range(runs):
                before = number * (jobs // part)
                rates[name].append(run(way, jobs // part, options.after(bar, before)))
    title = f"enqueue: {shown(queue_url)}, one process, {jobs:,} jobs, {runs} runs"
    report.print_rates(options.console, title, rates)
    if json_path:
        report.write_json(
            json_path,
            {"benchmark": "enqueue", "queue": shown(queue_url), "jobs": jobs, "rates": rates},
        )
