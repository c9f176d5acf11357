"""`python -m benchmarks peers`."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks import report
from benchmarks.peers import catalogue
from benchmarks.peers.catalogue import Peer
from benchmarks.peers.environment import python_of
from benchmarks.peers.failure import PeerFailedError
from benchmarks.peers.run import Bench
from benchmarks.peers.stores import Stores
from benchmarks.peers.table import Result, ratios, remarks, table
from benchmarks.servers import NoServerError

console = Console()
_WIDTH = 110


def _chosen(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> tuple[Peer, ...]:
    try:
        return catalogue.named(names)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "--only",
    "chosen",
    multiple=True,
    callback=_chosen,
    help="A system, such as celery, rq or portico; repeat it for more.",
)
@click.option(
    "--jobs",
    type=click.IntRange(catalogue.FEWEST),
    help="At most so many for each; by default about 5 s of work. Few flatter who fetches many.",
)
@click.option("--runs", default=5, type=click.IntRange(1), show_default=True)
@click.option("--workers", default=2, type=click.IntRange(1), show_default=True)
@click.option("--redis", help="URL of a server whose database is empty; else a private one.")
@click.option("--postgres", help="URL of a server to make databases on; else a private one.")
@click.option(
    "--cache",
    default=".bench",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the environments are kept, and SQLite's files meanwhile.",
)
@click.option(
    "--timeout",
    default=120.0,
    type=click.FloatRange(1),
    show_default=True,
    help="Seconds for the jobs of one run to be enqueued, and again for them to be done.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write here.")
def peers(  # noqa: PLR0913, PLR0917 - click hands them over by name
    chosen: tuple[Peer, ...],
    jobs: int | None,
    runs: int,
    workers: int,
    redis: str | None,
    postgres: str | None,
    cache: Path,
    timeout: float,
    json_path: Path | None,
) -> None:
    """The same no-op job through other systems and through Portico, on the same servers.

    Round by round every system runs once, so that all meet the same weather. One that cannot be
    installed or fails is in the table with the reason, and the others go on.
    """
    given = {"redis": redis, "postgresql": postgres}
    cache.mkdir(parents=True, exist_ok=True)
    try:
        stores = Stores({name: url for name, url in given.items() if url}, cache.absolute())
    except NoServerError as error:
        raise click.ClickException(str(error)) from None
    results = [Result(peer, catalogue.jobs_of(peer, jobs)) for peer in chosen]
    with _terminable(), closing(stores), _progress() as progress:
        rows = {found.peer: _Row(progress, found, runs) for found in results}
        benches = _prepare(results, rows, cache.absolute(), workers, timeout)
        for _ in range(runs):
            for found in results:
                _run_once(found, benches, stores, rows[found.peer])
            if json_path:  # after each round: all of them take long
                _write(json_path, workers, stores, results)
    _show(f"no-op jobs of 120 bytes, {workers} workers, {runs} runs", results)


def _write(path: Path, workers: int, stores: Stores, results: Sequence[Result]) -> None:
    report.write_json(
        path,
        {
            "benchmark": "peers", "workers": workers,
            "runs": max(len(found.samples) for found in results),
            "stores": stores.settings(), "ratios": ratios(results),
            "systems": [found.written() for found in results],
        },
    )  # fmt: skip


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM be as Ctrl-C: the servers and the workers go with us."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(title: str, results: Sequence[Result]) -> None:
    wide = console if console.is_terminal else Console(width=_WIDTH)  # else a pipe has 80
    wide.print(table(title, results))
    for remark in remarks(results):
        console.print(remark, soft_wrap=True, highlight=False, markup=False)


class _Row:
    """What is shown of one system while it is at work."""

    def __init__(self, progress: Progress, found: Result, runs: int) -> None:
        self._progress, self._found, self._runs = progress, found, runs
        self._task: TaskID = progress.add_task("waits", total=found.jobs, start=False)
        self.say("waits")

    def say(self, what: str, done: int = 0) -> None:
        """Show what goes on, and how many jobs of this run are done."""
        number = min(len(self._found.samples) + 1, self._runs)
        peer = self._found.peer
        where = f"{escape(peer.key)} [dim]{number}/{self._runs}[/] {escape(what)}"
        if what == "running" and done == 0:
            self._progress.reset(self._task, total=self._found.jobs)
        self._progress.update(self._task, description=where, completed=done)


def _prepare(
    results: Sequence[Result], rows: dict[Peer, _Row], cache: Path, workers: int, timeout: float
) -> dict[Peer, Bench]:
    benches = {}
    for found in results:
        rows[found.peer].say("installing")
        try:
            python = python_of(found.peer, cache)
            bench = Bench(found.peer, python, found.jobs, workers, timeout)
            found.about = bench.describe()
            benches[found.peer] = bench
            rows[found.peer].say("waits")
        except PeerFailedError as error:
            _note(found, error, rows[found.peer])
    return benches


def _run_once(found: Result, benches: dict[Peer, Bench], stores: Stores, row: _Row) -> None:
    """A system that has failed once is not asked again."""
    if found.failure:
        return
    try:
        with stores.place(found.peer.store) as url:
            sample = benches[found.peer].run(url, row.say)
    except (PeerFailedError, NoServerError) as error:
        found.samples.append(None)
        _note(found, error, row)
    else:
        found.samples.append(sample)
        row.say(f"{sample.rate:,.0f} jobs/s", found.jobs)


def _note(found: Result, error: PeerFailedError | NoServerError, row: _Row) -> None:
    found.failure, found.said = str(error), getattr(error, "said", "")
    row.say("failed")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        refresh_per_second=2,  # to draw it costs what the workers could use
    )
