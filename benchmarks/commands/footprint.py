"""`python -m benchmarks footprint`: goals P9 and P10."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import options, report
from benchmarks.footprint.memory import Footprint
from benchmarks.footprint.memory import footprint as measure
from benchmarks.footprint.times import replacement_seconds, start_seconds

GOAL_MEMORY, GOAL_START, GOAL_REPLACEMENT = 1.5, 0.5, 50.0
MIB = 1024 * 1024


@click.command()
@click.option("--workers", default=8, type=click.IntRange(1), show_default=True)
@click.option("--kills", default=3, type=click.IntRange(1, 8), show_default=True, help="Per run.")
@options.runs
@options.json_path
def footprint(workers: int, kills: int, runs: int, json_path: Path | None) -> None:
    """Memory of idle workers that have imported pandas; time to start, and to replace a worker."""
    memory: list[Footprint] = []
    starts: list[float] = []
    replacements: list[float] = []
    with options.Bars() as bars:
        start_seconds(workers)  # files that are read for the first time are not what is measured
        bar = bars.bar("runs", runs)
        for number in range(1, runs + 1):
            memory.append(measure(workers))
            starts.append(start_seconds(workers))
            replacements += [1000 * took for took in replacement_seconds(workers, kills)]
            bar(number)
    _show(workers, memory)
    ratios = [one.workers / one.plain for one in memory]
    say = options.console
    report.print_goal(say, f"memory of {workers} workers to one process", ratios, GOAL_MEMORY)
    report.print_goal(say, f"s to start {workers} workers", starts, GOAL_START)
    report.print_goal(say, "ms to replace a worker", replacements, GOAL_REPLACEMENT)
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "footprint", "workers": workers,
                "memory_bytes": [one._asdict() for one in memory], "ratios": ratios,
                "start_seconds": starts, "replacement_ms": replacements,
            },
        )  # fmt: skip


def _show(workers: int, memory: list[Footprint]) -> None:
    rows = {
        f"{workers} workers together": [one.workers / MIB for one in memory],
        "zygote": [one.zygote / MIB for one in memory],
        "supervisor": [one.supervisor / MIB for one in memory],
        "one process that imports pandas": [one.plain / MIB for one in memory],
    }
    report.print_values(options.console, "proportional memory", "MiB", rows)
