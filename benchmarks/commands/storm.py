"""`python -m benchmarks storm`."""

from __future__ import annotations

from pathlib import Path

import click
import uvloop

from benchmarks import options, report
from benchmarks.places import place_of, shown
from benchmarks.storm.run import Load, measure
from benchmarks.watch import OnDone
from portico.utils.logging import configure_logging

GOAL = 0.8


@click.command()
@options.queue
@options.jobs(3000)
@click.option("--workers", default=3, type=click.IntRange(1), show_default=True)
@click.option(
    "--milliseconds",
    default=5.0,
    type=click.FloatRange(0, min_open=True),
    show_default=True,
    help="What a healthy job takes, without the processor.",
)
@click.option(
    "--killers",
    default=0.09,
    type=click.FloatRange(0, 0.9, min_open=True),
    show_default=True,
    help="The share of jobs that kill their worker, all of one type.",
)
@options.runs
@options.seed
@options.json_path
def storm(
    *,
    queue_url: str,
    jobs: int,
    workers: int,
    milliseconds: float,
    killers: float,
    runs: int,
    seed: int,
    json_path: Path | None,
) -> None:
    """Rate of healthy jobs with a type among them that kills its workers, beside that without.

    Healthy jobs block their worker without using the processor, so that the workers do not compete
    for the cores. Each run does both, one after the other.
    """
    configure_logging(log_level="CRITICAL")  # each death is told otherwise
    stormy = Load(jobs, workers, milliseconds / 1000, killers)
    rates: dict[str, list[float]] = {"calm": [], "stormy": []}
    with options.scratch(queue_url) as directory, options.Bars() as bars:

        def rate(load: Load, number: int, on_done: OnDone) -> float:
            async def run() -> float:
                async with place_of(queue_url)(queue_url, directory) as url:
                    return await measure(url, load, seed + number, on_done)

            return uvloop.run(run())

        for number in range(1, runs + 1):
            for name, load in (("calm", stormy._replace(killers=0.0)), ("stormy", stormy)):
                bar = bars.bar(f"run {number}, {name}", jobs)
                rates[name].append(rate(load, number, bar))
    ratios = [
        with_ / without for with_, without in zip(rates["stormy"], rates["calm"], strict=True)
    ]
    title = f"healthy jobs: {shown(queue_url)}, {workers} workers, {jobs:,} jobs, {runs} runs"
    named = {"without killers": rates["calm"], f"with {killers:.0%} of them": rates["stormy"]}
    report.print_rates(options.console, title, named)
    report.print_goal(
        options.console, "rate with killers to that without", ratios, GOAL, least=True
    )
    if json_path:
        report.write_json(json_path, {
            "benchmark": "storm", "queue": shown(queue_url), "load": stormy._asdict(),
            "rates": rates, "ratios": ratios,
        })  # fmt: skip
