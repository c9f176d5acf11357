"""A report as a PDF document: A4 landscape, a page per section."""

from __future__ import annotations

import textwrap
from io import BytesIO

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from portico.examples.reports import charts, look
from portico.examples.reports.report import Report, Section, Table

A4 = (11.69, 8.27)
LEFT, RIGHT = 0.06, 0.94
BOTTOM = 0.13
"""Parts of the page: its margins, and where charts and tables end."""


def render(report: Report) -> bytes:
    """The document."""
    buffer = BytesIO()
    metadata = {"Title": report.title, "Subject": report.kicker, "Creator": "Portico"}
    with matplotlib.rc_context(look.STYLE), PdfPages(buffer, metadata=metadata) as pages:
        for number, section in enumerate(report.sections, 1):
            figure = Figure(figsize=A4)
            top = _head(figure, report) if number == 1 else 0.93
            _section(figure, section, top)
            _foot(figure, report, number)
            pages.savefig(figure)
    return buffer.getvalue()


def _head(figure: Figure, report: Report) -> float:
    figure.text(LEFT, 0.935, report.kicker, fontsize=9, color=look.MUTED)
    figure.text(LEFT, 0.885, report.title, fontsize=22, weight="bold")
    figure.text(LEFT, 0.852, report.lead, fontsize=10)
    width = (RIGHT - LEFT) / len(report.facts)
    for place, fact in enumerate(report.facts):
        left = LEFT + place * width
        figure.text(left, 0.775, fact.value, fontsize=17, weight="bold", color=look.GOOD)
        figure.text(left, 0.75, fact.label, fontsize=8.5, color=look.MUTED)
    _rule(figure, 0.82)
    _rule(figure, 0.725)
    return 0.68


def _section(figure: Figure, section: Section, top: float) -> None:
    figure.text(LEFT, top, section.title, fontsize=14, weight="bold", va="top")
    lead = textwrap.fill(section.lead, 155)
    figure.text(LEFT, top - 0.042, lead, fontsize=9.5, va="top", linespacing=1.45)
    upper = top - 0.075 - 0.026 * (lead.count("\n") + 1)
    figure.set_layout_engine("constrained", rect=(LEFT - 0.01, BOTTOM, 0.54, upper - BOTTOM))
    section.chart(figure)
    charts.arrange(figure)
    _table(figure, section.table, upper)
    caption = textwrap.fill(section.caption, 150)
    figure.text(LEFT, 0.105, caption, fontsize=8, color=look.MUTED, va="top", linespacing=1.4)


def _table(figure: Figure, table: Table, top: float) -> None:
    """Names on the left, numbers right-aligned; the rows share the height that there is."""
    step = min(0.031, (top - 0.05 - BOTTOM) / max(1, len(table.rows)))
    size = min(8.0, step * A4[1] * 72 * 0.62)
    first, numbers = 0.61, len(table.columns) - 1
    width = (RIGHT - first) * 0.66 / numbers
    edges = [first] + [RIGHT - width * n for n in reversed(range(numbers))]
    for place, (edge, title) in enumerate(zip(edges, table.columns, strict=True)):
        figure.text(
            edge, top - 0.035, title.replace(" ", "\n"), fontsize=7.5, color=look.MUTED,
            ha="right" if place else "left", va="bottom", linespacing=1.1,
        )  # fmt: skip
    for number, row in enumerate(table.rows):
        height = top - 0.045 - step * number
        _rule(figure, height, first)
        for place, (edge, text) in enumerate(zip(edges, row, strict=True)):
            figure.text(
                edge, height - step * 0.52, text, fontsize=size, va="center",
                ha="right" if place else "left",
            )  # fmt: skip


def _foot(figure: Figure, report: Report, number: int) -> None:
    _rule(figure, 0.052)
    place = f"{number} / {len(report.sections)}"
    figure.text(LEFT, 0.03, f"{report.kicker} · {report.title}", fontsize=7.5, color=look.MUTED)
    figure.text(RIGHT, 0.03, place, fontsize=7.5, color=look.MUTED, ha="right")


def _rule(figure: Figure, height: float, left: float = LEFT) -> None:
    line = Line2D([left, RIGHT], [height, height], color=look.GRID, linewidth=0.8)
    figure.add_artist(line)
