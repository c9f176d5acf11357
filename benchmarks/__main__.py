"""`python -m benchmarks`: run one benchmark, print a table, write JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import limits, report
from benchmarks.samples import Sample
from benchmarks.soak.command import soak
from benchmarks.throughput import measure
from portico.utils.logging import configure_logging

WARM_UP_JOBS = 2_000
SQLITE = "sqlite:///"

_RUNS = click.option("--runs", default=5, type=click.IntRange(1), show_default=True)
_WORKERS = click.option("--workers", default=2, type=click.IntRange(1), show_default=True)
_JSON = click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write here.")
_DIRECTORY = click.option(
    "--directory",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="On the disk to measure; files of the limits go there and are removed.",
)

console = Console()


@click.group()
def main() -> None:
    """Measure Portico. Only ratios within one run count on a shared machine."""
    configure_logging(log_level="WARNING")


@main.command()
@click.option(
    "--queue",
    "queue_url",
    default="memory://",
    show_default=True,
    help="memory:// or sqlite:///FILE; a directory next to FILE holds the runs, and is removed.",
)
@click.option("--jobs", default=50_000, type=click.IntRange(1_000), show_default=True)
@_WORKERS
@_RUNS
@_JSON
def throughput(queue_url: str, jobs: int, workers: int, runs: int, json_path: Path | None) -> None:
    """Dequeue-to-acknowledge rate of no-op jobs, next to the raw limit of the same run."""
    limit = limits.limit_of(queue_url)
    samples: list[Sample] = []
    bounds: list[float] = []
    with _directory(queue_url) as directory, _progress() as progress:
        run = partial(_run, queue_url, directory, workers, progress)
        run(jobs=WARM_UP_JOBS, name="warm-up")
        for number in range(1, runs + 1):
            bounds.append(limit.measure(limit.jobs, workers, directory))
            samples.append(run(jobs=jobs, name=f"run {number}"))
    _report(queue_url, workers, samples, bounds, json_path)


def _run(
    queue_url: str, directory: Path, workers: int, progress: Progress, *, jobs: int, name: str
) -> Sample:
    """One run in a queue of its own."""
    task = progress.add_task(name, total=jobs)
    with TemporaryDirectory(prefix="run-", dir=directory) as place:
        url = f"{SQLITE}{Path(place).absolute()}/jobs.db" + _options(queue_url)
        return uvloop.run(
            measure(
                url if queue_url.startswith(SQLITE) else queue_url,
                workers,
                jobs,
                lambda done: progress.update(task, completed=done),
            )
        )


def _options(queue_url: str) -> str:
    _, mark, options = queue_url.partition("?")
    return mark + options


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
        console,
        f"{queue_url}, {workers} workers, {samples[0].jobs:,} jobs, {len(samples)} runs",
        {
            "dequeue to acknowledge": rates,
            "enqueue": [sample.enqueue_rate for sample in samples],
            limit.name: bounds,
        },
    )
    report.print_ratio(console, ratios, limit.name)
    report.print_batches(console, [sample.jobs / sample.exchanges for sample in samples])
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "throughput",
                "queue": queue_url,
                "workers": workers,
                "samples": [dataclasses.asdict(sample) for sample in samples],
                "limit": {"name": limit.name, "rates": bounds},
                "ratios": ratios,
            },
        )


@main.command("limits")
@_WORKERS
@_RUNS
@_DIRECTORY
@_JSON
def raw_limits(workers: int, runs: int, directory: Path, json_path: Path | None) -> None:
    """The raw limits alone: pipes, and SQLite."""
    rates: dict[str, list[float]] = {limit.name: [] for limit in limits.ALL}
    for _ in range(runs):
        for limit in limits.ALL:
            rates[limit.name].append(limit.measure(limit.jobs, workers, directory))
    report.print_rates(console, f"raw limits, {workers} workers, {runs} runs", rates)
    if json_path:
        report.write_json(json_path, {"benchmark": "limits", "workers": workers, "rates": rates})


@contextmanager
def _directory(queue_url: str) -> Iterator[Path]:
    """Where the runs of a file queue put their files: next to the file that was named."""
    path, _, _ = queue_url.removeprefix(SQLITE).partition("?")
    parent = Path(path).parent if queue_url.startswith(SQLITE) and path else None
    with TemporaryDirectory(prefix="bench-", dir=parent) as name:
        yield Path(name)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


main.add_command(soak)


if __name__ == "__main__":
    main()
