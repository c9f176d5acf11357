"""`python -m benchmarks fairness`: goal P6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks import options, report
from benchmarks.fairness.mix import Mix, plan
from benchmarks.fairness.run import Served, Waits, serve, waits_of
from benchmarks.places import place_of, shown
from benchmarks.samples import percentile
from benchmarks.watch import OnDone

GOAL = 1.5
WARM_UP_JOBS = 30
_SECONDS = click.FloatRange(0, min_open=True)
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@options.queue
@options.jobs(1_000, 20)
@options.workers
@options.runs
@options.seed
@click.option("--short", default=0.001, type=_SECONDS, show_default=True, help="Seconds.")
@click.option("--long", default=0.5, type=_SECONDS, show_default=True, help="Seconds.")
@click.option("--long-share", default=0.1, type=_SHARE, show_default=True)
@click.option("--utilisation", default=0.65, type=_SHARE, show_default=True, help="Of the workers.")
@click.option(
    "--prefetch",
    default=8,
    type=click.IntRange(1),
    show_default=True,
    help="Jobs per worker in the simulation of a fixed prefetch.",
)
@click.option("--same-type", is_flag=True, help="Short and long jobs have one job type.")
@options.json_path
def fairness(
    *,
    queue_url: str,
    runs: int,
    seed: int,
    prefetch: int,
    same_type: bool,
    json_path: Path | None,
    **mixed: Any,
) -> None:
    """Waits of short jobs among long ones, beside an ideal central queue and a fixed prefetch.

    Jobs block their worker without using the processor, so that two workers and their supervisor
    do not compete for two cores. Portico really runs. The other two are simulated, without any
    cost of dispatch, on the arrivals and run times of that run.
    """
    mix = Mix(**mixed)
    found: list[Waits] = []
    with options.scratch(queue_url) as directory, options.Bars() as bars:

        def run(mix: Mix, number: int, on_done: OnDone) -> list[Served]:
            async def run() -> list[Served]:
                async with place_of(queue_url)(queue_url, directory) as url:
                    planned = plan(mix, seed + number)
                    return await serve(url, mix, planned, same_type=same_type, on_done=on_done)

            return uvloop.run(run())

        run(mix._replace(jobs=WARM_UP_JOBS), 0, bars.bar("warm-up", WARM_UP_JOBS))
        for number in range(1, runs + 1):
            served = run(mix, number, bars.bar(f"run {number}", mix.jobs))
            found.append(waits_of(served, mix.workers, prefetch))
    _report(queue_url, mix, found, {"prefetch": prefetch, "same_type": same_type}, json_path)


def _report(
    queue_url: str,
    mix: Mix,
    found: Sequence[Waits],
    settings: dict[str, Any],
    json_path: Path | None,
) -> None:
    names = {
        "portico": "Portico",
        "central": "ideal central queue, simulated",
        "prefetching": f"fixed prefetch of {settings['prefetch']}, simulated",
    }
    ratios = [percentile(w.portico, 99) / percentile(w.central, 99) for w in found]
    rows = {
        f"{name}, p{percent}": [percentile(getattr(w, key), percent) * 1000 for w in found]
        for key, name in names.items()
        for percent in (50, 99)
    }
    types = "one type" if settings["same_type"] else "two types"
    report.print_values(
        options.console,
        f"waits of the short jobs: {shown(queue_url)}, {mix.workers} workers, {mix.jobs:,} jobs "
        f"of {types}, {mix.utilisation:.0%} busy, {len(found)} runs",
        "ms",
        rows,
    )
    report.print_goal(options.console, "p99 of Portico to that of the ideal queue", ratios, GOAL)
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "fairness", "queue": shown(queue_url), "mix": mix._asdict(),
                **settings, "names": names, "waits": [_rounded(w) for w in found], "ratios": ratios,
            },
        )  # fmt: skip


def _rounded(waits: Waits) -> dict[str, list[float]]:
    """Whole microseconds are enough."""
    return {name: [round(wait, 6) for wait in values] for name, values in waits._asdict().items()}
