"""`python -m benchmarks guard`: has Portico become slower?"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import click

from benchmarks import options, report
from benchmarks.guard import WATCHED, Seen, floor, look


@click.command()
@options.runs
@options.directory
@click.option(
    "--where",
    type=click.Choice(["alone", "crowded"]),
    default="alone",
    show_default=True,
    help="Whether other things run meanwhile: which floors hold.",
)
@options.json_path
def guard(runs: int, directory: Path, where: str, json_path: Path | None) -> None:
    """Two ratios, several times over; exit code 1 when a median is below benchmarks/floors.toml."""
    seen: dict[str, list[Seen]] = {name: [] for name in WATCHED}
    with options.Bars() as bars:
        bar = bars.bar("looks", runs)
        for number in range(1, runs + 1):
            for name, looks in seen.items():
                looks.append(look(name, directory))
            bar(number)
    ratios = {name: [one.ratio for one in looks] for name, looks in seen.items()}
    for name, found in ratios.items():
        what = f"{name}: part of {WATCHED[name].limit.name}"
        report.print_goal(options.console, what, found, floor(name, where), least=True)
    if json_path:
        written = {name: [one._asdict() for one in looks] for name, looks in seen.items()}
        report.write_json(json_path, {"benchmark": "guard", "looks": written})
    if slow := [name for name, found in ratios.items() if median(found) < floor(name, where)]:
        raise click.ClickException(f"slower than it should be: {', '.join(slow)}")
