"""What the benchmarks' commands share: options, the console, progress, a scratch folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.places import SQLITE, place_of
from benchmarks.watch import OnDone

console = Console()


def known(context: click.Context, option: click.Parameter, url: str | None) -> str | None:
    """Refuse a queue that no benchmark knows how to use."""
    del context, option
    if url is not None:
        try:
            place_of(url)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return url


queue = click.option(
    "--queue",
    "queue_url",
    default="memory://",
    show_default=True,
    callback=known,
    help="memory://, sqlite:///FILE, postgresql://…, redis://… or rediss://…: each run has a queue "
    "of its own there (next to FILE, in a schema, in a namespace), which is removed.",
)
runs = click.option("--runs", default=5, type=click.IntRange(1), show_default=True)
workers = click.option("--workers", default=2, type=click.IntRange(1), show_default=True)
json_path = click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write here.")
seed = click.option("--seed", default=1, show_default=True, help="Of whatever is random.")
directory = click.option(
    "--directory",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="On the disk to measure; files go there and are removed.",
)


def jobs(default: int, least: int = 1) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """How many jobs a run takes."""
    return click.option("--jobs", default=default, type=click.IntRange(least), show_default=True)


@contextmanager
def scratch(queue_url: str = "") -> Iterator[Path]:
    """Where the runs of a file queue put their files: next to the file that was named."""
    path, _, _ = queue_url.removeprefix(SQLITE).partition("?")
    parent = Path(path).parent if queue_url.startswith(SQLITE) and path else None
    with TemporaryDirectory(prefix="bench-", dir=parent) as name:
        yield Path(name).absolute()


class Bars:
    """A bar on the console per part of a benchmark."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def bar(self, name: str, total: int) -> OnDone:
        """A new bar; what is returned moves it."""
        task = self._progress.add_task(name, total=total)
        return lambda done: self._progress.update(task, completed=done)


def after(bar: OnDone, before: int) -> OnDone:
    """Moves the same bar, from so far on."""
    return lambda done: bar(before + done)
