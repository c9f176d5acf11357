"""`python -m benchmarks throughput`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import uvloop

from benchmarks import limits, options, report
from benchmarks.places import place_of, shown
from benchmarks.samples import Sample
from benchmarks.throughput import measure
from benchmarks.watch import OnDone

WARM_UP_JOBS = 2_000


@click.command()
@options.queue
@options.jobs(50_000, 1_000)
@options.workers
@options.runs
@options.json_path
def throughput(queue_url: str, jobs: int, workers: int, runs: int, json_path: Path | None) -> None:
    """Dequeue-to-acknowledge rate of no-op jobs, next to the raw limit of the same run."""
    limit = limits.limit_of(queue_url)
    samples: list[Sample] = []
    bounds: list[float] = []
    with options.scratch(queue_url) as directory, options.Bars() as bars:

        def run(jobs: int, name: str) -> Sample:
            return _run(queue_url, directory, workers, jobs, bars.bar(name, jobs))

        run(WARM_UP_JOBS, "warm-up")
        for number in range(1, runs + 1):
            bounds.append(limit.measure(limit.jobs, workers, directory))
            samples.append(run(jobs, f"run {number}"))
    _report(queue_url, workers, samples, bounds, json_path)


def _run(queue_url: str, directory: Path, workers: int, jobs: int, on_done: OnDone) -> Sample:
    """One run in a queue of its own."""

    async def run() -> Sample:
        async with place_of(queue_url)(queue_url, directory) as url:
            return await measure(url, workers, jobs, on_done)

    return uvloop.run(run())


def _report(
    queue_url: str,
    workers: int,
    samples: list[Sample],
    bounds: list[float],
    json_path: Path | None,
) -> None:
    limit = limits.limit_of(queue_url)
    rates = [sample.rate for sample in samples]
    ratios = [rate / bound for rate, bound in zip(rates, bounds, strict=True)]
    report.print_rates(
        options.console,
        f"{shown(queue_url)}, {workers} workers, {samples[0].jobs:,} jobs, {len(samples)} runs",
        {
            "dequeue to acknowledge": rates,
            "enqueue": [sample.enqueue_rate for sample in samples],
            limit.name: bounds,
        },
    )
    report.print_ratio(options.console, ratios, f"the raw limit ({limit.name})")
    report.print_batches(options.console, [sample.jobs / sample.exchanges for sample in samples])
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "throughput",
                "queue": shown(queue_url),
                "workers": workers,
                "samples": [dataclasses.asdict(sample) for sample in samples],
                "limit": {"name": limit.name, "rates": bounds},
                "ratios": ratios,
            },
        )
