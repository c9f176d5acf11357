"""`python -m benchmarks limits`."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import options, report
from benchmarks.limits import ALL, limit_of


@click.command()
@click.option(
    "--queue",
    "queue_urls",
    multiple=True,
    callback=lambda context, option, urls: [options.known(context, option, url) for url in urls],
    help="Only what bounds this queue: memory://, sqlite://, postgresql://… or redis://…; may be "
    "given again.",
)
@options.workers
@options.runs
@options.directory
@options.json_path
def limits(
    queue_urls: list[str], workers: int, runs: int, directory: Path, json_path: Path | None
) -> None:
    """The raw limits alone: pipes and SQLite, unless queues are given."""
    chosen = [limit_of(url) for url in queue_urls] or ALL
    rates: dict[str, list[float]] = {limit.name: [] for limit in chosen}
    for _ in range(runs):
        for limit in chosen:
            rates[limit.name].append(limit.measure(limit.jobs, workers, directory))
    report.print_rates(options.console, f"raw limits, {workers} workers, {runs} runs", rates)
    if json_path:
        report.write_json(json_path, {"benchmark": "limits", "workers": workers, "rates": rates})
