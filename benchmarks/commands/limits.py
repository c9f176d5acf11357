"""`python -m benchmarks limits`."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import options, report
from benchmarks.limits import ALL


@click.command()
@options.workers
@options.runs
@options.directory
@options.json_path
def limits(workers: int, runs: int, directory: Path, json_path: Path | None) -> None:
    """The raw limits alone: pipes, and SQLite."""
    rates: dict[str, list[float]] = {limit.name: [] for limit in ALL}
    for _ in range(runs):
        for limit in ALL:
            rates[limit.name].append(limit.measure(limit.jobs, workers, directory))
    report.print_rates(options.console, f"raw limits, {workers} workers, {runs} runs", rates)
    if json_path:
        report.write_json(json_path, {"benchmark": "limits", "workers": workers, "rates": rates})
