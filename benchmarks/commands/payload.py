"""`python -m benchmarks payload`: goal P11."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import uvloop

from benchmarks import options, report
from benchmarks.payload import work
from benchmarks.payload.echo import pipe_bytes_per_second
from benchmarks.payload.run import bytes_per_second, memory_growth

GOAL = 0.5
MIB = 1024 * 1024
BACKLOGS = (0.25, 0.75)
"""Parts of the jobs that wait at once: a supervisor that holds them all shows in the second."""


@click.command()
@options.jobs(200, 10)
@options.workers
@options.runs
@options.directory
@options.json_path
def payload(jobs: int, workers: int, runs: int, directory: Path, json_path: Path | None) -> None:
    """Payloads and results of 1 MiB through the pool, beside bare pipes of the same run."""
    rates: list[float] = []
    limits: list[float] = []
    growth: dict[int, list[int]] = {round(part * jobs): [] for part in BACKLOGS}
    with options.Bars() as bars:
        uvloop.run(bytes_per_second(workers, 10, bars.bar("warm-up", 10)))
        for number in range(1, runs + 1):
            limits.append(pipe_bytes_per_second(work.DOCUMENT_BYTES, jobs, workers))
            rates.append(uvloop.run(bytes_per_second(workers, jobs, bars.bar(f"{number}", jobs))))
        bar = bars.bar("memory", runs * len(growth))
        for number in range(runs):
            for place, backlog in enumerate(growth, 1):
                with TemporaryDirectory(prefix="bench-", dir=directory) as name:
                    folder = Path(name).absolute()
                    growth[backlog].append(uvloop.run(memory_growth(folder, workers, backlog)))
                bar(number * len(growth) + place)
    ratios = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
    rows = {
        "through the pool": [rate / MIB for rate in rates],
        "through bare pipes": [rate / MIB for rate in limits],
    }
    title = f"payloads and results of 1 MiB, {workers} workers, {jobs} jobs, {runs} runs"
    report.print_values(options.console, title, "MiB/s", rows)
    report.print_goal(options.console, "part of bare pipes", ratios, GOAL, least=True)
    grown = {f"{backlog} MiB waiting": [one / MIB for one in growth[backlog]] for backlog in growth}
    report.print_values(options.console, "growth of the supervisor, SQLite", "MiB", grown)
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "payload", "workers": workers, "jobs": jobs, "rates": rates,
                "limits": limits, "ratios": ratios,
                "growth_bytes": {str(backlog): values for backlog, values in growth.items()},
            },
        )  # fmt: skip
