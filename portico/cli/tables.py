"""Tables and texts for people: in colour on a terminal, plain and uncut in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import click

from portico.utils.log_lines import escaped

_UNCUT = 100_000
_GAP = 3
_LAST = 12
_COLORS = {
    "running": "cyan", "completed": "green", "failed": "red", "dead_letter": "bold red",
    "retrying": "yellow", "scheduled": "blue",
}  # fmt: skip


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()
) -> None:
    """Write a table to stdout.

    Args:
        headings: one per column; on a narrow terminal the last one is cut.
        rows: cells as anything with a `str()`; control characters are spelled out.
        numbers: the headings of the columns that are aligned on the right.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    grid = Table(box=SIMPLE_HEAD if terminal else None, pad_edge=False, header_style="bold")
    for heading in headings:
        side: Literal["left", "right"] = "right" if heading in numbers else "left"
        grid.add_column(heading, justify=side, no_wrap=True)
    cells = [[escaped(str(cell)) for cell in row] for row in rows]
    for row in cells:
        grid.add_row(*(Text(cell, _COLORS.get(cell, "")) for cell in row))
    console = Console()
    console.width = max(console.width, _uncut_width(headings, cells)) if terminal else _UNCUT
    with console.capture() as captured:
        console.print(grid)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _uncut_width(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """The width at which only the last column is cut; a narrower terminal wraps the line."""
    columns = list(zip(headings, *cells, strict=True))[:-1]
    widest = [max(map(len, column)) for column in columns]
    return sum(widest) + _GAP * len(headings) + _LAST


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Write names and values, one per line; those without a value are left out."""
    shown = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        text = escaped(str(value))
        color = _COLORS.get(text, "").removeprefix("bold ") or None
        click.echo(f"{click.style(f'{name:<{width}}', bold=True)}  {click.style(text, fg=color)}")


def block(title: str, text: str) -> None:
    """Write a longer text below its title, indented."""
    click.echo(f"\n{click.style(title, bold=True)}")
    for line in text.splitlines():
        click.echo(f"  {escaped(line)}")


def moment(instant: datetime | None, *, offset: bool = True) -> str | None:
    """An instant in local time, with its offset from UTC unless a column is too narrow for it."""
    if instant is None:
        return None
    local = instant.astimezone()
    return (local if offset else local.replace(tzinfo=None)).isoformat(" ", "seconds")


def first_line(text: str | None) -> str:
    """The first line of a message that may have many."""
    return text.strip().splitlines()[0] if text and text.strip() else ""
