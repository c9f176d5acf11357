"""`python -m benchmarks plot`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks import options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
def plot(files: tuple[Path, ...], out: Path) -> None:
    """Draw figures (PNG and SVG) from the JSON that benchmarks have written.

    Files of one kind go into one figure. Whatever has rows of system, store and rate is drawn as a
    comparison of systems.
    """
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    out.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for name, figure in _figures(contents):
        for suffix in ("png", "svg"):
            path = out / f"{name}.{suffix}"
            figure.savefig(path, dpi=160, metadata={"Date": None} if suffix == "svg" else None)
            options.console.print(str(path), soft_wrap=True, highlight=False)
        drawn += 1
    if not drawn:
        raise click.ClickException("there is nothing to draw in these files")


def _figures(contents: list[Any]) -> Iterator[tuple[str, Figure]]:
    from benchmarks.plotting import figures, reading

    if bars := reading.ratios(reading.documents(contents, "throughput")):
        yield "throughput", figures.throughput(bars)
    if waits := reading.waits(reading.documents(contents, "fairness")):
        yield "fairness", figures.fairness(waits)
    if latencies := reading.latencies(reading.documents(contents, "latency")):
        yield "latency", figures.latency(latencies)
    if lines := reading.speed_ups(reading.documents(contents, "scaling")):
        yield "scaling", figures.scaling(lines)
    if peers := reading.peers(contents):
        yield "peers", figures.peers(peers)
