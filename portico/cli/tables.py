"""Tables and texts for people: cut to fit on a terminal, plain and whole in a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import NamedTuple

import click

from portico.cli.moments import Moment
from portico.utils.log_lines import escaped

_GAP = 2
_LEAST = 8
"""Characters that are left of whatever is cut."""
_MARK = "…"
_COLORS = {
    "running": "cyan", "completed": "green", "failed": "red", "dead_letter": "bright_red",
    "retrying": "yellow", "scheduled": "blue",
}  # fmt: skip

Cell = object
"""A `Moment`, or anything with a `str()`; `None` and the empty text say nothing."""


class Column(NamedTuple):
    """A column, and what may become of it where a terminal is too narrow for all of them."""

    heading: str
    floor: int | None = None
    """Characters that it may be cut to before others are left out; `None`: it is never cut."""
    spare: bool = False
    """It may be left out; the last of those that may goes first."""
    number: bool = False
    """It is aligned on the right."""
    known: bool = False
    """Who reads it on a terminal knows it already."""


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a table to stdout, a line per row.

    On a terminal what does not fit is cut, columns are left out, and so are those that say nothing.
    In a pipe all is written as it is, instants included, and what is not there as a dash.
    """
    terminal = sys.stdout.isatty()
    cells = [[_shown(cell, terminal=terminal) for cell in row] for row in rows]
    needs = [
        max([_width(column.heading), *(_width(row[place]) for row in cells)])
        for place, column in enumerate(columns)
    ]
    widths: list[int | None] = list(needs)
    if terminal:
        for place, column in enumerate(columns):
            if column.known or not any(row[place] for row in cells):
                needs[place] = 0
        widths = fitted(columns, needs, shutil.get_terminal_size().columns)
    _line([click.style(column.heading, bold=True) for column in columns], columns, widths)
    for row in cells:
        _line([_colored(_cut(c, w)) for c, w in zip(row, widths, strict=True)], columns, widths)


def fitted(columns: Sequence[Column], needs: Sequence[int], room: int) -> list[int | None]:
    """The width of each column of a line with so much room; `None` for one that is left out.

    The last columns are cut first, down to their floors; where that is not enough, spare columns
    go, and then the others are cut further. What is wider even then is left to the terminal:
    nothing else may be cut.

    Args:
        columns: what may become of each.
        needs: how wide each would be; 0 leaves it out.
        room: how wide the line may be.
    """
    kept = [place for place, need in enumerate(needs) if need]
    while True:
        spare = [place for place in kept if columns[place].spare]
        widths: list[int | None] = [None] * len(columns)
        excess = sum(needs[place] + _GAP for place in kept) - _GAP - room
        for place in reversed(kept):
            floor = columns[place].floor
            lowest = (
                needs[place] if floor is None else min(floor if spare else _LEAST, needs[place])
            )
            widths[place] = width = max(lowest, needs[place] - max(0, excess))
            excess -= needs[place] - width
        if excess <= 0 or not spare:
            return widths
        kept.remove(spare[-1])


def facts(pairs: Iterable[tuple[str, Cell]]) -> None:
    """Write names and values, one per line; those without a value are left out."""
    shown = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{click.style(f'{name:<{width}}', bold=True)}  {_colored(escaped(str(value)))}")


def block(title: str, text: str) -> None:
    """Write a longer text below its title, indented."""
    click.echo(f"\n{click.style(title, bold=True)}")
    for line in text.splitlines():
        click.echo(f"  {escaped(line)}")


def first_line(text: str | None) -> str:
    """The first line of a message that may have many."""
    return text.strip().splitlines()[0] if text and text.strip() else ""


def fitting(text: str, indent: int = 0) -> str:
    """A line that is cut to what a terminal has room for below an indent; whole in a pipe."""
    return _cut(text, shutil.get_terminal_size().columns - indent) if sys.stdout.isatty() else text


def folded(text: str, indent: int = 0) -> list[str]:
    """A line as the lines that a terminal has room for below an indent; as it is in a pipe."""
    if not sys.stdout.isatty():
        return [text]
    return wrap(text, max(shutil.get_terminal_size().columns - indent, _LEAST))


def _shown(cell: Cell, *, terminal: bool) -> str:
    if isinstance(cell, Moment):
        cell = cell.told if terminal else cell.written
    text = "" if cell is None else escaped(str(cell))
    return text if terminal or text else "-"


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int | None]) -> None:
    shown = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        if width is not None:
            padding = " " * (width - _width(click.unstyle(cell)))
            shown.append(padding + cell if column.number else cell + padding)
    click.echo((" " * _GAP).join(shown).rstrip())


def _colored(text: str) -> str:
    return click.style(text, fg=_COLORS[text]) if text in _COLORS else text


def _cut(text: str, width: int | None) -> str:
    if width is None or _width(text) <= width:
        return text
    tail = (width - 1) // 2
    return _begin(text, width - 1 - tail) + _MARK + _begin(text[::-1], tail)[::-1]


def _begin(text: str, width: int) -> str:
    """As many characters as fit; some take two places, and some none."""
    begin = text[:width]
    while _width(begin) > width:
        begin = begin[:-1]
    return begin


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
