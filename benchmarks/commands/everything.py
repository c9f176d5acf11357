"""`python -m benchmarks all`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import options, servers

QUEUES = {"memory": "memory://", "sqlite": "sqlite:///bench.db", "postgres": "", "redis": ""}
"""By name of the store; those without a URL get a private server."""

STEPS: dict[str, tuple[str, ...]] = {
    **{f"throughput-{store}": ("throughput", "--queue", store) for store in QUEUES},
    **{f"latency-{store}": ("latency", "--queue", store) for store in QUEUES},
    "fairness": ("fairness",),
    "scaling": ("scaling",),
    "storm": ("storm",),
    "footprint": ("footprint",),
    "payload": ("payload",),
    **{f"enqueue-{store}": ("enqueue", "--queue", store) for store in QUEUES},
    **{f"scale-{store}": ("scale", "--queue", store) for store in ("sqlite", "postgres", "redis")},
    "workloads": ("workloads",),
    "peers": ("peers",),
}
"""What is measured, in this order; a name stands for the URL of that store."""


@click.command("all")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(STEPS)),
    metavar="STEP",
    help=f"Repeat it for more: {', '.join(STEPS)}.",
)
@click.option("--without", multiple=True, type=click.Choice(list(STEPS)), metavar="STEP")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("benchmarks/results"),
    show_default=True,
    help="Where the samples of each step go, and the figures.",
)
def everything(only: tuple[str, ...], without: tuple[str, ...], out: Path) -> None:
    """Run every benchmark, one after the other, on private servers, and draw the figures.

    About an hour, half of it for the peers, on a machine that does nothing else meanwhile. What a
    step wrote before is replaced; what fails is told, and the others go on.
    """
    chosen = [step for step in only or STEPS if step not in without]
    out.mkdir(parents=True, exist_ok=True)
    began, failed = time.monotonic(), []
    with ExitStack() as stack:
        urls = QUEUES | _servers_for(chosen, stack)
        for number, step in enumerate(chosen, 1):
            minutes = (time.monotonic() - began) / 60
            options.console.rule(f"{number} of {len(chosen)}: {step} ({minutes:.0f} min)")
            words = [urls.get(word, word) for word in STEPS[step]]
            if not _run([*words, "--json", str(out / f"{step}.json")]):
                failed.append(step)
    files = sorted(map(str, out.glob("*.json")))
    if files and not _run(["plot", *files, "--out", str(out)]):
        failed.append("plot")
    if failed:
        raise click.ClickException(f"these steps failed: {', '.join(failed)}")


def _servers_for(steps: Iterable[str], stack: ExitStack) -> dict[str, str]:
    words = {word for step in steps for word in STEPS[step]}
    return dict(_started(words, stack))


def _started(words: set[str], stack: ExitStack) -> Iterator[tuple[str, str]]:
    for name, server in (("postgres", servers.postgres), ("redis", servers.redis)):
        if name in words:
            yield name, stack.enter_context(server())


def _run(words: list[str]) -> bool:
    command = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603 - ourselves
