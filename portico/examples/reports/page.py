"""A report as one self-contained HTML page: charts as inline SVG, no script, nothing to load."""

from __future__ import annotations

import re
from functools import cache
from io import StringIO

import matplotlib
from jinja2 import Environment, PackageLoader, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from portico.examples.reports import charts, look
from portico.examples.reports.report import Report, Section

WIDTH = 6.3
"""Inches of a chart; the page scales it."""


def render(report: Report) -> str:
    """The page."""
    return template("report.html").render(
        report=report,
        charts=[svg(section) for section in report.sections],
    )


@cache
def template(name: str) -> Template:
    """A page template of this package."""
    environment = Environment(
        loader=PackageLoader("portico.examples.reports"), autoescape=True, trim_blocks=True
    )
    return environment.get_template(name)


def svg(section: Section) -> Markup:
    """A section's chart as an SVG element, its texts in the fonts of the page."""
    text = StringIO()
    with matplotlib.rc_context(look.STYLE):
        figure = Figure(figsize=(WIDTH, _height(section)), layout="constrained")
        section.chart(figure)
        charts.arrange(figure)
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    element = text.getvalue()
    element = element[element.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r' width="[^"]*pt" height="[^"]*pt"', "", element, count=1)
    label = Markup.escape(section.title)
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))  # noqa: S704


def _height(section: Section) -> float:
    """As high as the table beside it, within reason."""
    return min(6.0, max(2.5, 0.285 * len(section.table.rows)))
