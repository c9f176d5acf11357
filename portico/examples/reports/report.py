"""A report as a value: what it says, before it becomes a page or a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.figure import FigureBase

from portico.examples.reports.scope import Scope

Chart = Callable[[FigureBase], None]
"""Draws on an empty figure, or on a part of one."""


class Fact(NamedTuple):
    """One figure for the head of the report."""

    value: str
    label: str


class Table(NamedTuple):
    """Texts in columns; the first column holds names, the others numbers.

    `bar` is the column whose percentages are also shown as bars.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    bar: int | None = None


class Section(NamedTuple):
    """A finding: a chart, what it shows in words, and the numbers behind it."""

    title: str
    lead: str
    chart: Chart
    caption: str
    table: Table


@dataclass(frozen=True)
class Report:
    """A report, ready to be laid out."""

    scope: Scope
    kicker: str
    title: str
    lead: str
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    notes: str
    rows: int
    on_time: float | None
    """Share of the arrivals; `None` when nothing arrived."""
