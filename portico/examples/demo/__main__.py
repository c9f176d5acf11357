"""`python -m portico.examples.demo`: real work through real processes, in a minute or two."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from portico.examples.demo.index import write_index
from portico.examples.demo.outcome import Ended, problems, timings
from portico.examples.demo.plan import Plan
from portico.examples.demo.progress import Board
from portico.examples.demo.run import SupervisorFailed, run
from portico.exceptions import PorticoError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--workers", default=8, show_default=True, help="Worker processes.")
@click.option("--output", default="demo-output", show_default=True, help="Folder of the run.")
@click.option("--chunk-size", default=10_000, show_default=True, help="Rows per import job.")
def main(workers: int, output: str, chunk_size: int) -> None:
    """Import all flights out of New York in 2013, and make a report on each airline, airport and
    month, as background jobs."""
    console = Console()
    plan = Plan(Path(output).absolute(), workers, chunk_size)
    began = time.monotonic()
    console.print(
        f"Importing 336,776 flights, then {len(plan.reports)} reports, with {workers} workers. "
        f"Everything goes to {output}/.",
        highlight=False,
    )
    try:
        ended = asyncio.run(_interruptible(plan, console))
    except asyncio.CancelledError:
        sys.exit("Stopped.")
    except (PorticoError, SupervisorFailed) as error:
        sys.exit(f"The demo failed: {error}")
    _report(console, plan, ended, time.monotonic() - began)


async def _interruptible(plan: Plan, console: Console) -> list[Ended]:
    """Let SIGTERM stop the run as Ctrl-C does, so that no supervisor is left behind."""
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    with Board(console, plan.expected) as board:
        return await run(plan, board)


def _report(console: Console, plan: Plan, ended: list[Ended], seconds: float) -> None:
    console.print(_table(ended))
    index = write_index(plan.output, ended)
    console.print(f"{len(ended)} jobs in {seconds:.1f} s.", highlight=False)
    if found := problems(plan, ended):
        sys.exit("\n".join(["Not everything went well:", *found]))
    console.print(f"Read the reports: {index.as_uri()}", soft_wrap=True, highlight=False)


def _table(ended: list[Ended]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("Job type", no_wrap=True)
    for name in ("Jobs", "Time", "Jobs/s", "Mean", "Longest", "Rows", "Rows/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in timings(ended):
        wall = max(line.wall, 0.001)
        table.add_row(
            line.job_type, f"{line.jobs}", f"{line.wall:.1f} s", f"{line.jobs / wall:.1f}",
            f"{line.mean:.2f} s", f"{line.longest:.2f} s", f"{line.rows:,}",
            f"{line.rows / wall:,.0f}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
