"""The page that links all reports."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from portico.examples.demo.outcome import Ended
from portico.examples.demo.plan import REPORT
from portico.examples.imports.source import write_atomically
from portico.examples.reports import look
from portico.examples.reports.page import template

GROUPS = {
    "overview": "The year",
    "origin": "Airports",
    "carrier": "Airlines",
    "month": "Months",
}


def write_index(output: Path, run: Sequence[Ended]) -> Path:
    """Write `index.html` beside the reports that were made."""
    reports = [ended.result for ended in run if ended.job.job_type == REPORT and ended.result]
    groups = {
        title: sorted((r for r in reports if r["report_type"] == kind), key=_order)
        for kind, title in GROUPS.items()
    }
    html = template("index.html").render(
        groups={title: items for title, items in groups.items() if items},
        name=lambda path: Path(path).name,
        count=look.count,
        share=lambda value: look.ABSENT if value is None else look.share(value),
    )
    target = output / "reports" / "index.html"
    write_atomically(target, BytesIO(html.encode()))
    return target


def _order(report: dict[str, str | int]) -> tuple[int, int]:
    """Months by number, all others by size, largest first."""
    if report["report_type"] == "month":
        return int(report["subject"]), 0
    return 0, -int(report["rows"])
