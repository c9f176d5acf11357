"""`python -m benchmarks soak`."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import sys
from pathlib import Path
from tempfile import mkdtemp

import click
from rich.console import Console

from benchmarks import options, report
from benchmarks.places import place_of
from benchmarks.soak import dossier, ledger, outcome
from benchmarks.soak.fleet import Setup
from benchmarks.soak.run import Plan, run
from benchmarks.soak.verdict import Observed, judge

console = Console()


@click.command()
@click.option(
    "--seconds",
    default=120.0,
    type=click.FloatRange(20),
    show_default=True,
    help="How long there are jobs and faults; the drain comes after.",
)
@click.option("--seed", type=int, help="Of the plan of jobs and faults; a random one by default.")
@click.option(
    "--rate",
    default=18.0,
    type=click.FloatRange(0.5),
    show_default=True,
    help="Jobs per second; high enough that a supervisor holds some when it is stopped.",
)
@click.option("--workers", default=3, type=click.IntRange(1), show_default=True)
@click.option("--lease", default=3.0, type=click.FloatRange(1), show_default=True)
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the files of the run go; they are kept when something is wrong.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write here.")
@click.option(
    "--queue",
    "queue_url",
    default="sqlite://",
    show_default="a file in the directory",
    callback=options.known,
    help="postgresql://… or redis://…: a schema or a namespace of its own, removed afterwards.",
)
def soak(
    seed: int | None,
    directory: Path | None,
    json_path: Path | None,
    queue_url: str,
    **numbers: float,
) -> None:
    """Two supervisors on one store under kills, pauses and locks: every execution is accounted
    for. Exits with 1 when one is not."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    folder = Path(mkdtemp(prefix="soak-", dir=directory)).absolute()
    setup = Setup(folder, "", workers=int(numbers["workers"]), lease=numbers["lease"])
    plan = Plan(numbers["seconds"], seed, numbers["rate"], setup)
    _say(f"seed {seed}, {plan.seconds:g} s, in {folder}")
    start = ledger.now()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the supervisors go with us
    observed = asyncio.run(_observed(plan, queue_url))
    verdict = judge(observed)
    figures = outcome.figures(verdict, observed, seed, ledger.now() - start)
    console.print(outcome.table(figures))
    for line in dossier.tell(list(verdict.violations), observed, folder):
        _say(line)
    if json_path:
        report.write_json(json_path, figures)
    click.echo(json.dumps(figures))
    if verdict.violations:
        _say(f"the files are kept in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


async def _observed(plan: Plan, queue_url: str) -> Observed:
    folder = plan.setup.folder
    if queue_url == "sqlite://":  # its file is kept with the others when something is wrong
        return await run(plan.at(f"sqlite:///{folder}/jobs.db"), _say)
    async with place_of(queue_url)(queue_url, folder) as url:
        return await run(plan.at(url), _say)


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
