"""`python -m benchmarks workloads`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import uvloop

from benchmarks import options, report
from benchmarks.peers.failure import PeerFailedError
from benchmarks.watch import OnDone
from benchmarks.workloads.peer import Fastest


@click.command()
@click.option("--reports", default=8, type=click.IntRange(0, 32), show_default=True)
@click.option("--chunks", default=34, type=click.IntRange(0, 34), show_default=True)
@options.workers
@options.runs
@options.directory
@click.option(
    "--cache",
    default=".bench",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the environment of the fastest peer is kept.",
)
@click.option("--peer/--no-peer", default=True, show_default=True, help="Beside that one, too.")
@options.json_path
def workloads(
    *,
    reports: int,
    chunks: int,
    workers: int,
    runs: int,
    directory: Path,
    cache: Path,
    peer: bool,
    json_path: Path | None,
) -> None:
    """Importing real flight data and rendering reports: Portico on SQLite, the standard library's
    process pool, one process, and the fastest of the peers, with the same functions."""
    from benchmarks.workloads import run, work  # needs the libraries of the examples

    with (
        TemporaryDirectory(prefix="bench-", dir=directory) as place,
        options.Bars() as bars,
        _fastest(cache if peer else None) as fastest,
    ):
        folder = Path(place).absolute()
        setup = bars.bar("import for the reports", 1)
        items = work.items(folder, work.prepare(folder)[:chunks], reports)
        setup(1)

        def portico(on_done: OnDone) -> float:
            with TemporaryDirectory(prefix="run-", dir=folder) as place:
                url = f"sqlite:///{place}/jobs.db"
                return uvloop.run(run.by_portico(url, workers, items, on_done))

        ways: dict[str, Callable[[OnDone], float]] = {
            "Portico": portico,
            f"ProcessPoolExecutor({workers})": partial(run.by_executor, workers, items),
            "one process": partial(run.by_executor, 1, items),
            **({fastest.name: partial(fastest.run, workers, items)} if fastest else {}),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(1, runs + 1):
            for name, way in ways.items():
                work.clear(folder)
                seconds[name].append(way(bars.bar(f"run {number}, {name}", len(items))))
    _report(seconds, f"{reports} reports, {chunks} chunks", workers, json_path)


@contextmanager
def _fastest(cache: Path | None) -> Iterator[Fastest | None]:
    """The fastest of the peers, or nothing and why."""
    if cache is None:
        yield None
        return
    cache.mkdir(parents=True, exist_ok=True)
    try:
        fastest = Fastest(cache.absolute())
    except PeerFailedError as error:
        raise click.ClickException(f"{error}; or give --no-peer") from None
    with closing(fastest):
        yield fastest


def _report(
    seconds: dict[str, list[float]], what: str, workers: int, json_path: Path | None
) -> None:
    ours, pool, alone, *others = seconds.values()
    title = f"{what}, {workers} workers, {len(ours)} runs"
    report.print_values(options.console, title, "s", seconds)
    ratios = [theirs / mine for mine, theirs in zip(ours, pool, strict=True)]
    report.print_ratio(options.console, ratios, "the speed of ProcessPoolExecutor")
    speed_up = [theirs / mine for mine, theirs in zip(ours, alone, strict=True)]
    report.print_ratio(options.console, speed_up, "the speed of one process")
    for name, theirs in zip(list(seconds)[3:], others, strict=True):
        faster = [its / mine for mine, its in zip(ours, theirs, strict=True)]
        report.print_ratio(options.console, faster, f"the speed of {name}")
    if json_path:
        report.write_json(
            json_path,
            {
                "benchmark": "workloads", "what": what, "workers": workers, "seconds": seconds,
                "ratios": ratios,
            },
        )  # fmt: skip
