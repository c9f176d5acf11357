"""`python -m benchmarks scale`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import uvloop

from benchmarks import options, report
from benchmarks.places import place_of, shown
from benchmarks.scale import compare


@click.command()
@options.queue
@click.option("--rows", default=1_000_000, type=click.IntRange(10_000), show_default=True)
@click.option("--few", default=10_000, type=click.IntRange(10_000), show_default=True)
@options.jobs(20_000, 10_000)
@options.workers
@options.runs
@options.json_path
def scale(
    *,
    queue_url: str,
    rows: int,
    few: int,
    jobs: int,
    workers: int,
    runs: int,
    json_path: Path | None,
) -> None:
    """The same jobs from a small store, and from one with ROWS waiting and ROWS finished ones."""
    with options.scratch(queue_url) as directory, options.Bars() as bars:
        rates = uvloop.run(
            compare(
                partial(place_of(queue_url), queue_url, directory),
                (few, rows), workers=workers, jobs=jobs, runs=runs, shown=bars.bar,
            )
        )  # fmt: skip
    title = f"{shown(queue_url)}, {workers} workers, {jobs:,} jobs, {runs} runs"
    named = {f"{size:,} waiting, {size:,} finished": rates[size] for size in (few, rows)}
    report.print_rates(options.console, title, named)
    ratios = [large / small for small, large in zip(rates[few], rates[rows], strict=True)]
    report.print_ratio(options.console, ratios, f"{few:,} of each")
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "scale", "queue": shown(queue_url), "workers": workers, "jobs": jobs,
                "rates": {str(size): values for size, values in rates.items()}, "ratios": ratios,
            },
        )  # fmt: skip
