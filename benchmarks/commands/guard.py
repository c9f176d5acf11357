"""`python -m benchmarks guard`: what the regression guard of the tests looks at."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import options, report
from benchmarks.guard import WATCHED, Seen, floor, look


@click.command()
@options.runs
@options.directory
@options.json_path
def guard(runs: int, directory: Path, json_path: Path | None) -> None:
    """The ratios that tests hold against benchmarks/floors.toml, several times over."""
    seen: dict[str, list[Seen]] = {name: [] for name in WATCHED}
    with options.Bars() as bars:
        bar = bars.bar("looks", runs)
        for number in range(1, runs + 1):
            for name, looks in seen.items():
                looks.append(look(name, directory))
            bar(number)
    for name, looks in seen.items():
        ratios = [one.ratio for one in looks]
        what = f"{name}: part of {WATCHED[name].limit.name}"
        report.print_goal(options.console, what, ratios, floor(name), least=True)
    if json_path:
        found = {name: [one._asdict() for one in looks] for name, looks in seen.items()}
        report.write_json(json_path, {"benchmark": "guard", "looks": found})
