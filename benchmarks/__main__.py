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

from benchmarks import limits, report, scale
from benchmarks.peers.command import peers
from benchmarks.places import SQLITE, place_of
from benchmarks.samples import Sample
from benchmarks.soak.command import soak
from benchmarks.throughput import OnDone, measure
from portico.utils.logging import configure_logging

WARM_UP_JOBS = 2_000
_QUEUE = click.option(
    "--queue",
    "queue_url",
    default="memory://",
    show_default=True,
    help="memory:// or sqlite:///FILE; a directory next to FILE holds the runs, and is removed.",
)
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
@_QUEUE
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

    async def run() -> Sample:
        async with place_of(queue_url)(queue_url, directory) as url:
            return await measure(
                url, workers, jobs, lambda done: progress.update(task, completed=done)
            )

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
        console,
        f"{queue_url}, {workers} workers, {samples[0].jobs:,} jobs, {len(samples)} runs",
        {
            "dequeue to acknowledge": rates,
            "enqueue": [sample.enqueue_rate for sample in samples],
            limit.name: bounds,
        },
    )
    report.print_ratio(console, ratios, f"the raw limit ({limit.name})")
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


@main.command("scale")
@_QUEUE
@click.option("--rows", default=1_000_000, type=click.IntRange(10_000), show_default=True)
@click.option("--few", default=10_000, type=click.IntRange(10_000), show_default=True)
@click.option("--jobs", default=10_000, type=click.IntRange(10_000), show_default=True)
@_WORKERS
@_RUNS
@_JSON
def scale_of_the_store(  # noqa: PLR0917 - click hands them over by name
    queue_url: str, rows: int, few: int, jobs: int, workers: int, runs: int, json_path: Path | None
) -> None:
    """The same jobs from a small store, and from one with ROWS waiting and ROWS finished ones."""
    with _directory(queue_url) as directory, _progress() as progress:

        def shown(name: str, total: int) -> OnDone:
            task = progress.add_task(name, total=total)
            return lambda done: progress.update(task, completed=done)

        rates = uvloop.run(
            scale.compare(
                partial(place_of(queue_url), queue_url, directory),
                (few, rows), workers=workers, jobs=jobs, runs=runs, shown=shown,
            )
        )  # fmt: skip
    title = f"{queue_url}, {workers} workers, {jobs:,} jobs, {runs} runs"
    named = {f"{size:,} waiting, {size:,} finished": rates[size] for size in (few, rows)}
    report.print_rates(console, title, named)
    ratios = [large / small for small, large in zip(rates[few], rates[rows], strict=True)]
    report.print_ratio(console, ratios, f"{few:,} of each")
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "scale", "queue": queue_url, "workers": workers, "jobs": jobs,
                "rates": {str(size): values for size, values in rates.items()}, "ratios": ratios,
            },
        )  # fmt: skip


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
        yield Path(name).absolute()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


main.add_command(soak)
main.add_command(peers)


if __name__ == "__main__":
    main()
